//! The computed spacing against its closed form, and against small changes of itself.

mod common;

use common::moments;
use undiffuse_math::prelude::*;

fn sigmas(spacing: &str, schedule: &str, steps: usize) -> Vec<f64> {
    let (spacing, schedule): (SpacingKind, ScheduleKind) = (spacing.parse().unwrap(), schedule.parse().unwrap());
    spacing.points(&*schedule, steps).iter().map(|point| point.level.sigma_edm()).collect()
}

/// For data of one standard deviation the best levels are even in `arctan(sigma / c)` [Sabour24, section 3].
#[test]
fn one_standard_deviation_has_a_closed_form() {
    for (c, schedule) in [(0.5, "edm"), (1.0, "vp"), (0.1, "edm"), (3.0, "ve")] {
        for steps in [2, 3, 5, 20, 200] {
            let ours = sigmas(&format!("optimal:exponent=0,sigma_data={c}"), schedule, steps);
            let angle = |s: f64| (s / c).atan();
            let (top, end) = (angle(ours[0]), angle(ours[steps - 1]));
            for (i, s) in ours.iter().enumerate() {
                let exact = c * (top + (end - top) * i as f64 / (steps - 1) as f64).tan();
                assert!(
                    (s / exact - 1.0).abs() < 1e-6,
                    "c = {c}, {steps} steps on {schedule}: {i} at {s}, not {exact}"
                );
            }
        }
    }
}

/// Divergence between the data and what Euler's method makes of them, from its plan; over a spectrum of many
/// frequencies, one by one.
fn divergence(sigmas: &[f64], exponent: f64, size: usize) -> f64 {
    let levels: Vec<_> = sigmas.iter().map(|&sigma| NoiseLevel { alpha: 1.0, sigma }).collect();
    let plan = "euler".parse::<SolverKind>().unwrap().plan(&levels);
    const RINGS: usize = 400;
    let ring = |k: usize| {
        let f = ((size as f64 / 2.0).ln() * (k as f64 + 0.5) / RINGS as f64).exp();
        (f * f, f.powf(-exponent))
    };
    let total: f64 = (0..RINGS).map(|k| ring(k).0).sum();
    let power: f64 = (0..RINGS).map(|k| ring(k).0 * ring(k).1).sum::<f64>() / total;
    let of_ring = |k| {
        let (share, variance) = (ring(k).0 / total, 0.25 * ring(k).1 / power);
        let truth = |at: NoiseLevel| variance + at.sigma * at.sigma;
        let (_, made) = moments(&plan, (0.0, truth(levels[0])), |at| (0.0, variance / truth(at)));
        let ratio = truth(levels[levels.len() - 1]) / made;
        share * 0.5 * (ratio - 1.0 - ratio.ln())
    };
    (0..RINGS).map(of_ring).sum()
}

#[test]
fn every_change_makes_it_worse() {
    for steps in [3, 6, 12, 25] {
        let best = sigmas("optimal", "edm", steps);
        let least = divergence(&best, 2.0, 32);
        for i in 1..steps - 1 {
            for change in [0.98, 1.02] {
                let mut changed = best.clone();
                changed[i] *= change;
                let worse = divergence(&changed, 2.0, 32);
                assert!(worse > least, "{steps} steps, level {i} times {change}: {worse}, not above {least}");
            }
        }
        for other in ["karras", "exponential", "optimal:exponent=0", "optimal:exponent=3,size=256"] {
            let worse = divergence(&sigmas(other, "edm", steps), 2.0, 32);
            assert!(worse > least, "{steps} steps, {other}: {worse}, not above {least}");
        }
    }
}
