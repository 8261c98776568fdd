//! The computed spacing against its closed form, and against small changes of itself.

mod common;

use common::normal::moments;
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

/// For the bound they are geometric in `sin(arctan(sigma / c))`: the levels at which `mmse` is.
#[test]
fn the_bound_has_a_closed_form_too() {
    for (c, schedule) in [(0.5, "edm"), (1.0, "vp"), (3.0, "ve")] {
        for steps in [2, 3, 5, 20, 200] {
            let ours = sigmas(&format!("optimal:exponent=0,objective=bound,sigma_data={c}"), schedule, steps);
            let ln_sin = |s: f64| (s / s.hypot(c)).ln();
            let (top, end) = (ln_sin(ours[0]), ln_sin(ours[steps - 1]));
            for (i, s) in ours.iter().enumerate() {
                let exact = top + (end - top) * i as f64 / (steps - 1) as f64;
                assert!((ln_sin(*s) - exact).abs() < 1e-9, "c = {c}, {steps} steps on {schedule}: {i} at {s}");
            }
        }
    }
}

/// Share of the dimensions and variance, ring of spatial frequencies by ring.
fn rings(exponent: f64, size: usize) -> Vec<(f64, f64)> {
    const RINGS: usize = 400;
    let ring = |k: usize| {
        let f = ((size as f64 / 2.0).ln() * (k as f64 + 0.5) / RINGS as f64).exp();
        (f * f, f.powf(-exponent))
    };
    let total: f64 = (0..RINGS).map(|k| ring(k).0).sum();
    let power: f64 = (0..RINGS).map(|k| ring(k).0 * ring(k).1).sum::<f64>() / total;
    (0..RINGS).map(|k| (ring(k).0 / total, 0.25 * ring(k).1 / power)).collect()
}

/// Divergence between the data and what Euler's method makes of them, from its plan, one frequency after the other.
fn ode(sigmas: &[f64]) -> f64 {
    let levels: Vec<_> = sigmas.iter().map(|&sigma| NoiseLevel { alpha: 1.0, sigma }).collect();
    let plan = "euler".parse::<SolverKind>().unwrap().plan(&levels).unwrap();
    let of_ring = |(share, variance): (f64, f64)| {
        let truth = |at: NoiseLevel| variance + at.sigma * at.sigma;
        let (_, made) = moments(&plan, (0.0, truth(levels[0])), |at| (0.0, variance / truth(at)));
        let ratio = truth(levels[levels.len() - 1]) / made;
        share * 0.5 * (ratio - 1.0 - ratio.ln())
    };
    rings(2.0, 32).into_iter().map(of_ring).sum()
}

/// `½ Σ (snr' - snr) mmse` [Kingma21, Eq. 13] less the bound in infinitely many steps, `½ ln(1 + c² snr)` from end to
/// end.
fn bound(sigmas: &[f64]) -> f64 {
    let of_ring = |(share, variance): (f64, f64)| {
        let snr = |s: f64| s.powi(-2);
        let step = |s: &[f64]| 0.5 * (snr(s[1]) - snr(s[0])) * variance / (1.0 + variance * snr(s[0]));
        let limit = |s: f64| 0.5 * (variance * snr(s)).ln_1p();
        let steps: f64 = sigmas.windows(2).map(step).sum();
        share * (steps - limit(sigmas[sigmas.len() - 1]) + limit(sigmas[0]))
    };
    rings(2.0, 32).into_iter().map(of_ring).sum()
}

#[test]
fn every_change_makes_it_worse() {
    type Loss = fn(&[f64]) -> f64;
    let losses: [(&str, Loss); 2] = [("optimal", ode), ("optimal:objective=bound", bound)];
    for ((spacing, loss), steps) in losses.into_iter().flat_map(|case| [3, 6, 12, 25].map(|steps| (case, steps))) {
        let best = sigmas(spacing, "edm", steps);
        let least = loss(&best);
        for i in 1..steps - 1 {
            for change in [0.98, 1.02] {
                let mut changed = best.clone();
                changed[i] *= change;
                let worse = loss(&changed);
                assert!(
                    worse > least,
                    "{spacing}, {steps} steps, level {i} times {change}: {worse}, not above {least}"
                );
            }
        }
        let others =
            ["karras", "exponential", "optimal:exponent=0", "optimal:exponent=3,size=256", losses[0].0, losses[1].0];
        for other in others.into_iter().filter(|other| *other != spacing) {
            let worse = loss(&sigmas(other, "edm", steps));
            assert!(worse > least, "{spacing}, {steps} steps, {other}: {worse}, not above {least}");
        }
    }
}

#[test]
fn extreme_options_still_fall() {
    for sigma_data in ["0.000001", "0.03", "1", "40", "1000000"] {
        for (exponent, size) in [(0, 2), (2, 2), (2, 65536), (6, 512)] {
            for (objective, schedule) in
                [("ode", "edm"), ("bound", "edm"), ("ode", "linear"), ("bound", "flow:t_min=0")]
            {
                for steps in [1, 2, 3, 17, 300] {
                    let text = format!(
                        "optimal:exponent={exponent},objective={objective},sigma_data={sigma_data},size={size}"
                    );
                    let made = sigmas(&text, schedule, steps);
                    assert!(made.len() == steps && made[1..].iter().all(|s| s.is_finite()), "{text}: {made:?}");
                    assert!(made.windows(2).all(|s| s[1] < s[0]), "{text}, {steps} steps on {schedule}: {made:?}");
                }
            }
        }
    }
    for text in ["optimal:sigma_data=0", "optimal:sigma_min=1e-9", "optimal:size=1", "optimal:exponent=-1"] {
        assert!(text.parse::<SpacingKind>().unwrap_err().to_string().contains("must lie in"), "{text}");
    }
}
