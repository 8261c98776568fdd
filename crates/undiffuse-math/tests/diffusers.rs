//! Scheduler configs, read and run, against what diffusers' own schedulers make of them, step by step.
//! The numbers come from `golden/make.py`.

mod common;

use common::recipes::{Images, sample};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use undiffuse_math::{
    diffusers::{CLASSES, write},
    prelude::*,
    recipe::{Clip, Recipe},
    solver::{Ddim, Lms},
};

const PIXELS: usize = 6;
/// How far, relatively, what the network is told may be from what diffusers tells it.
const TOLD: f64 = 1e-10;
/// How far, relative to the largest pixel, an image may be from diffusers'.
const SAME: f64 = 1e-8;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Whether diffusers keeps `x / alpha` in this class, where this crate keeps `x`.
fn over_alpha(class: &str) -> bool {
    class.contains("Discrete") && !class.starts_with("FlowMatch")
}

/// The random network of `golden/make.py`.
struct Network {
    input: Vec<f64>,
    output: Vec<f64>,
    frequency: Vec<f64>,
    phase: Vec<f64>,
}

impl Network {
    fn new(weights: &Value) -> Self {
        let [input, output, frequency, phase] =
            ["input", "output", "frequency", "phase"].map(|name| numbers(&weights[name]));
        Self { input, output, frequency, phase }
    }

    /// The answers for all images, then as many for the variance.
    fn answer(&self, x: &[f64], told: f64) -> Vec<f64> {
        let (mut mean, mut variance) = (Vec::new(), Vec::new());
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        for image in x.chunks(PIXELS) {
            let rows = self.input.chunks(PIXELS).zip(self.frequency.iter().zip(&self.phase));
            let hidden: Vec<f64> = rows.map(|(row, (f, p))| (dot(row, image) + (f * told + p).cos()).tanh()).collect();
            let mut rows = self.output.chunks(hidden.len()).map(|row| dot(row, &hidden));
            mean.extend(image.iter().zip(&mut rows).map(|(x, f)| 0.6 * x + f));
            variance.extend(rows);
        }
        mean.append(&mut variance);
        mean
    }
}

/// The config of a walk, with what its calls were told besides.
fn recipe_of(case: &Value) -> Recipe {
    let mut recipe = Recipe::from_value(&case["config"]).unwrap();
    if let Some(spacing) = case["spacing"].as_str() {
        recipe = recipe.with_spacing(spacing.parse::<SpacingKind>().unwrap());
    }
    if let Some(eta) = case["arguments"]["eta"].as_f64() {
        recipe.solver = Ddim { eta }.into();
    }
    if let Some(order) = case["arguments"]["order"].as_u64() {
        recipe.solver = Lms { order: order as usize, ..Lms::default() }.into();
    }
    recipe
}

#[test]
fn every_walk_follows_diffusers() {
    let golden: Value = serde_json::from_str(include_str!("golden/schedulers.json")).unwrap();
    let (start, network) = (numbers(&golden["start"]), Network::new(&golden["weights"]));
    let size = start.len();
    // The largest error of each class: of what the network is told, and of images relative to their largest pixel.
    let mut errors: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for case in golden["walks"].as_array().unwrap() {
        let what = format!("{} in {} steps, {}", case["config"], case["steps"], case["arguments"]);
        let class = case["config"]["_class_name"].as_str().unwrap();
        let recipe = recipe_of(case);
        let plan = recipe.plan(case["steps"].as_u64().unwrap() as usize).unwrap();
        let first = plan.rows[0].level;
        let error = errors.entry(class.to_owned()).or_default();

        // The same start: their initial noise is ours over alpha where their x is.
        let share = |alpha: f64| if over_alpha(class) { alpha } else { 1.0 };
        let theirs = case["init_noise_sigma"].as_f64().unwrap() * share(first.alpha);
        if recipe.solver.rises() {
            assert_eq!(plan.init_noise_sigma, 0.0, "{what}: inversion starts from a picture");
        } else {
            assert!(
                (plan.init_noise_sigma / theirs - 1.0).abs() < 1e-9,
                "{what}: starts at {}, not {theirs}",
                plan.init_noise_sigma
            );
        }
        let x = start.iter().map(|x| x * theirs).collect();

        let told = numbers(&case["told"]);
        assert_eq!(plan.rows.len(), told.len(), "{what}");
        let ask = |x: &[f64], ours: f64, i: usize| -> Vec<f64> {
            let off = (ours - told[i]).abs() / told[i].abs().max(1.0);
            assert!(off < TOLD, "{what}: row {i} is told {ours}, not {}", told[i]);
            error.0 = error.0.max(off);
            if class == "ScoreSdeVeScheduler" {
                let scale = ours.hypot(1.0);
                let inner: Vec<f64> = x.iter().map(|x| x / scale).collect();
                return network.answer(&inner, ours)[..size].iter().map(|f| -f / scale).collect();
            }
            let mut answer = network.answer(x, ours);
            match case["config"]["variance_type"].as_str() {
                Some("learned") => answer[size..].iter_mut().for_each(|f| *f = 0.01 * f.exp()),
                Some("learned_range") => {}
                _ => answer.truncate(size),
            }
            answer
        };
        // Their noise number d, counted through the rows; a row may use fewer than it drew, never more.
        let draws: Vec<usize> = numbers(&case["draws"]).iter().map(|d| *d as usize).collect();
        let mut used = vec![0; draws.len()];
        let noise = |i: usize| {
            let number = if i == 0 { 0 } else { draws[i - 1] } + used[i];
            assert!(number < draws[i], "{what}: row {i} wants more noise");
            used[i] += 1;
            (0..size).map(|k| 1.5 * (2.0 + 3.7 * (k + size * number) as f64).sin()).collect()
        };
        let made = sample(&recipe, &plan, Images { x, per_image: PIXELS }, ask, noise);

        for (i, (ours, theirs)) in made.iter().zip(case["rows"].as_array().unwrap()).enumerate() {
            let theirs = numbers(theirs);
            let size = theirs.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
            let to = share(plan.rows[i].next.alpha);
            for (a, b) in ours.iter().zip(&theirs) {
                let off = (a / to - b).abs() / size;
                assert!(off < SAME, "{what}: after row {i}: {} is not {b}", a / to);
                error.1 = error.1.max(off);
            }
        }
    }
    println!("{errors:#?}");
    assert!(CLASSES.iter().all(|class| errors.contains_key(*class)), "a class without a walk");
}

