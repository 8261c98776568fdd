//! The swiss roll [Sohl15, section 3.1.1]: Gaussian diffusion in 40 steps; the forward rates and the reverse mean and
//! covariance are learned.
//!
//! Unlike the paper's, the covariance is a full one, not diagonal, and the network has 96 units, not 16; the roll is of
//! another generator, as the paper states none.

pub mod model;
pub mod posterior;
pub mod roll;

use std::f64::consts::{E, LN_2, PI};

use model::{Model, Shape};
use roll::{NOISE, Point, Roll};
use undiffuse_data::figure::{COLORS, Layer, Panel, figure};
use undiffuse_math::likelihood::prior_kl;

use crate::learn::{Learner, Step, cosine, mean_and_error, normals};
use crate::{Error, ExperimentEvent, ExperimentOptions, ExperimentReport, Goal, Listener, Row};

/// Streams of random numbers, one for each use; training takes one for each update from `TRAIN` on.
mod stream {
    pub const INITIAL: u64 = 0;
    pub const POINTS: u64 = 1;
    pub const HELD_OUT: u64 = 2;
    pub const HELD_OUT_NOISE: u64 = 3;
    pub const FIGURE: u64 = 4;
    pub const FIGURE_NOISE: u64 = 5;
    pub const SAMPLES: u64 = 6;
    pub const POSTERIOR: u64 = 7;
    pub const EXACT: u64 = 8;
    pub const TRAIN: u64 = 1 << 20;
}

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written, and training that diverges.
pub fn run(options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
    let roll = Roll::new();
    let model = train(options, &roll, &mut |event| hear(ExperimentEvent { progress: 0.9 * event.progress, ..event }))?;
    let mut report = ExperimentReport::default();
    hear(ExperimentEvent { progress: 0.92, text: "measuring the bound and the entropy".into() });
    bound(options, &roll, &model, &mut report)?;
    hear(ExperimentEvent { progress: 0.96, text: "sampling".into() });
    draw(options, &roll, &model, &mut report)?;
    Ok(report)
}

/// The model of a full or a quick run, trained from scratch.
///
/// # Errors
/// Training that diverges.
pub fn train(options: &ExperimentOptions, roll: &Roll, hear: Listener) -> Result<Model, Error> {
    let shape = Shape { steps: 40, units: options.choose(96, 16), beta_1: NOISE * NOISE };
    let (updates, n) = options.choose((8000, 64), (20, 8));
    let mut learner = Learner::new(model::initial(shape, roll, options.seed, stream::INITIAL), &options.device);
    for k in 0..updates {
        let h = Step { rate: 0.01 * cosine(k, updates), beta2: 0.99, average: 0.01f64.max(1.0 / (k + 1) as f64) };
        let points: Vec<Point> = (0..n).map(|i| roll.draw(options.seed, stream::POINTS, (k * n + i) as u64)).collect();
        let eps = normals(options.seed, stream::TRAIN + k as u64, (shape.steps - 1) * n * 2, 1.0);
        let (x0, eps) = model::batch(&points, eps, learner.device());
        let loss = learner.step(h, |p| model::loss(p, shape, x0, eps));
        if !loss.is_finite() {
            return Err(Error::Diverged { what: "the bound", step: k });
        }
        if k % 100 == 0 || k + 1 == updates {
            let bits = (first_entropy(shape.beta_1) + loss) / -LN_2;
            let text = format!("update {k} of {updates}: K {bits:.3} bits on a batch");
            hear(ExperimentEvent { progress: k as f64 / updates as f64, text });
        }
    }
    Ok(Model::new(shape, &learner.averaged()))
}

/// `H_q(X^1 | X^0) = ln(2πe beta_1)` in nats, for two dimensions.
fn first_entropy(beta_1: f64) -> f64 {
    (2.0 * PI * E * beta_1).ln()
}

/// The bound at one point and one draw of all its noise, in bits, and the divergence of every step.
fn bound_at(model: &Model, x0: Point, eps: &[f32]) -> (f64, Vec<f64>) {
    let square = x0[0] * x0[0] + x0[1] * x0[1];
    let divergences: Vec<f64> =
        (2..=model.steps()).map(|t| model.divergence(x0, noised(model, x0, t, &eps[2 * t - 4..]), t) / LN_2).collect();
    // The last reverse step is the forward kernel: what log p(x0|x1) adds to the entropy of x1 given x0 is
    // beta_1 (1 - |x0|² / 2), which is 0 on average.
    let beta_1 = model.beta(1);
    let first = -first_entropy(beta_1) + beta_1 * (1.0 - square / 2.0);
    let last = prior_kl(square, 2, model.level(model.steps()), 1.0);
    ((first - last) / LN_2 - divergences.iter().sum::<f64>(), divergences)
}

