//! The numbers that diffusers publishes in its own scheduler tests, reproduced from our plans: images
//! `arange(768) / 768` shaped (3, 8, 8, 4) and permuted to (4, 3, 8, 8), network `F(x, t) = x t / (t + 1)`, ten steps
//! (`tests/schedulers/test_scheduler_*.py`, diffusers 0.42).

mod common;

use common::recipes::{Images, sample};
use serde_json::{Value, json};
use undiffuse_math::{diffusers::Recipe, prelude::*};

const STEPS: usize = 10;

/// Ramp number `k`, in the order of the permuted images.
fn images(from: impl Fn(usize) -> f64) -> Images {
    let x = (0..4).flat_map(|image| (0..192).map(move |pixel| pixel * 4 + image)).map(from).collect();
    Images { x, per_image: 192 }
}

fn ramp() -> Images {
    images(|k| k as f64 / 768.0)
}

fn toy(x: &[f64], told: f64) -> Vec<f64> {
    x.iter().map(|x| x * told / (told + 1.0)).collect()
}

fn recipe(class: &str, shared: Value, more: Value) -> Recipe {
    let mut config = json!({ "_class_name": class, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear" });
    for fields in [shared, more] {
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    Recipe::from_value(&config).unwrap()
}

fn sum(x: &[f64]) -> f64 {
    x.iter().map(|x| x.abs()).sum()
}

fn near(x: &[f64], published_sum: Option<f64>, published_mean: f64, what: &str) {
    // diffusers' own tolerances.
    let sum = sum(x);
    assert!((sum / 768.0 - published_mean).abs() < 1e-3, "{what}: mean {}, not {published_mean}", sum / 768.0);
    if let Some(published) = published_sum {
        // Large sums are beyond single precision at the published hundredths.
        let tolerance = (1e-2f64).max(3e-6 * published);
        assert!((sum - published).abs() < tolerance, "{what}: sum {sum}, not {published}");
    }
}

/// A whole loop from the ramp times the scheduler's initial noise.
fn full_loop(recipe: &Recipe) -> Vec<f64> {
    let plan = recipe.plan(STEPS).unwrap();
    let mut start = ramp();
    start.x.iter_mut().for_each(|x| *x *= plan.start);
    sample(recipe, &plan, start, |x, told, _| toy(x, told), |_| unreachable!("no noise")).pop().unwrap()
}

/// A loop that starts at step `from` with the ramp, noised by the reversed ramp.
fn noised_loop(recipe: &Recipe, from: usize) -> Vec<f64> {
    let mut grid = recipe.grid(STEPS).unwrap();
    grid.points.drain(..from);
    let plan = grid.plan(&*recipe.solver);
    let at = plan.rows[0].level;
    let start = images(|k| (at.alpha * k as f64 + at.sigma * (767 - k) as f64) / 768.0);
    sample(recipe, &plan, start, |x, told, _| toy(x, told), |_| unreachable!("no noise")).pop().unwrap()
}

#[test]
fn ddim() {
    let ddim = |more| recipe("DDIMScheduler", json!({ "clip_sample": true }), more);
    near(&full_loop(&ddim(json!({}))), Some(172.0067), 0.223967, "eps");
    near(&full_loop(&ddim(json!({ "prediction_type": "v_prediction" }))), Some(52.5302), 0.0684, "v");
    let one = json!({ "set_alpha_to_one": true, "beta_start": 0.01 });
    near(&full_loop(&ddim(one)), Some(149.8295), 0.1951, "set_alpha_to_one");
    let first = json!({ "set_alpha_to_one": false, "beta_start": 0.01 });
    near(&full_loop(&ddim(first)), Some(149.0784), 0.1941, "no set_alpha_to_one");
    near(&noised_loop(&ddim(json!({})), 8), Some(354.5418), 0.4616, "with noise");
}

#[test]
fn dpm_solver_multistep() {
    let shared = json!({ "lower_order_final": false, "final_sigmas_type": "sigma_min" });
    let dpm = |more| recipe("DPMSolverMultistepScheduler", shared.clone(), more);
    let v = |key: &str| json!({ "prediction_type": "v_prediction", key: true });
    near(&full_loop(&dpm(json!({}))), None, 0.3301, "eps");
    near(&noised_loop(&dpm(json!({})), 5), Some(318.4111), 0.4146, "with noise");
    let threshold = json!({ "thresholding": true, "dynamic_thresholding_ratio": 0.87, "sample_max_value": 0.5 });
    near(&full_loop(&dpm(threshold)), None, 1.1364, "thresholding");
    near(&full_loop(&dpm(json!({ "prediction_type": "v_prediction" }))), None, 0.2251, "v");
    near(&full_loop(&dpm(v("use_karras_sigmas"))), None, 0.2096, "karras, v");
    near(&full_loop(&dpm(v("use_lu_lambdas"))), None, 0.1554, "lu, v");
}

/// As diffusers' tests of Euler and Heun do it: the scaled network input takes the place of the image before every
/// evaluation. In this crate's `x` (theirs times alpha) that is a multiplication by alpha; Heun's first image of a
/// pair stays as it was scaled.
fn rescaled_loop(recipe: &Recipe, from: usize) -> Vec<f64> {
    let mut grid = recipe.grid(STEPS).unwrap();
    let spread = grid.points[0].level.sigma_edm();
    grid.points.drain(..from);
    let plan = grid.plan(&*recipe.solver);
    let first = plan.rows[0].level;
    let noise = if from == 0 { 0.0 } else { first.sigma };
    let x: Vec<f64> = images(|k| (first.alpha * spread * k as f64 + noise * (767 - k) as f64) / 768.0).x;
    let mut walk = Walk::new(&plan, x);
    while let Some(row) = walk.row() {
        let scaling = recipe.parameterization.scaling(row.level);
        let told = recipe.schedule.told(row.time.unwrap());
        let input = walk.x().clone();
        let scaled: Vec<f64> = input.iter().map(|x| x * row.level.alpha).collect();
        let denoised = scaled.iter().zip(toy(&input, told)).map(|(x, f)| scaling.skip * x + scaling.out * f).collect();
        let corrects = row.level == row.to;
        let mut moved = vec![0.0; 768];
        if corrects {
            // The trapezoidal rule reads the scaled image with weight (1 - 1 / r) / 2.
            let before = plan.rows[walk.done() - 1].level;
            let r = row.level.sigma_edm() / before.sigma_edm();
            moved = scaled.iter().zip(&input).map(|(s, x)| 0.5 * (1.0 - 1.0 / r) * (s - x)).collect();
        } else {
            walk.replace_x(scaled);
        }
        let add = |terms: &[(f64, &Vec<f64>)]| {
            (0..768).map(|k| moved[k] + terms.iter().map(|(c, x)| c * x[k]).sum::<f64>()).collect()
        };
        walk.step(denoised, None, add);
    }
    walk.into_x()
}

#[test]
fn euler() {
    let euler = |more| recipe("EulerDiscreteScheduler", json!({ "num_train_timesteps": 1100 }), more);
    near(&rescaled_loop(&euler(json!({})), 0), Some(10.0807), 0.0131, "eps");
    let v = json!({ "prediction_type": "v_prediction" });
    near(&rescaled_loop(&euler(v), 0), Some(0.0002), 2.2676e-06, "v");
    let karras = json!({ "use_karras_sigmas": true });
    near(&rescaled_loop(&euler(karras), 0), Some(124.522994995), 0.162139326, "karras");
    near(&rescaled_loop(&euler(json!({})), 8), Some(57062.9297), 74.3007, "with noise");
}

#[test]
fn heun() {
    let heun = |more| recipe("HeunDiscreteScheduler", json!({ "num_train_timesteps": 1100 }), more);
    near(&rescaled_loop(&heun(json!({})), 0), Some(0.1233), 0.0002, "eps");
    let v = json!({ "prediction_type": "v_prediction" });
    near(&rescaled_loop(&heun(v), 0), Some(4.6934e-07), 6.1112e-10, "v");
    let karras = json!({ "use_karras_sigmas": true });
    near(&rescaled_loop(&heun(karras), 0), Some(0.00015), 1.9869554535034695e-07, "karras");
    near(&rescaled_loop(&heun(json!({})), 8), Some(75074.8906), 97.7538, "with noise");
}

#[test]
fn edm_euler() {
    let config = json!({ "_class_name": "EDMEulerScheduler", "num_train_timesteps": 256 });
    let sampled = full_loop(&Recipe::from_value(&config).unwrap());
    near(&sampled, Some(34.1855), 0.044, "eps");
}
