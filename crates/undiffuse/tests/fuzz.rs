//! Folders and configurations that others have written: damaged ones are refused in words, and what is not refused makes
//! a picture.

use std::fs;
use std::path::{Path, PathBuf};

use undiffuse::Model;
use undiffuse::burn::tensor::Device;
use undiffuse::denoise::Cond;
use undiffuse::math::recipe::Recipe;
use undiffuse::model::{Outline, SampleDefaults};
use undiffuse::sample::Noise;
use undiffuse::train::{Config, presets};
use undiffuse_fuzz::{Counted, check_message, fuzz};

#[global_allocator]
static MEMORY: Counted = Counted;

/// A refusal as the program prints it.
fn told(refusal: &impl std::fmt::Display) {
    check_message(&undiffuse::data::text::visible(&refusal.to_string(), "\n"));
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipelines")
}

/// A model folder in which one file is written anew for each input.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"] {
        fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        fs::copy(fixtures().join("ddim-classes").join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn read(folder: &Path) {
    if let Err(e) = Outline::read(folder, None) {
        told(&e);
    }
}

/// Loads what can be loaded, and makes a picture in few steps.
fn make(folder: &Path) {
    let model = match Model::load(folder, &Device::flex()) {
        Ok(model) => model,
        Err(e) => return told(&e),
    };
    let own = model.sample_defaults();
    let model = model.with(SampleDefaults { steps: own.steps.min(3), guidance: 1.0, ..own });
    let plan = match model.plan() {
        Ok(plan) => plan,
        Err(e) => return told(&e),
    };
    let corrections = model.recipe.corrector.map_or(0, |c| c.steps);
    if plan.rows.len().saturating_mul(1 + corrections) > 30 {
        return;
    }
    let denoiser = model.denoiser(1.0);
    let cond = Cond::class(0, 1);
    if let Err(e) = model.sample(&*denoiser, &plan, Noise::Seeds(vec![1]), &cond).finish() {
        told(&e);
    }
}

#[test]
fn schedulers() {
    let files = fs::read_dir(fixtures())
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("scheduler/scheduler_config.json")).ok());
    let mut corpus: Vec<Vec<u8>> = files.collect();
    corpus.sort();
    let folder = folder();
    fuzz("scheduler-config", &corpus, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Recipe::from_json(text) {
            Ok(_) => {
                fs::write(folder.path().join("scheduler/scheduler_config.json"), bytes).unwrap();
                make(folder.path());
            }
            Err(e) => told(&e),
        }
    });
}

#[test]
fn cards() {
    let card = br#"{"format": 1, "classes": ["ant", "bee"], "null_class": 2,
        "sample": {"solver": {"kind": "dpmpp-2m"}, "spacing": {"kind": "karras", "rho": 7.0}, "steps": 3, "guidance": 1.5},
        "process": {"schedule": {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0}, "parameterization": {"kind": "edm"}},
        "provenance": {"program": "undiffuse", "data": "ants", "seed": 1, "images_seen": 7, "ema": 0.1}}"#;
    let plain =
        br#"{"format": 1, "sample": {"solver": "ddim:eta=0.5", "spacing": "trailing", "steps": 2, "guidance": 1}}"#;
    let folder = folder();
    fuzz("card", &[card.to_vec(), plain.to_vec()], |bytes| {
        fs::write(folder.path().join("undiffuse.json"), bytes).unwrap();
        make(folder.path());
    });
}

#[test]
fn pipelines() {
    let corpus = [
        br#"{"_class_name": "DDPMPipeline", "_diffusers_version": "0.42.1", "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"]}"#
            .to_vec(),
        br#"{"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"], "safety_checker": [null, null]}"#.to_vec(),
    ];
    let folder = folder();
    fuzz("model-index", &corpus, |bytes| {
        fs::write(folder.path().join("model_index.json"), bytes).unwrap();
        read(folder.path());
    });
}

#[test]
fn indices_of_parts() {
    let folder = folder();
    let usual = folder.path().join("unet/diffusion_pytorch_model.safetensors");
    let names = undiffuse::nn::weights::read(&usual).unwrap().into_keys();
    let map: serde_json::Map<String, serde_json::Value> =
        names.map(|name| (name, "diffusion_pytorch_model.safetensors".into())).collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string().into_bytes();
    fuzz("weights-index", &[index], |bytes| {
        fs::write(folder.path().join("unet/diffusion_pytorch_model.safetensors.index.json"), bytes).unwrap();
        read(folder.path());
    });
}

#[test]
fn run_configurations() {
    let whole = |(name, _): &(&str, &str)| Config::layered(name, None, &[]).unwrap().to_toml().into_bytes();
    let presets = presets::ALL.iter().map(whole).chain(presets::ALL.iter().map(|(_, text)| text.as_bytes().to_vec()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fuzz("run-config", &presets.collect::<Vec<_>>(), |bytes| {
        fs::write(&file, bytes).unwrap();
        if let Err(e) = Config::layered("quick", Some(&file), &[]) {
            told(&e);
        }
        if let Some(Err(e)) = std::str::from_utf8(bytes).ok().map(Config::from_toml) {
            told(&e);
        }
    });
}