fn noised(model: &Model, x0: Point, t: usize, eps: &[f32]) -> Point {
    let at = model.level(t);
    [0, 1].map(|i| at.alpha * x0[i] + at.sigma * f64::from(eps[i]))
}

fn bound(options: &ExperimentOptions, roll: &Roll, model: &Model, report: &mut ExperimentReport) -> Result<(), Error> {
    let n = options.choose(20_000, 100);
    let mut by_step = vec![0.0; model.steps() - 1];
    let bounds: Vec<f64> = (0..n)
        .map(|k| {
            let x0 = roll.draw(options.seed, stream::HELD_OUT, k);
            let mut eps = vec![0.0; 2 * model.steps()];
            let len = eps.len() as u64;
            undiffuse_math::noise::normal(options.seed, stream::HELD_OUT_NOISE, k * len, &mut eps);
            let (bits, divergences) = bound_at(model, x0, &eps);
            by_step.iter_mut().zip(divergences).for_each(|(sum, d)| *sum += d / n as f64);
            bits
        })
        .collect();
    let (k, error) = mean_and_error(&bounds);
    let (mass, entropy) = roll.integrals(options.choose(0.25, 1.0));
    let null = -(2.0 * PI * E).log2();
    let bits = "bits";
    report.rows.extend([
        Row::new("K", k, bits).paper(2.35).error(error).goal(Goal::at_most(-entropy)),
        Row::new("K - L_null", k - null, bits).paper(6.45).error(error).goal(Goal::at_least(6.45)),
        Row::new("L_null: a Gaussian of unit variance", null, bits).derived(2.35 - 6.45),
        Row::new("truth: minus the entropy of the generator", -entropy, bits),
    ]);
    report.note(format!(
        "The paper states no generator. Ours: phi = 3 pi/2 (1 + 2u), u uniform; (phi cos phi, phi sin phi), each axis \
         centred and scaled to unit variance, with Gaussian noise of {NOISE}. Its entropy is an integral of its density \
         over the plane (total probability {mass:.6}).",
    ));
    report.note(format!(
        "K is the whole bound over all {} steps in double precision, averaged over {n} fresh points with fresh noise; \
         beta_1 = {:.0e} is fixed, beta_2 to beta_T are learned through frozen noise.",
        model.steps(),
        model.beta(1),
    ));
    report.note(format!(
        "The reverse network has {} radial units whose read-outs, one for each step, are linear in the point; the \
         covariance is a full one. The paper has 16 units and a diagonal covariance.",
        model.units(),
    ));
    report.note(
        "Sigma stands still near t = 5: those steps are spent on little. One run (seed 0, 5000 updates) with a tenth of \
         the learning rate on the rates kept them spread out, and its K was 0.16 bits lower; why was not looked into.",
    );

    let curve = |f: &dyn Fn(usize) -> f64, from: usize| (from..=model.steps()).map(|t| (t as f64, f(t))).collect();
    let panel = |title, points| Panel::new(title, vec![Layer::line("", points)]).labels("t", "");
    let panels = [
        Panel { log_y: true, ..panel("learned rates beta", curve(&|t| model.beta(t), 1)) },
        Panel { log_y: true, ..panel("their noise sigma", curve(&|t| model.level(t).sigma, 1)) },
        panel("cost in bits", curve(&|t| by_step[t - 2], 2)),
    ];
    report.figure(options, "swiss-roll-rates.png", &figure("", 3, (400, 340), &panels))
}

/// The reverse process. `steer` has the last word on the kernel that `x^t` is drawn from, the prior's for `t = T`
/// included; `see` gets every `x^t`.
pub fn walk(
    model: &Model,
    eps: &[f32],
    steer: impl Fn(model::Kernel, usize) -> model::Kernel,
    mut see: impl FnMut(usize, Point),
) -> Point {
    let mut x = [0.0; 2];
    for t in (0..=model.steps()).rev() {
        let kernel = if t == model.steps() { model::Kernel::UNIT } else { model.reverse(x, t + 1) };
        x = steer(kernel, t).draw([0, 1].map(|i| f64::from(eps[2 * t + i])));
        see(t, x);
    }
    x
}

