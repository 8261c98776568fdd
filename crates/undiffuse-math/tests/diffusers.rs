//! Scheduler configs, read and run, against what diffusers' own schedulers make of them, step by step.
//! The numbers come from `golden/make.py`.

mod common;

use common::{Images, sample};
use serde_json::{Value, json};
use undiffuse_math::{
    diffusers::{CLASSES, Clip, Recipe, write},
    prelude::*,
};

fn golden() -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("golden/schedulers.json")).unwrap();
    golden["walks"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Whether diffusers keeps `x / alpha` in this class, where this crate keeps `x`.
fn over_alpha(class: &str) -> bool {
    ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"].contains(&class)
}

#[test]
fn every_walk_follows_diffusers() {
    let mut seen = Vec::new();
    for case in golden() {
        let what = format!("{} in {} steps, {}", case["config"], case["steps"], case["arguments"]);
        let class = case["config"]["_class_name"].as_str().unwrap().to_owned();
        let mut recipe = Recipe::from_value(&case["config"]).unwrap();
        if let Some(eta) = case["arguments"]["eta"].as_f64() {
            recipe.solver = undiffuse_math::solver::Ddim { eta }.into();
        }
        let plan = recipe.plan(case["steps"].as_u64().unwrap() as usize).unwrap();
        let first = plan.rows[0].level;

        // The same start: their initial noise is ours over alpha where their x is.
        let share = |alpha: f64| if over_alpha(&class) { alpha } else { 1.0 };
        let theirs = case["init_noise_sigma"].as_f64().unwrap() * share(first.alpha);
        assert!((plan.start / theirs - 1.0).abs() < 2e-5, "{what}: starts at {}, not {theirs}", plan.start);
        let x = numbers(&case["start"]).iter().map(|x| x * share(first.alpha)).collect();

        // The network is told the same.
        let told = numbers(&case["told"]);
        assert_eq!(plan.rows.len(), told.len(), "{what}");
        let score = class == "ScoreSdeVeScheduler";
        let network = |x: &[f64], ours: f64, i: usize| -> Vec<f64> {
            let theirs = told[i];
            // diffusers' score scheduler tells the network a sigma up to 1e-5 of the range off the one it steps from.
            // Elsewhere the difference is that of single precision in its smallest sigma.
            let tolerance = if score { 2e-4 * theirs } else { 1e-2 };
            assert!((ours - theirs).abs() < tolerance, "{what}: row {i} is told {ours}, not {theirs}");
            let factor = if score { -0.8 / (1.0 + theirs * theirs) } else { 0.6 };
            x.iter().map(|x| factor * x + 0.1 * theirs.sin()).collect()
        };
        let noise = |i: usize| case["noise"][i].as_array().unwrap().last().map(numbers);
        let made = sample(&recipe, &plan, Images { x, per_image: 6 }, network, noise);

        for (i, (ours, theirs)) in made.iter().zip(case["rows"].as_array().unwrap()).enumerate() {
            let theirs = numbers(theirs);
            let size = theirs.iter().map(|x| x.abs()).fold(1.0, f64::max);
            let to = share(plan.rows[i].to.alpha);
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a / to - b).abs() < 1e-4 * size, "{what}: after row {i}: {} is not {b}", a / to);
            }
        }
        seen.push(class);
    }
    assert!(CLASSES.iter().all(|class| seen.iter().any(|s| s == class)), "a class without a walk");
}
