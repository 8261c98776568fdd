//! Every solver × schedule × spacing: each row maps the mean and the variance of one level to those of the next.

mod common;

use common::{schedules, solvers, spacings};
use undiffuse_math::prelude::*;

/// The levels of `x_0 … x_n` of a walk.
fn x_levels(plan: &Plan) -> Vec<NoiseLevel> {
    plan.rows.iter().map(|row| row.level).chain(plan.rows.last().map(|row| row.to)).collect()
}

fn check(plan: &Plan, solver: &SolverKind, what: &str) {
    let levels = x_levels(plan);
    assert!(plan.start.is_finite() && plan.start > 0.0, "{what}");
    // How far each x is from `alpha x0` when every D is x0: its coefficients of the noises, the initial one first.
    let mut noises = vec![vec![levels[0].sigma]];
    for (i, row) in plan.rows.iter().enumerate() {
        let numbers = row.x.iter().chain(&row.denoised).chain([&row.noise]);
        assert!(numbers.clone().all(|c| c.is_finite()), "{what}: row {i} is not finite: {row:?}");
        assert!(row.x.len() <= i + 1 && row.denoised.len() <= i + 1, "{what}: row {i} reads before the start");
        assert!(row.noise >= 0.0, "{what}: row {i}");
        // The tolerance grows with the coefficients, whose cancellation the sums contain.
        let size = numbers.map(|c| c.abs()).fold(1.0, f64::max);
        let size = size * row.level.sigma.max(1.0);
        let mean: f64 = row.x.iter().enumerate().map(|(l, c)| c * levels[i - l].alpha).sum();
        let mean = mean + row.denoised.iter().sum::<f64>();
        assert!(
            !solver.exact_mean() || (mean - row.to.alpha).abs() < 1e-12 * size,
            "{what}: row {i}: signal {mean}, not {}: {row:?}",
            row.to.alpha
        );
        let mut made = vec![0.0; i + 2];
        for (lag, c) in row.x.iter().enumerate() {
            noises[i - lag].iter().zip(&mut made).for_each(|(n, sum)| *sum += c * n);
        }
        made[i + 1] = row.noise;
        let variance: f64 = made.iter().map(|n| n * n).sum();
        let wrong = (variance - row.to.sigma.powi(2)).abs();
        assert!(
            !solver.exact_variance() || wrong < 1e-12 * size * size,
            "{what}: row {i}: noise² {variance}, not {}²: {row:?}",
            row.to.sigma
        );
        noises.push(made);
    }
}

#[test]
fn rows_are_consistent() {
    let mut plans = 0;
    for schedule in schedules() {
        for spacing in spacings() {
            for last in [Last::Clean, Last::FirstStep] {
                for steps in [1, 2, 3, 7, 20] {
                    let grid = Grid::new(&*schedule, &*spacing, steps, last).unwrap();
                    assert_eq!(grid.points.len(), steps);
                    for solver in solvers() {
                        let plan = grid.plan(&*solver);
                        assert_eq!(plan.rows.last().unwrap().to, grid.last);
                        check(&plan, &solver, &format!("{schedule} {spacing} {solver} {steps} {last:?}"));
                        plans += 1;
                    }
                }
            }
        }
    }
    assert!(plans > 20_000, "{plans}");
}

/// Spacings start at the schedule's noisy end (leading ones excepted), never gain noise, and know their times.
#[test]
fn spacings_fall() {
    for schedule in schedules() {
        for spacing in spacings() {
            for steps in [1, 2, 7, 20] {
                let points = spacing.points(&*schedule, steps);
                let what = format!("{schedule} {spacing} {steps}: {points:?}");
                let (clean, noisy) = schedule.range();
                if spacing.tag() != "leading" && !spacing.to_string().contains("round=") {
                    assert!((points[0].time - noisy).abs() < 1e-9 * noisy, "{what}");
                }
                assert!(points.iter().all(|p| (clean - 1e-12..=noisy * (1.0 + 1e-12)).contains(&p.time)), "{what}");
                assert!(points.windows(2).all(|p| p[1].level.sigma_edm() <= p[0].level.sigma_edm()), "{what}");
                assert!(points.windows(2).all(|p| p[1].time <= p[0].time), "{what}");
            }
        }
    }
}

#[test]
fn too_many_steps_are_refused() {
    let (schedule, spacing) =
        (&*"linear:steps=50".parse::<ScheduleKind>().unwrap(), &*"leading".parse::<SpacingKind>().unwrap());
    let message = |steps| Grid::new(schedule, spacing, steps, Last::Clean).unwrap_err().to_string();
    assert!(message(51).contains("51") && message(51).contains("50 timesteps"));
    assert!(message(0).contains("at least 1"));
    assert!(Grid::new(schedule, spacing, 50, Last::Clean).is_ok());
}
