//! Every solver × schedule × spacing: each row maps the mean and the variance of one level to those of the next.

mod common;

use common::{schedules, solvers, spacings};
use undiffuse_math::prelude::*;

/// `begin` is the level of the first image.
fn check(plan: &Plan, begin: NoiseLevel, solver: &SolverKind, what: impl std::fmt::Display) {
    let levels: Vec<_> = [begin].into_iter().chain(plan.rows.iter().map(|row| row.next)).collect();
    assert!(plan.init_noise_sigma.is_finite() && (plan.init_noise_sigma > 0.0) != solver.rises(), "{what}");
    // How far each x is from `alpha x0` when every D is x0: its coefficients of the noises, the initial one first.
    let mut noises = vec![vec![levels[0].sigma]];
    let mut size = levels[0].sigma.max(1.0);
    for (i, row) in plan.rows.iter().enumerate() {
        let numbers = row.x.iter().chain(&row.denoised).chain([&row.noise]);
        assert!(numbers.clone().all(|c| c.is_finite()), "{what}: row {i} is not finite: {row:?}");
        assert!(row.x.len() <= i + 1 && row.denoised.len() <= i + 1, "{what}: row {i} reads before the start");
        assert!(row.noise >= 0.0, "{what}: row {i}");
        // The tolerance grows with the coefficients so far, whose cancellation the sums contain.
        size = numbers.map(|c| c.abs() * row.level.sigma.max(1.0)).fold(size, f64::max);
        let (mut x, mut denoised) = (row.x.clone(), row.denoised.iter().sum::<f64>());
        let mut made = vec![0.0; i + 2];
        if levels[i] != row.level {
            // Asked as if it were at another level: what holds is the network's eps, D = (x - sigma eps) / alpha.
            assert!(solver.rises(), "{what}: row {i} is asked at {:?}, its x is at {:?}", row.level, levels[i]);
            if row.level.alpha == 0.0 {
                return;
            }
            x[0] += denoised / row.level.alpha;
            made[0] = -denoised * row.level.sigma / row.level.alpha;
            denoised = 0.0;
        }
        let mean = x.iter().enumerate().map(|(lag, c)| c * levels[i - lag].alpha).sum::<f64>() + denoised;
        assert!(
            !solver.exact_mean() || (mean - row.next.alpha).abs() < 1e-12 * size,
            "{what}: row {i}: signal {mean}, not {}: {row:?}",
            row.next.alpha
        );
        for (lag, c) in x.iter().enumerate() {
            noises[i - lag].iter().zip(&mut made).for_each(|(n, sum)| *sum += c * n);
        }
        made[i + 1] = row.noise;
        let variance: f64 = made.iter().map(|n| n * n).sum();
        let wrong = (variance - row.next.sigma.powi(2)).abs();
        assert!(
            !solver.exact_variance() || wrong < 1e-12 * size * size,
            "{what}: row {i}: noise² {variance}, not {}²: {row:?}",
            row.next.sigma
        );
        noises.push(made);
    }
}

/// Levels that solvers put between those of the grid are the schedule's own, as far as it reaches.
#[test]
fn rows_lie_on_the_schedule() {
    let mut between = 0;
    for schedule in schedules() {
        let spacing: SpacingKind = "log-snr".parse().unwrap();
        let grid = Grid::new(&*schedule, &*spacing, 9, Last::Clean).unwrap();
        let noisiest = grid.points[0].level.log_snr();
        for solver in solvers() {
            for row in grid.plan(&*solver).unwrap().rows.iter().filter(|row| row.level.log_snr() > noisiest + 1e-6) {
                let own = schedule.level_at(row.level.log_snr());
                let near = (own.alpha - row.level.alpha).abs() < 1e-6 * own.scale();
                let reached = (own.log_snr() - row.level.log_snr()).abs() < 1e-6;
                assert!(
                    near || !reached || row.level == grid.last,
                    "{solver} on {schedule}: {:?}, not {own:?}",
                    row.level
                );
                between += usize::from(row.time.is_none());
            }
        }
    }
    assert!(between > 100);
}

/// What the documentation shows is what the code makes; the example `solvers` writes it.
#[test]
fn documented_rows_are_those_of_the_code() {
    let shown = std::fs::read_to_string(common::rows::FILE).unwrap();
    assert_eq!(shown, common::rows::text(), "run the example `solvers`");
}

#[test]
fn rows_are_consistent() {
    let mut plans = 0;
    for schedule in schedules() {
        for spacing in spacings() {
            for last in [Last::Clean, Last::FirstStep] {
                for steps in [1, 2, 3, 7, 16] {
                    let grid = Grid::new(&*schedule, &*spacing, steps, last).unwrap();
                    assert_eq!(grid.points.len(), steps);
                    for solver in solvers() {
                        let plan = grid.plan(&*solver).unwrap();
                        let (noisy, clean) = (grid.points[0].level, grid.last);
                        // Churn puts its first noise into the start.
                        let begin = plan.rows[0].level;
                        let (begin, end) = if solver.rises() { (clean, noisy) } else { (begin, clean) };
                        assert_eq!(plan.rows.last().unwrap().next, end);
                        let what = std::fmt::from_fn(|f| write!(f, "{schedule} {spacing} {solver} {steps} {last:?}"));
                        check(&plan, begin, &solver, what);
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
    for spacing in ["karras:of=7", "lcm:of=14,strength=0.5"] {
        let spacing: SpacingKind = spacing.parse().unwrap();
        assert!(Grid::new(schedule, &*spacing, 8, Last::Clean).unwrap_err().to_string().contains("there are 7"));
        assert!(Grid::new(schedule, &*spacing, 7, Last::Clean).is_ok());
    }
}
