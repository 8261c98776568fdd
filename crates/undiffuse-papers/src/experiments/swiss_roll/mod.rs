//! The swiss roll [Sohl15, section 3.1.1].

pub mod model;
pub mod roll;

use std::f64::consts::{E, LN_2, PI};

use model::{Model, Shape};
use roll::{Point, Roll};
use undiffuse_math::likelihood::{log_normal, prior_kl};

use crate::learn::{Learner, Step, cosine, normals};
use crate::{Error, Event, Listener, Options, Report, Row};

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written.
pub fn run(options: &Options, hear: Listener) -> Result<Report, Error> {
    let var = |k: &str, d: f64| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let shape = Shape { steps: 40, units: var("UNITS", 96.0) as usize, beta_1: var("BETA", 1e-6) };
    let updates = var("UPD", 1000.0) as usize;
    let n = var("N", 64.0) as usize;
    let roll = Roll::new();
    let mut learner = Learner::new(model::initial(shape, &roll, options.seed, 0), &options.device);
    for k in 0..updates {
        let h = Step { rate: var("LR", 0.01) * cosine(k, updates), beta2: 0.99, average: 0.01f64.max(1.0 / (k + 1) as f64) };
        let points: Vec<Point> = (0..n).map(|i| roll.draw(options.seed, 1, (k * n + i) as u64)).collect();
        let eps = normals(options.seed, 1000 + k as u64, (shape.steps - 1) * n * 2, 1.0);
        let (x0, eps) = model::batch(&points, eps, learner.device());
        let loss = learner.step(h, |p| model::loss(p, shape, x0, eps));
        if k % 500 == 0 || k + 1 == updates {
            hear(Event { progress: 0.9 * k as f64 / updates as f64, text: format!("update {k}: K {:.3} bits", (-(2.0 * PI * E * shape.beta_1).ln() - loss) / LN_2) });
        }
    }
    let model = Model::new(shape, &learner.averaged());
    let mut report = Report::default();
    let n = options.choose(500, 2);
    let mut costs = vec![0.0; 41];
    let mut ks = Vec::new();
    for k in 0..n {
        let x0 = roll.draw(options.seed, 2, k as u64);
        let eps = normals(options.seed, (1 << 40) + k as u64, shape.steps * 2, 1.0);
        let mut total = 0.0;
        for t in 2..=shape.steps {
            let at = model.level(t);
            let x = [0, 1].map(|i| at.alpha * x0[i] + at.sigma * f64::from(eps[2 * t - 4 + i]));
            let d = model.divergence(x0, x, t);
            total += d;
            costs[t] += d / n as f64;
        }
        let at = model.level(1);
        let first = log_normal(2.0 * (at.sigma * at.sigma), 2, at.sigma);
        let last = prior_kl(2.0, 2, model.level(shape.steps), 1.0);
        ks.push((first - total - last) / LN_2);
    }
    let mean = ks.iter().sum::<f64>() / n as f64;
    let std = (ks.iter().map(|k| (k - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    for t in 1..=shape.steps { println!("{t} beta {:.6} sigma {:.5} kl {:.4}", model.beta(t), model.level(t).sigma, costs[t]); }
    report.rows.push(Row::new("K", mean, "bits").error(std / (n as f64).sqrt()));
    Ok(report)
}
