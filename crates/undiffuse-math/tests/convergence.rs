//! Measured orders of convergence on data whose denoiser is exact.

mod common;

use common::{
    orders::{Problem, STEPS},
    run, schedules, solvers,
};
use undiffuse_math::prelude::*;

#[test]
fn orders_on_a_mixture() {
    let problem = Problem::mixture();
    for schedule in schedules() {
        for solver in solvers() {
            let Some(order) = solver.order() else { continue };
            let measured = problem.order(&*schedule, &*solver, STEPS);
            assert!((measured - order).abs() < 0.2, "{solver} on {schedule}: order {measured}, promised {order}");
        }
    }
}

/// Where the exact answer is a formula, and some methods are better than they promise.
#[test]
fn orders_on_a_gaussian() {
    let problem = Problem::gaussian();
    for schedule in schedules() {
        for solver in solvers() {
            let Some(order) = solver.order() else { continue };
            let measured = problem.order(&*schedule, &*solver, 384);
            let exact = problem.error(&*schedule, &*solver, 384) < 1e-11;
            assert!(measured > order - 0.2 || exact, "{solver} on {schedule}: order {measured}, promised {order}");
        }
    }
}

/// DDIM makes the picture again from the noise that its inverse found, the better the more often each step is
/// iterated.
#[test]
fn inversion_undoes_ddim() {
    let data = common::Mixture(vec![(0.3, -1.0, 0.2), (0.7, 0.8, 0.3)]);
    let spacing: SpacingKind = "log-snr".parse().unwrap();
    for schedule in schedules() {
        let last = Last::FirstStep.level(&*schedule);
        let round_trip = |inverse: &str, picture: f64| {
            let mut grid = Grid::new(&*schedule, &*spacing, 40, Last::FirstStep).unwrap();
            // Of pure noise, the denoiser tells nothing about the noise.
            grid.points.retain(|point| point.level.log_snr() > -15.0 && point.level != last);
            let plan = |solver: &str| grid.plan(&*solver.parse::<SolverKind>().unwrap()).unwrap();
            let x = last.alpha * picture;
            let noise = run(&plan(inverse), x, |x, at| data.denoise(x, at));
            assert!(grid.points.len() > 10, "{schedule}");
            (run(&plan("ddim"), noise, |x, at| data.denoise(x, at)) / last.alpha - picture).abs()
        };
        for picture in [-1.3, 0.6, 1.1] {
            let (once, often) =
                (round_trip("ddim-inverse", picture), round_trip("ddim-inverse:iterations=100", picture));
            assert!(often < 1e-7 && often < once, "{schedule} {picture}: off by {once}, then {often}");
        }
    }
}
