//! Samplers on normal data, followed exactly: every image is an affine function of the noises, so its mean and
//! variance are known without drawing any.

mod common;

use common::{moments, schedules, solvers};
use undiffuse_math::prelude::*;

const MEAN: f64 = 0.4;
const STD: f64 = 0.5;

/// Mean and variance of the data's `x` at a level.
fn truth(at: NoiseLevel) -> (f64, f64) {
    (at.alpha * MEAN, (at.alpha * STD).powi(2) + at.sigma.powi(2))
}

/// The answer that a solver asks for, `a + b x`: `E[x0 | x]`, or the end of the probability-flow ODE.
fn answer(solver: &dyn Solver, at: NoiseLevel) -> (f64, f64) {
    let (mean, variance) = truth(at);
    let slope = if solver.wants_consistency() { STD / variance.sqrt() } else { at.alpha * STD * STD / variance };
    (MEAN - slope * mean, slope)
}

/// What a plan makes from noise that has the true distribution of the first level.
fn made(solver: &dyn Solver, plan: &Plan) -> (f64, f64) {
    moments(plan, truth(plan.rows[0].level), |at| answer(solver, at))
}

/// `n` steps in log-SNR over the middle of the range, where every method is in its asymptotic regime, ending at
/// log-SNR 6.
fn errors(schedule: &dyn Schedule, solver: &dyn Solver, n: usize) -> (f64, f64) {
    let levels: Vec<_> = (0..=n).map(|i| schedule.level_at(-5.0 + 11.0 * i as f64 / n as f64)).collect();
    let (mean, variance) = made(solver, &solver.plan(&levels));
    let (true_mean, true_variance) = truth(levels[n]);
    ((mean / true_mean - 1.0).abs(), (variance / true_variance - 1.0).abs())
}

/// Solvers that get to the data at all.
fn converging() -> impl Iterator<Item = SolverKind> {
    solvers().into_iter().filter(|solver| solver.order().or(solver.weak_order()).is_some())
}

#[test]
fn finer_plans_approach_the_true_distribution() {
    for schedule in schedules() {
        for solver in converging() {
            let (coarse, fine) = (errors(&*schedule, &*solver, 100), errors(&*schedule, &*solver, 1000));
            let what = format!("{solver} on {schedule}: (mean, variance) wrong by {coarse:?}, then {fine:?}");
            assert!(coarse.0 < 0.05 && coarse.1 < 0.2, "{what}");
            assert!(fine.0 < 0.005 && fine.1 < 0.02, "{what}");
            assert!(fine.0 < coarse.0 / 5.0 + 1e-9 && fine.1 < coarse.1 / 5.0 + 1e-9, "{what}");
        }
    }
}

/// A claimed weak order is the least that is found on any schedule: some are better on one by chance.
#[test]
fn weak_orders() {
    for solver in solvers() {
        let Some(order) = solver.weak_order() else { continue };
        let mut least = f64::INFINITY;
        for schedule in schedules() {
            let (coarse, fine) = (errors(&*schedule, &*solver, 600), errors(&*schedule, &*solver, 1200));
            if fine.0 > 1e-9 {
                least = least.min((coarse.0 / fine.0).log2());
            }
            least = least.min((coarse.1 / fine.1).log2());
        }
        assert!((least - order).abs() < 0.05, "{solver}: weak order {least}, promised {order}");
    }
}

/// A consistency model samples the data in any number of steps.
#[test]
fn consistency_steps_are_exact() {
    for schedule in schedules() {
        for solver in solvers().iter().filter(|solver| solver.wants_consistency()) {
            for n in [1, 2, 7] {
                let (mean, variance) = errors(&*schedule, &**solver, n);
                assert!(mean < 1e-12 && variance < 1e-12, "{solver} on {schedule}, {n} steps: {mean}, {variance}");
            }
        }
    }
}

/// The usual way: the schedule's own times, all the way to the clean end.
#[test]
fn whole_walks_end_at_the_data() {
    for schedule in schedules() {
        for solver in converging() {
            let steps = schedule.discrete_steps().unwrap_or(1000);
            let spacing = if schedule.discrete_steps().is_some() { "linspace" } else { "log-snr" };
            let spacing: SpacingKind = spacing.parse().unwrap();
            let plan = Grid::new(&*schedule, &*spacing, steps, Last::Clean).unwrap().plan(&*solver);
            let (mean, variance) = made(&*solver, &plan);
            // A Langevin walk has only so many steps to settle at each level.
            let tolerance = if steps < 1000 { 0.2 } else { 0.02 } * if solver.tag() == "langevin" { 5.0 } else { 1.0 };
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
