//! Measured orders of convergence on data whose denoiser is exact.

mod common;

use common::{Mixture, run, schedules, solvers};
use undiffuse_math::prelude::*;

/// `n` equal steps in log-SNR from -4 to 4, which every schedule contains.
fn levels(schedule: &dyn Schedule, n: usize) -> Vec<NoiseLevel> {
    (0..=n).map(|i| schedule.level_at(-4.0 + 8.0 * i as f64 / n as f64)).collect()
}

/// Slope of `log error` against `log n` between `n` and `2 n` steps.
fn slope(schedule: &dyn Schedule, solver: &dyn Solver, n: usize, error: impl Fn(&Plan) -> f64) -> f64 {
    let at = |n| error(&solver.plan(&levels(schedule, n))).abs();
    (at(n) / at(2 * n)).log2()
}

/// The probability-flow ODE keeps `(x - alpha mean) / sqrt(alpha² std² + sigma²)` of normal data.
#[test]
fn orders_on_a_gaussian() {
    let (mean, std) = (0.4, 0.3);
    let data = Mixture(vec![(1.0, mean, std)]);
    let spread = |l: NoiseLevel| (l.alpha * std).hypot(l.sigma);
    for schedule in schedules() {
        let ends = levels(&*schedule, 1);
        let x = ends[0].alpha * mean + 1.3 * spread(ends[0]);
        let exact = ends[1].alpha * mean + 1.3 * spread(ends[1]);
        for solver in solvers() {
            let Some(order) = solver.order() else { continue };
            let slope = slope(&*schedule, &*solver, 640, |plan| run(plan, x, |x, at| data.denoise(x, at)) - exact);
            assert!((slope - order).abs() < 0.1, "{solver} on {schedule}: order {slope}, promised {order}");
        }
    }
}

/// Against classical Runge-Kutta on `dy/ds = (y - D) / s` in `y = x / alpha`, `ln s`, with steps a hundred times
/// finer.
#[test]
fn orders_on_a_mixture() {
    let data = Mixture(vec![(0.3, -1.0, 0.2), (0.7, 0.8, 0.3)]);
    for schedule in schedules() {
        let ends = levels(&*schedule, 1);
        let x = 0.5 * ends[0].scale();
        let exact = ends[1].alpha * reference(&data, x / ends[0].alpha, ends[0].sigma_edm(), ends[1].sigma_edm());
        for solver in solvers() {
            let Some(order) = solver.order() else { continue };
            let slope = slope(&*schedule, &*solver, 320, |plan| run(plan, x, |x, at| data.denoise(x, at)) - exact);
            assert!((slope - order).abs() < 0.25, "{solver} on {schedule}: order {slope}, promised {order}");
        }
    }
}

fn reference(data: &Mixture, y: f64, from: f64, to: f64) -> f64 {
    let n = 20_000;
    let h = (to / from).ln() / f64::from(n);
    let slope = |ln_s: f64, y: f64| y - data.denoise(y, NoiseLevel { alpha: 1.0, sigma: ln_s.exp() });
    (0..n).fold(y, |y, i| {
        let at = from.ln() + h * f64::from(i);
        let k1 = slope(at, y);
        let k2 = slope(at + h / 2.0, y + h / 2.0 * k1);
        let k3 = slope(at + h / 2.0, y + h / 2.0 * k2);
        let k4 = slope(at + h, y + h * k3);
        y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    })
}
