//! Samplers on normal data, followed exactly: every image is an affine function of the noises, so its mean and
//! variance are known without drawing any. And samplers on a mixture, with noise that is drawn.

mod common;

use common::{Mixture, normal::Normal, schedules, solvers};
use undiffuse_math::{noise, prelude::*, timing::normal_quantile};

const MEAN: f64 = 0.4;

/// One normal distribution, axis by axis.
const AXES: [Normal; 3] =
    [Normal { mean: MEAN, std: 0.5 }, Normal { mean: MEAN, std: 0.15 }, Normal { mean: MEAN, std: 1.5 }];

/// Solvers that get to the data at all.
fn converging() -> impl Iterator<Item = SolverKind> {
    solvers().into_iter().filter(|solver| !solver.rises() && solver.order().or(solver.weak_order()).is_some())
}

#[test]
fn finer_plans_approach_the_true_distribution() {
    for schedule in schedules() {
        // Tables are slices of the continuous ones: one width is enough there.
        let axes = if schedule.discrete_steps().is_none() { &AXES[..] } else { &AXES[..1] };
        for (solver, data) in converging().flat_map(|solver| axes.iter().map(move |data| (solver.clone(), data))) {
            let at = |n| data.errors(&*schedule, &*solver, n);
            let (coarse, fine) = (at(100), at(1000));
            let what = format!(
                "{solver} on {schedule}, std {}: (mean, variance) wrong by {coarse:?}, then {fine:?}",
                data.std
            );
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
        let least =
            schedules().iter().map(|schedule| AXES[0].weak_order(&**schedule, &*solver, 600)).fold(f64::MAX, f64::min);
        assert!((least - order).abs() < 0.05, "{solver}: weak order {least}, promised {order}");
    }
}

/// A consistency model samples the data in any number of steps.
#[test]
fn consistency_steps_are_exact() {
    for schedule in schedules() {
        for solver in solvers().iter().filter(|solver| solver.wants_consistency() && solver.exact_variance()) {
            for (n, data) in [1, 2, 7].into_iter().zip(AXES) {
                let (mean, variance) = data.errors(&*schedule, &**solver, n);
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
            let plan = Grid::new(&*schedule, &*spacing, steps, Last::Clean).unwrap().plan(&*solver).unwrap();
            let (mean, variance) = AXES[0].sampled(&*solver, &plan);
            // A Langevin walk has only so many steps to settle at each level.
            let tolerance = if steps < 1000 { 0.2 } else { 0.025 } * if solver.tag() == "langevin" { 5.0 } else { 1.0 };
            let what = format!("{solver} on {schedule}: mean {mean}, variance {variance}");
            assert!(
                (mean - MEAN).abs() < tolerance * MEAN
                    && (variance - AXES[0].std.powi(2)).abs() < tolerance * AXES[0].std.powi(2),
                "{what}"
            );
        }
    }
}

/// Two unequal humps, whose denoiser is far from linear, in 2048 walks at once.
#[test]
fn mixtures_are_sampled() {
    const WALKS: usize = 2048;
    let data = Mixture(vec![(0.3, -1.0, 0.2), (0.7, 0.8, 0.3)]);
    let (true_mean, true_variance) = (0.26, 0.3 * (1.0 + 0.04) + 0.7 * (0.64 + 0.09) - 0.26f64.powi(2));
    let schedule: ScheduleKind = "vp:t_min=1e-5".parse().unwrap();
    let spacing: SpacingKind = "exponential:sigma_min=0.01".parse().unwrap();
    let grid = Grid::new(&*schedule, &*spacing, 80, Last::Clean).unwrap();
    // Five steps a level are too few for Langevin walks to share themselves out between the humps.
    let more = ["heun:churn=30", "ddim:eta=1", "dpmpp-sde:one_path=false", "langevin:per_level=20,step=0.1"];
    let noisy = |solver: &SolverKind| solver.weak_order().is_some() && solver.to_string() != "langevin";
    let defaults = SolverKind::ALL.iter().map(|entry| (entry.default)());
    let more = more.map(|text| text.parse::<SolverKind>().unwrap());
    for solver in defaults.chain(more).filter(noisy) {
        let plan = grid.plan(&*solver).unwrap();
        // A start without chance of its own, then noise from the generator.
        let quantile = |k: usize| normal_quantile((k as f64 + 0.5) / WALKS as f64);
        let start = (0..WALKS).map(|k| plan.init_noise_sigma * quantile((k * 1027) % WALKS)).collect::<Vec<f64>>();
        let mut walk = Walk::new(&plan, start);
        while let Some(row) = walk.row() {
            let denoised = walk.x().iter().map(|x| data.denoise(*x, row.level)).collect();
            let mut fresh = vec![0f32; WALKS];
            noise::normal(7, walk.done() as u64, 0, &mut fresh);
            let fresh = fresh.into_iter().map(f64::from).collect();
            walk.step(denoised, Some(fresh), |terms: &[(f64, &Vec<f64>)]| {
                (0..WALKS).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect()
            });
        }
        let x = walk.into_x();
        let mean = x.iter().sum::<f64>() / WALKS as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WALKS as f64;
        // Four standard errors, and for methods of first order what eighty steps leave of the error.
        let error = |fourth: f64| 4.0 * (fourth / WALKS as f64).sqrt();
        let fourth = x.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / WALKS as f64;
        let bias = if solver.weak_order() == Some(1.0) { 0.05 } else { 0.01 };
        let what = format!("{solver}: mean {mean}, not {true_mean}; variance {variance}, not {true_variance}");
        assert!((mean - true_mean).abs() < error(variance), "{what}");
        assert!((variance - true_variance).abs() < error(fourth - variance * variance) + bias, "{what}");
    }
}

/// The first step's churn is in the start.
#[test]
fn churn_begins_before_the_first_row() {
    let levels: Vec<_> = [10.0, 3.0, 1.0].into_iter().map(NoiseLevel::variance_preserving).collect();
    let plan = |text: &str| text.parse::<SolverKind>().unwrap().plan(&levels).unwrap();
    let churned = plan("heun:churn=0.2");
    let level = churned.rows[0].level;
    assert!((level.sigma_edm() - 11.0).abs() < 1e-12 && (churned.init_noise_sigma - level.scale()).abs() < 1e-12);
    let louder = plan("heun:churn=0.2,s_noise=2").init_noise_sigma;
    let added = level.sigma.powi(2) - levels[0].sigma.powi(2);
    assert!((louder.powi(2) - levels[0].scale().powi(2) - 4.0 * added).abs() < 1e-12);
    assert_eq!(plan("heun:churn=0.2,s_max=5").init_noise_sigma, levels[0].scale());
    assert!((plan("heun:churn=100").rows[0].level.sigma_edm() - 200f64.sqrt()).abs() < 1e-12);
}

/// Images are dropped as soon as no later row reads them.
#[test]
fn walks_hold_few_images() {
    let most = |solver: &str, steps| {
        let levels: Vec<_> =
            (0..=steps).map(|i| NoiseLevel::variance_preserving((4.0 - i as f64 * 0.2).exp())).collect();
        let plan = solver.parse::<SolverKind>().unwrap().plan(&levels).unwrap();
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