/// The paper's figure: data that dissolve, samples that form, and the drift that forms them.
fn draw(options: &ExperimentOptions, roll: &Roll, model: &Model, report: &mut ExperimentReport) -> Result<(), Error> {
    let n = options.choose(1500, 50);
    let steps = model.steps();
    let times = [0, steps / 2, 3 * steps / 4, steps];
    let names = ["t = 0", "t = T/2", "t = 3T/4", "t = T"];
    let mut reverse: Vec<Vec<(f64, f64)>> = vec![Vec::new(); times.len()];
    let (mut on_roll, mut along) = (0, [0; 10]);
    for k in 0..n {
        let eps = normals(options.seed, (stream::SAMPLES << 32) + k as u64, 2 * (steps + 1), 1.0);
        let mut see = |t: usize, x: Point| {
            if let Some(c) = times.iter().position(|&time| time == t) {
                reverse[c].push((x[0], x[1]));
            }
        };
        let x = walk(model, &eps, |kernel, _| kernel, &mut see);
        let (u, distance) = roll.nearest(x);
        on_roll += usize::from(distance < 0.02);
        along[(u * along.len() as f64) as usize] += 1;
    }
    report.rows.push(Row::new("samples within 0.02 of the roll", 100.0 * on_roll as f64 / n as f64, "%"));
    report.note(format!(
        "Samples by the tenth of the roll that is nearest, from the inside out, of which the data have as many each: {along:?}."
    ));

    let panel = |title: String, layers| Panel::new(&title, layers).square(-2.8, 2.8);
    let dots = |points, color: [u8; 3]| Layer::Points { name: String::new(), points, color: Some(color), radius: 1 };
    let forward = (0..times.len()).map(|c| {
        let points = (0..n).map(|k| {
            let x0 = roll.draw(options.seed, stream::FIGURE, k as u64);
            let eps = normals(options.seed, (stream::FIGURE_NOISE << 32) + k as u64, 2, 1.0);
            let x = noised(model, x0, times[c], &eps);
            (x[0], x[1])
        });
        panel(format!("data, {}", names[c]), vec![dots(points.collect(), COLORS[0])])
    });
    let formed = (0..times.len())
        .map(|c| panel(format!("model, {}", names[c]), vec![dots(std::mem::take(&mut reverse[c]), COLORS[1])]));
    // The last step is the forward kernel and has no drift to speak of; its neighbour is learned.
    let drift = (0..times.len()).map(|c| {
        let (arrows, stretch) = drift(model, times[c].max(2));
        let title = format!("drift, t = {}, x{stretch:.1}", times[c].max(2));
        panel(title, vec![roll.layer(), Layer::Arrows { arrows, color: COLORS[2] }])
    });
    let panels: Vec<Panel> = forward.chain(formed).chain(drift).collect();
    let title = "Swiss roll: data dissolving, samples forming, and the drift f_mu(x, t) - x";
    report.figure(options, "swiss-roll.png", &figure(title, times.len(), (340, 340), &panels))
}

/// Tail and head.
type Arrow = ((f64, f64), (f64, f64));

/// `f_mu(x, t) - x` on a grid, stretched so that half of the arrows are longer than half a grid cell; none is longer than one and a half.
fn drift(model: &Model, t: usize) -> (Vec<Arrow>, f64) {
    let side = 17;
    let cell = 5.0 / f64::from(side - 1);
    let at = |i: i32| -2.5 + f64::from(i) * cell;
    let field: Vec<(Point, Point)> = (0..side * side)
        .map(|i| {
            let x = [at(i % side), at(i / side)];
            let mean = model.reverse(x, t).mean;
            (x, [mean[0] - x[0], mean[1] - x[1]])
        })
        .collect();
    let mut lengths: Vec<f64> = field.iter().map(|(_, d)| d[0].hypot(d[1])).collect();
    lengths.sort_by(f64::total_cmp);
    let stretch = 0.5 * cell / lengths[lengths.len() / 2].max(1e-12);
    let arrow = |(x, d): &(Point, Point)| {
        let length = (stretch * d[0].hypot(d[1])).max(1e-12);
        let scale = stretch * (1.5 * cell / length).min(1.0);
        ((x[0], x[1]), (x[0] + scale * d[0], x[1] + scale * d[1]))
    };
    (field.iter().map(arrow).collect(), stretch)
}