/// Every combination of parts that can be written reads back to the same parts.
#[test]
fn written_configs_read_back() {
    let parse = |schedule: &str, parameterization: &str| {
        (schedule.parse::<ScheduleKind>().unwrap(), parameterization.parse::<ParameterizationKind>().unwrap())
    };
    let mut count = 0;
    for (schedules, parameterizations, solvers) in [
        (
            &["linear", "scaled-linear:beta_end=0.02", "cosine:steps=500", "trained:betas=0.1;0.2;0.3"][..],
            &["eps", "x0", "v"][..],
            &["ddpm", "ddpm:variance=fixed-large", "ddim", "euler", "heun", "dpmpp-2m"][..],
        ),
        (&["linear", "cosine:steps=500"], &["eps", "v"], &["euler-ancestral"]),
        (&["linear", "cosine:steps=500"], &["eps"], &["plms", "plms:start=runge-kutta"]),
        (&["linear"], &["v"], &["plms:combine=v"]),
        (
            &["linear", "scaled-linear:beta_end=0.02"],
            &["eps", "x0", "v"],
            &["ddim-inverse", "lms", "dpmpp-3m", "dpmpp-singlestep:order=2", "unipc:order=3,variant=bh1", "deis"],
        ),
        (&["linear"], &["eps"], &["unipc:predict=eps,lower_order_final=false", "dpmpp-3m:correction=heun"]),
        (&["linear", "cosine"], &["eps"], &["dpmpp-2m:correction=heun,lower_order_final=false", "dpmpp-2m-sde"]),
        (&["sigmoid:beta_end=0.01"], &["eps", "v"], &["ddpm"]),
        (
            &["edm", "edm:sigma_max=40"],
            &["edm", "edm:sigma_data=1", "v:sigma_data=0.5"],
            &["euler", "dpmpp-2m", "dpmpp-2m-sde"],
        ),
        (&["ve:sigma_max=90"], &["score"], &["ddpm:variance=fixed-large"]),
        (&["flow"], &["flow"], &["euler", "lcm"]),
        (&["linear", "scaled-linear:beta_end=0.02"], &["eps", "x0", "v"], &["lcm"]),
        (
            &["edm", "edm:sigma_max=40"],
            &["consistency", "consistency:sigma_data=1"],
            &["lcm:sigma_min=0.002,s_noise=1.1"],
        ),
    ] {
        for schedule in schedules {
            for parameterization in parameterizations {
                for solver in solvers {
                    let (schedule, parameterization) = parse(schedule, parameterization);
                    let solver: SolverKind = solver.parse().unwrap();
                    let config = write(&schedule, &parameterization, Some(&solver), None, Clip::None).unwrap();
                    let recipe = Recipe::from_value(&config).unwrap();
                    assert_eq!(
                        (&recipe.schedule, &recipe.parameterization, &recipe.solver, recipe.clip),
                        (&schedule, &parameterization, &solver, Clip::None),
                        "{config}"
                    );
                    let ignored: Vec<_> = recipe.notes.iter().filter(|note| note.contains("ignored")).collect();
                    assert!(ignored.is_empty(), "{ignored:?}");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 95);
}

/// Every setting that diffusers was walked with is written as it was read, but for what one class has and another one
/// is written for.
#[test]
fn walked_settings_read_back_whole() {
    let golden: Value = serde_json::from_str(include_str!("golden/schedulers.json")).unwrap();
    let mut refused = Vec::new();
    for case in golden["walks"].as_array().unwrap() {
        let recipe = Recipe::from_value(&case["config"]).unwrap();
        match recipe.to_value() {
            Ok(config) => {
                let again = Recipe::from_value(&config).unwrap();
                assert_eq!(Recipe { notes: Vec::new(), ..recipe }, Recipe { notes: Vec::new(), ..again }, "{config}");
            }
            Err(e) => refused.push(format!("{}: {e}", case["config"])),
        }
    }
    // DPM-Solver of order 1 is DDIM at other times than DDIMScheduler has, and Euler may be told ln(sigma) / 4.
    let known = |text: &String| text.contains(r#""solver_order":1"#) || text.contains("continuous");
    assert!(refused.len() == 3 && refused.iter().all(known), "{refused:#?}");
}

#[test]
fn written_spacings_and_clipping_read_back() {
    let eps = "eps".parse().unwrap();
    for (solver, spacing, clip) in [
        ("ddpm", "trailing", Clip::Range(2.0)),
        ("ddim", "leading:offset=1", Clip::Threshold { ratio: 0.9, max: 1.5 }),
        ("ddim", "linspace", Clip::None),
        ("euler", "linspace:round=false", Clip::None),
        ("euler", "karras:sigma_min=0.1,sigma_max=20", Clip::None),
        ("dpmpp-2m", "karras:round=nearest", Clip::Threshold { ratio: 0.9, max: 1.5 }),
        ("dpmpp-2m", "linspace:endpoint=false", Clip::None),
        ("heun", "trailing", Clip::Range(1.0)),
    ] {
        let (solver, spacing): (SolverKind, SpacingKind) = (solver.parse().unwrap(), spacing.parse().unwrap());
        let config = write(&"linear".parse().unwrap(), &eps, Some(&solver), Some(&spacing), clip).unwrap();
        let recipe = Recipe::from_value(&config).unwrap();
        assert_eq!((recipe.solver, recipe.spacing, recipe.clip), (solver, spacing, clip), "{config}");
    }
}

/// Continuous schedules become tables with their levels, so a network trained on one is told what it was trained with.
#[test]
fn continuous_schedules_become_tables() {
    for word in ["vp", "cosine-vp:shift=-1"] {
        let schedule: ScheduleKind = word.parse().unwrap();
        let config = write(&schedule, &"v".parse().unwrap(), None, None, Clip::Range(1.0)).unwrap();
        let table = Recipe::from_value(&config).unwrap().schedule;
        for timestep in [1, 2, 10, 500, 998, 999] {
            let (ours, theirs) = (schedule.level(f64::from(timestep) / 999.0), table.level(f64::from(timestep)));
            assert!((ours.log_snr() - theirs.log_snr()).abs() < 2e-3, "{word} {timestep}: {ours:?} {theirs:?}");
            assert!(
                (schedule.timestep(f64::from(timestep) / 999.0) - table.timestep(f64::from(timestep))).abs() < 1e-9
            );
        }
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let message = |schedule: &str, parameterization: &str, solver: &str, clip| {
        let solver: SolverKind = solver.parse().unwrap();
        let (schedule, parameterization) = (schedule.parse().unwrap(), parameterization.parse().unwrap());
        write(&schedule, &parameterization, Some(&solver), None, clip).unwrap_err().to_string()
    };
    assert!(message("linear", "flow", "ddpm", Clip::None).contains("parameterization flow"));
    assert!(message("edm", "eps", "euler", Clip::None).contains("parameterization eps on the edm schedule"));
    assert!(message("edm", "edm", "heun", Clip::None).contains("solver heun"));
    assert!(message("linear", "eps", "euler-ancestral:eta=0.5", Clip::None).contains("euler-ancestral:eta=0.5"));
    assert!(message("linear", "x0", "plms", Clip::None).contains("parameterization x0 in PNDMScheduler"));
    assert!(message("linear", "x0", "euler-ancestral", Clip::None).contains("parameterization x0"));
    assert!(message("sigmoid", "eps", "ddim", Clip::None).contains("DDIMScheduler"));
    assert!(message("linear", "eps", "euler", Clip::Range(1.0)).contains("clipping"));
    assert!(message("linear:rescale_zero_snr=true", "v", "heun", Clip::None).contains("rescale_zero_snr = false"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let message = |config: Value| Recipe::from_value(&config).unwrap_err().to_string();
    let class = message(json!({ "_class_name": "DDIMSchedule" }));
    assert!(class.contains("did you mean `DDIMScheduler`?") && class.contains("HeunDiscreteScheduler"), "{class}");
    assert!(message(json!({ "beta_start": 1 })).contains("_class_name"));
    assert!(message(json!([])).contains("object"));
    for (class, field, value, expected) in [
        ("DDPMScheduler", "variance_type", json!("fixed_large_log"), "fixed_small"),
        ("DDPMScheduler", "beta_schedule", json!("laplace"), "squaredcos_cap_v2"),
        ("DDPMScheduler", "prediction_type", json!("noise"), "v_prediction"),
        ("DDPMScheduler", "beta_start", json!("low"), "number"),
        ("DDPMScheduler", "clip_sample", json!(1), "true or false"),
        ("DDPMScheduler", "num_train_timesteps", json!(-3), "whole number"),
        ("EulerDiscreteScheduler", "interpolation_type", json!("log_linear"), "linear"),
        ("EulerDiscreteScheduler", "timestep_spacing", json!("middle"), "trailing"),
        ("DPMSolverMultistepScheduler", "solver_order", json!(4), "1, 2, 3"),
        ("DPMSolverMultistepScheduler", "algorithm_type", json!("dpmsolver"), "sde-dpmsolver++"),
        ("DPMSolverMultistepScheduler", "lambda_min_clipped", json!(-5.1), "-Infinity"),
        ("FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting", json!(true), "false"),
        ("PNDMScheduler", "prediction_type", json!("sample"), "epsilon, v_prediction"),
        ("DDIMInverseScheduler", "timestep_spacing", json!("linspace"), "leading, trailing"),
        ("LCMScheduler", "original_inference_steps", json!(2000), "at most num_train_timesteps = 1000"),
        ("LCMScheduler", "timestep_scaling", json!(0), "above 0"),
        ("CMStochasticIterativeScheduler", "clip_denoised", json!("yes"), "true or false"),
        ("UnCLIPScheduler", "prediction_type", json!("v_prediction"), "epsilon, sample"),
        ("UnCLIPScheduler", "beta_schedule", json!("linear"), "squaredcos_cap_v2"),
        ("UnCLIPScheduler", "variance_type", json!("fixed_large"), "fixed_small_log, learned_range"),
        ("UniPCMultistepScheduler", "disable_corrector", json!([0]), "[]"),
        ("UniPCMultistepScheduler", "use_flow_sigmas", json!(true), "false"),
        ("UniPCMultistepScheduler", "solver_type", json!("bh3"), "bh1, bh2"),
        ("DPMSolverSinglestepScheduler", "algorithm_type", json!("sde-dpmsolver++"), "dpmsolver++"),
        ("DPMSolverMultistepScheduler", "variance_type", json!("fixed_small"), "learned_range"),
        ("DEISMultistepScheduler", "algorithm_type", json!("unipc"), "deis"),
        ("HeunDiscreteScheduler", "use_karras_sigmas", json!("yes"), "true or false"),
    ] {
        let text = message(json!({ "_class_name": class, field: value }));
        assert!(text.contains(class) && text.contains(field) && text.contains(expected), "{text}");
    }
    let part = message(json!({ "_class_name": "DDPMScheduler", "num_train_timesteps": 1 }));
    assert!(part.contains("needs 2 to 1000000 timesteps, has 1"), "{part}");
    let both = message(json!({
        "_class_name": "UniPCMultistepScheduler", "sigma_min": 0.1, "use_karras_sigmas": true, "final_sigmas_type": "sigma_min",
    }));
    assert!(both.contains("zero where sigma_min is given"), "{both}");
    let sde = message(json!({
        "_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "algorithm_type": "sde-dpmsolver++",
    }));
    assert!(sde.contains("1, 2 with sde-dpmsolver++"), "{sde}");
    for class in ["UniPCMultistepScheduler", "DEISMultistepScheduler", "DPMSolverSinglestepScheduler"] {
        let part = message(json!({ "_class_name": class, "solver_order": 4 }));
        assert!(part.contains("order must lie between 1 and 3, is 4"), "{part}");
    }
    let part = message(json!({ "_class_name": "EDMEulerScheduler", "sigma_min": 90.0 }));
    assert!(part.contains("sigma_min < sigma_max"), "{part}");
}

#[test]
fn python_writes_infinities() {
    let text = r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "note": "NaN \"-Infinity", "x": NaN}"#;
    let recipe = Recipe::from_json(text).unwrap();
    assert_eq!(recipe.solver.tag(), "dpmpp-2m");
    assert_eq!(recipe.notes, ["DPMSolverMultistepScheduler has no field note, x: ignored"]);
    assert!(Recipe::from_json("{").unwrap_err().to_string().contains("scheduler_config.json"));
}
