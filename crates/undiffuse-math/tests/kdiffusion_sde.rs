//! Solvers that add noise, against k-diffusion step by step (golden/kdiffusion_sde.py; diffusers and the authors' own code
//! for two it does not have), with the same noise.

use serde_json::Value;
use undiffuse_math::prelude::*;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn near(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    let size = theirs.iter().fold(0f64, |size, v| size.max(v.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance * size, "{what}: {ours:?}, not {theirs:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// k-diffusion's levels have `alpha = 1`; at any other scale the walk is the same in `x / alpha`.
#[test]
fn every_walk_follows_k_diffusion() {
    let golden: Value = serde_json::from_str(include_str!("golden/kdiffusion_sde.json")).unwrap();
    type Scale = fn(f64) -> NoiseLevel;
    let scales: [(&str, Scale); 3] = [
        ("variance exploding", |sigma| NoiseLevel { alpha: 1.0, sigma }),
        ("variance preserving", NoiseLevel::variance_preserving),
        ("rectified flow", NoiseLevel::rectified_flow),
    ];
    for case in golden["walks"].as_array().unwrap() {
        for (scale, level) in scales {
            let solver: SolverKind = case["solver"].as_str().unwrap().parse().unwrap();
            let levels: Vec<_> = numbers(&case["sigmas"]).into_iter().map(level).collect();
            let what = format!("{solver} on {} {scale} levels", levels.len());
            let tolerance = case["tolerance"].as_f64().unwrap_or(1e-8);
            let plan = solver.plan(&levels).unwrap();
            let calls = case["calls"].as_array().unwrap();
            assert_eq!(plan.nfe(), calls.len(), "{what}");
            let scaled = |x: &Value, alpha: f64| numbers(x).iter().map(|x| alpha * x).collect::<Vec<_>>();
            let mut noise = case["noise"].as_array().unwrap().iter().map(numbers);
            // The first call sees what Heun's churn has already made of the start.
            let mut walk = Walk::new(&plan, scaled(&calls[0]["x"], plan.rows[0].level.alpha));
            while let Some(row) = walk.row() {
                let call = &calls[walk.done()];
                let what = format!("{what}, row {}", walk.done());
                near(walk.x(), &scaled(&call["x"], row.level.alpha), tolerance, &what);
                near(&[row.level.sigma_edm()], &[call["sigma"].as_f64().unwrap()], 1e-8, &what);
                let fresh = (row.noise != 0.0).then(|| noise.next().expect("fewer noises than rows that ask"));
                walk.step(numbers(&call["denoised"]), fresh, |terms| {
                    (0..3).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect()
                });
            }
            near(walk.x(), &scaled(&case["end"], levels.last().unwrap().alpha), tolerance, &what);
            assert_eq!(noise.next(), None, "{what}: noise is left over");
        }
    }
}
