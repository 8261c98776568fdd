//! Deterministic solvers step by step against diffusers and k-diffusion in double precision. The numbers come from
//! `golden/solvers.py`.

mod common;

use serde_json::Value;
use undiffuse_math::{plan::Walk, prelude::*};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn levels(walk: &Value) -> Vec<NoiseLevel> {
    let pairs = walk["levels"].as_array().unwrap().iter();
    pairs.map(|pair| NoiseLevel { alpha: pair[0].as_f64().unwrap(), sigma: pair[1].as_f64().unwrap() }).collect()
}

/// Runs the plan with `denoise(x, row, number)` and compares what every row makes, times `share` of its level.
fn follow(walk: &Value, start: Vec<f64>, share: fn(NoiseLevel) -> f64, denoise: impl Fn(f64, &Row, usize) -> f64) {
    let solver: SolverKind = walk["solver"].as_str().unwrap().parse().unwrap();
    let plan = solver.plan(&levels(walk)).unwrap();
    let what = format!("{solver} as {} with {}", walk["by"], walk["options"]);
    let theirs = walk["rows"].as_array().unwrap();
    assert_eq!(plan.nfe(), theirs.len(), "{what}");
    let mut ours = Walk::new(&plan, start);
    for (i, theirs) in theirs.iter().map(numbers).enumerate() {
        let row = ours.row().unwrap();
        let denoised = ours.x().iter().map(|x| denoise(*x, row, i)).collect();
        ours.step(denoised, None, |terms| {
            (0..theirs.len()).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect()
        });
        let size = theirs.iter().fold(1e-300f64, |size, x| size.max(x.abs()));
        for (a, b) in ours.x().iter().zip(&theirs) {
            let a = a * share(row.next);
            assert!((a - b).abs() < 1e-9 * size, "{what}: row {i} makes {a}, not {b}");
        }
    }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/solvers.json")).unwrap()
}

#[test]
fn diffusers() {
    let golden = golden();
    for walk in golden["diffusers"].as_array().unwrap() {
        let told = numbers(&walk["told"]);
        // Some of its schedulers keep x / alpha.
        let share = if walk["over_alpha"] == true { |to: NoiseLevel| 1.0 / to.alpha } else { |_| 1.0 };
        follow(walk, numbers(&golden["start"]), share, |x, row, i| {
            let NoiseLevel { alpha, sigma } = row.level;
            let answer = 0.8 * (0.7 * x).tanh() + 0.1 * told[i].sin();
            if walk["flow"] == true { x - sigma * answer } else { (x - sigma * answer) / alpha }
        });
    }
}

#[test]
fn k_diffusion() {
    let golden = golden();
    for walk in golden["k_diffusion"].as_array().unwrap() {
        let asked = numbers(&walk["asked"]);
        let start = numbers(&golden["start"]).iter().map(|x| x * asked[0]).collect();
        follow(
            walk,
            start,
            |_| 1.0,
            |x, row, i| {
                let s = row.level.sigma;
                assert!(
                    (s / asked[i] - 1.0).abs() < 1e-12,
                    "{}: row {i} asks at {s}, not {}",
                    walk["solver"],
                    asked[i]
                );
                0.5 * (x / s.hypot(1.0)).tanh() + 0.1 * s.ln().sin()
            },
        );
    }
}

/// On levels even in flow time the linear multistep method is Adams-Bashforth's, whose weights every textbook has.
#[test]
fn adams_bashforth() {
    let levels: Vec<_> =
        (0..8).map(|i| NoiseLevel { alpha: 0.1 * f64::from(i), sigma: 1.0 - 0.1 * f64::from(i) }).collect();
    let plan = "lms:along=flow".parse::<SolverKind>().unwrap().plan(&levels).unwrap();
    let weights = [
        vec![1.0],
        vec![1.5, -0.5],
        vec![23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        vec![55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    ];
    for (i, row) in plan.rows.iter().enumerate() {
        for (lag, weight) in weights[i.min(3)].iter().enumerate() {
            // x' = x - 0.1 Σ w v, v = (x - D) / sigma.
            let share = -0.1 * weight / levels[i - lag].sigma;
            let kept = if lag == 0 { 1.0 } else { 0.0 };
            assert!((row.x[lag] - kept - share).abs() < 1e-12, "{i} {lag}: {row:?}");
            assert!((row.denoised[lag] + share).abs() < 1e-12, "{i} {lag}: {row:?}");
        }
    }
}
