//! Samplers on normal data, followed exactly: every image is an affine function of the noises, so its mean and
//! variance are known without drawing any.

mod common;

use common::{schedules, solvers};
use undiffuse_math::prelude::*;

const MEAN: f64 = 0.4;
const STD: f64 = 0.5;

/// Mean and variance of what a plan makes from noise that has the true distribution of the first level.
fn moments(plan: &Plan) -> (f64, f64) {
    let first = plan.rows[0].level;
    let noises = plan.rows.iter().filter(|row| row.noise != 0.0).count();
    let size = 2 + noises;
    // Coefficients of: the constant, the initial noise, the noise of each row that has some.
    let unit = |k: usize, value: f64| (0..size).map(|i| if i == k { value } else { 0.0 }).collect::<Vec<f64>>();
    let add = |terms: &[(f64, &Vec<f64>)]| (0..size).map(|i| terms.iter().map(|(c, x)| c * x[i]).sum()).collect();
    let mut x = unit(1, (first.alpha * STD).hypot(first.sigma));
    x[0] = first.alpha * MEAN;
    let mut walk = Walk::new(plan, x);
    let mut fresh = 2..;
    while let Some(row) = walk.row() {
        let NoiseLevel { alpha, sigma } = row.level;
        let gain = alpha * STD * STD / ((alpha * STD).powi(2) + sigma.powi(2));
        let mut denoised: Vec<f64> = walk.x().iter().map(|c| gain * c).collect();
        denoised[0] += MEAN - gain * alpha * MEAN;
        let noise = (row.noise != 0.0).then(|| unit(fresh.next().unwrap_or(0), 1.0));
        walk.step(denoised, noise, add);
    }
    let x = walk.into_x();
    (x[0], x[1..].iter().map(|c| c * c).sum())
}

/// `n` steps in log-SNR over the middle of the range, where every method is in its asymptotic regime, ending at
/// log-SNR 6.
fn errors(schedule: &dyn Schedule, solver: &dyn Solver, n: usize) -> (f64, f64) {
    let levels: Vec<_> = (0..=n).map(|i| schedule.level_at(-5.0 + 11.0 * i as f64 / n as f64)).collect();
    let (mean, variance) = moments(&solver.plan(&levels));
    let end = levels[n];
    ((mean / (end.alpha * MEAN) - 1.0).abs(), (variance / ((end.alpha * STD).powi(2) + end.sigma.powi(2)) - 1.0).abs())
}

#[test]
fn finer_plans_approach_the_true_distribution() {
    for schedule in schedules() {
        for solver in solvers().into_iter().filter(|solver| !solver.rises()) {
            let (coarse, fine) = (errors(&*schedule, &*solver, 100), errors(&*schedule, &*solver, 1000));
            let what = format!("{solver} on {schedule}: (mean, variance) wrong by {coarse:?}, then {fine:?}");
            assert!(coarse.0 < 0.05 && coarse.1 < 0.2, "{what}");
            assert!(fine.0 < 0.005 && fine.1 < 0.02, "{what}");
            assert!(fine.0 < coarse.0 / 5.0 + 1e-9 && fine.1 < coarse.1 / 5.0 + 1e-9, "{what}");
        }
    }
}

/// The usual way: the schedule's own times, all the way to the clean end.
#[test]
fn whole_walks_end_at_the_data() {
    for schedule in schedules() {
        for solver in solvers().into_iter().filter(|solver| !solver.rises()) {
            let steps = schedule.discrete_steps().unwrap_or(1000);
            let spacing = if schedule.discrete_steps().is_some() { "linspace" } else { "log-snr" };
            let spacing: SpacingKind = spacing.parse().unwrap();
            let plan = Grid::new(&*schedule, &*spacing, steps, Last::Clean).unwrap().plan(&*solver);
            let (mean, variance) = moments(&plan);
            let tolerance = if steps == 1000 { 0.025 } else { 0.2 };
            let what = format!("{solver} on {schedule}: mean {mean}, variance {variance}");
            assert!(
                (mean - MEAN).abs() < tolerance * MEAN && (variance - STD * STD).abs() < tolerance * STD * STD,
                "{what}"
            );
        }
    }
}

/// Images are dropped as soon as no later row reads them.
#[test]
fn walks_hold_few_images() {
    let most = |solver: &str, steps| {
        let levels: Vec<_> =
            (0..=steps).map(|i| NoiseLevel::variance_preserving((4.0 - i as f64 * 0.2).exp())).collect();
        let plan = solver.parse::<SolverKind>().unwrap().plan(&levels);
        let mut walk = Walk::new(&plan, 1.0);
        let mut most = walk.held();
        while walk.row().is_some() {
            walk.step(0.5, Some(0.0), |terms| terms.iter().map(|(c, x)| c * **x).sum());
            most = most.max(walk.held());
        }
        assert_eq!(walk.held(), 1, "{solver}: only the result is left");
        most
    };
    assert_eq!(most("ddim", 20), 1);
    assert_eq!(most("euler-ancestral", 20), 1);
    assert_eq!(most("heun", 20), 2);
    assert_eq!(most("dpmpp-2m", 20), 2);
    assert_eq!(most("plms", 20), 7);
}
