//! Model folders: which files a model is read from, and what is refused before memory is taken for it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::denoise::{At, Cond, Denoise, Guess};
use undiffuse::math::prelude::{ParameterizationKind, ScheduleKind, SolverKind, SpacingKind};
use undiffuse::math::{ode::DormandPrince, recipe::Recipe};
use undiffuse::model::{Card, ModelFolder, Outline, PartsError};
use undiffuse::nn::NetworkConfig;
use undiffuse::nn::weights::{self, Named};
use undiffuse::sample::{Noise, Strayed, sample};
use undiffuse::{Model, adaptive};

const USUAL: &str = "diffusion_pytorch_model.safetensors";
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// A copy of a pipeline that diffusers has saved.
fn pipeline(folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipelines/ddim-classes");
    let to = folder.join("model");
    for file in ["scheduler/scheduler_config.json", "unet/config.json", &format!("unet/{USUAL}")] {
        fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    to
}

fn tensors(model: &Path) -> Vec<Named> {
    weights::read(&model.join("unet").join(USUAL)).unwrap().into_values().collect()
}

fn write(model: &Path, file: &str, tensors: &[Named]) {
    fs::write(model.join("unet").join(file), weights::to_bytes(tensors, None)).unwrap();
}

/// The weights, their numbers changed, so that who reads them can be told from who reads others.
fn scaled(tensors: &[Named], factor: f32) -> Vec<Named> {
    tensors.iter().map(|t| Named { values: t.values.iter().map(|v| v * factor).collect(), ..t.clone() }).collect()
}

fn load(model: &Path, variant: Option<&str>) -> Vec<Named> {
    let mut read = weights::export(&Model::load_variant(model, variant, &Device::flex()).unwrap().network);
    read.sort_by(|a, b| a.name.cmp(&b.name));
    read
}

fn refused(model: &Path, variant: Option<&str>, words: &[&str]) {
    let message = Model::load_variant(model, variant, &Device::flex()).map(drop).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn weights_are_chosen_by_name_and_never_by_the_order_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let usual = tensors(&model);
    let [half, raw] = [0.5, 2.0].map(|factor| scaled(&usual, factor));
    // Listings are in no order, or in that of names: these come before and after the usual one.
    write(&model, "diffusion_pytorch_model.fp16.safetensors", &half);
    write(&model, "diffusion_pytorch_model.non_ema.safetensors", &raw);
    write(&model, "a.safetensors", &raw);
    assert_eq!(load(&model, None), usual);
    assert_eq!(load(&model, Some("fp16")), half);
    assert_eq!(load(&model, Some("non_ema")), raw);
    refused(
        &model,
        Some("bf16"),
        &["diffusion_pytorch_model.bf16.safetensors", "--variant fp16", "leave --variant out"],
    );
    refused(&model, Some("../x"), &["`../x` is no variant"]);
    fs::remove_file(model.join("unet").join(USUAL)).unwrap();
    refused(&model, None, &[USUAL, "give --variant fp16 or give --variant non_ema"]);
    for file in ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"] {
        fs::remove_file(model.join("unet").join(file)).unwrap();
    }
    refused(&model, None, &[USUAL, "`a.safetensors`: rename it"]);
    fs::rename(model.join("unet/a.safetensors"), model.join("unet/diffusion_pytorch_model.bin")).unwrap();
    refused(&model, None, &["pickled"]);
}

#[test]
fn parts_are_read_by_their_index_and_checked_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let all = tensors(&model);
    let [first, second] =
        ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
    let (left, right) = all.split_at(all.len() / 2);
    let parts = || {
        write(&model, first, left);
        write(&model, second, right);
        let map = left.iter().map(|t| (t, first)).chain(right.iter().map(|t| (t, second)));
        let map: serde_json::Map<String, Value> = map.map(|(t, part)| (t.name.clone(), part.into())).collect();
        fs::write(model.join("unet").join(INDEX), json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    };
    parts();
    // As in diffusers, an index goes before a single file.
    write(&model, USUAL, &scaled(&all, 3.0));
    assert_eq!(load(&model, None), all);
    let files = ModelFolder::find(&model).unwrap().files(None);
    for file in [first, second, INDEX, "config.json"] {
        assert!(files.contains(&model.join("unet").join(file)), "{file} decides what the model is");
    }
    assert!(!files.contains(&model.join("unet").join(USUAL)));

    let index = model.join("unet").join(INDEX);
    let name = left[0].name.clone();
    let point = |to: Value| edit(&index, |value| value["weight_map"][&name] = to);
    point(second.into());
    refused(&model, None, &[&name, "should be in", second]);
    for way_out in
        ["../../secret.safetensors", "/etc/x.safetensors", "..\\x.safetensors", ".hidden.safetensors", "x.bin"]
    {
        point(way_out.into());
        refused(&model, None, &[INDEX, way_out]);
    }
    parts();
    edit(&index, |value| drop(value["weight_map"].as_object_mut().unwrap().remove(&name)));
    refused(&model, None, &[&name, "the index does not name"]);
    parts();
    point(first.into());
    edit(&index, |value| value["weight_map"]["one.more"] = first.into());
    refused(&model, None, &["one.more", "is missing"]);
    parts();
    write(&model, second, &[right, &left[..1]].concat());
    refused(&model, None, &[&name, "is also in"]);
    parts();
    fs::remove_file(model.join("unet").join(second)).unwrap();
    refused(&model, None, &["cannot read", second]);
    fs::write(&index, "{}").unwrap();
    refused(&model, None, &[INDEX, "weight_map"]);
}

#[test]
fn latents_and_words_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let index = |value: Value| fs::write(model.join("model_index.json"), value.to_string()).unwrap();
    let unet = json!(["diffusers", "UNet2DModel"]);
    index(json!({ "_class_name": "DDPMPipeline", "unet": unet, "scheduler": ["diffusers", "DDIMScheduler"] }));
    load(&model, None);
    index(json!({ "_class_name": "LDMPipeline", "unet": unet, "vqvae": ["diffusers", "VQModel"] }));
    refused(&model, None, &["LDMPipeline", "VQModel", "can't decode"]);
    index(json!({ "_class_name": "X", "unet": unet, "text_encoder": ["transformers", "CLIPTextModel"] }));
    refused(&model, None, &["CLIPTextModel", "can't run"]);
}

/// Small weights, and a config that asks for a hundred thousand times as much: what it says is compared with the file's
/// header, and nothing is allocated.
#[test]
fn a_config_beyond_its_weights_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let config = model.join("unet/config.json");
    let stages = serde_json::from_str::<Value>(&fs::read_to_string(&config).unwrap()).unwrap()["block_out_channels"]
        .as_array()
        .unwrap()
        .len();
    edit(&config, |value| value["block_out_channels"] = vec![1 << 20; stages].into());
    refused(&model, None, &["does not fit the network's config", "1048576"]);
    assert!(Outline::read(&model, None).is_err());
}

#[test]
fn schedulers_cards_and_sizes_out_of_all_proportion_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let scheduler = model.join("scheduler/scheduler_config.json");
    let whole = fs::read_to_string(&scheduler).unwrap();
    for (field, value, word) in [
        ("num_train_timesteps", json!(1_000_000_000_000u64), "timesteps"),
        ("trained_betas", vec![0.5; 1_000_001].into(), "timesteps"),
        ("trained_betas", json!([]), "timesteps"),
        ("clip_sample_range", json!(-1.0), "clip_sample_range"),
        ("steps_offset", json!(-1), "steps_offset"),
        ("sample_max_value", json!(-1.0), "sample_max_value"),
        ("dynamic_thresholding_ratio", json!(2.0), "dynamic_thresholding_ratio"),
    ] {
        fs::write(&scheduler, &whole).unwrap();
        edit(&scheduler, |config| {
            config["clip_sample"] = true.into();
            config["thresholding"] = (field.contains("threshold") || field.contains("max")).into();
            config[field] = value;
        });
        refused(&model, None, &["scheduler_config.json", word]);
    }
    fs::write(&scheduler, format!("{}1", "[".repeat(200_000))).unwrap();
    refused(&model, None, &["scheduler_config.json"]);
    fs::write(&scheduler, &whole).unwrap();
    let config = model.join("unet/config.json");
    for size in [json!(7), json!(1 << 23)] {
        edit(&config, |config| config["sample_size"] = size);
        refused(&model, None, &["sample_size"]);
    }
    edit(&config, |config| config["sample_size"] = 8.into());
    fs::write(model.join("undiffuse.json"), r#"{"null_class": 1000}"#).unwrap();
    refused(&model, None, &["undiffuse.json", "null_class is 1000"]);
}

#[test]
fn parts_that_make_no_model_are_refused_with_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    let (config, card) = (model.join("unet/config.json"), model.join("undiffuse.json"));
    let whole = Model::load(&model, &Device::flex()).unwrap();
    let channels = whole.latent_shape()[0];
    assert_ne!(channels % 4, 0);

    edit(&config, |config| config["_class_name"] = "UNet2DModle".into());
    let nearest = "`UNet2DModle` (the nearest it has is UNet2DModel)";
    refused(&model, None, &[&[nearest, "config.json"][..], NetworkConfig::CLASSES].concat());
    edit(&config, |config| config["_class_name"] = "UNet2DModel".into());

    fs::write(&card, r#"{"codec": {"kind": "haar"}}"#).unwrap();
    let numbers = format!("(4 of grey, 12 of colour), and the network reads {channels}");
    refused(&model, None, &["config.json", "codec `haar`", &numbers]);
    let codec = "haar".parse().unwrap();
    let new = |card: Card| Model::new(whole.network.clone(), whole.recipe.clone(), card).map(drop).unwrap_err();
    let problem = new(Card { codec, ..Card::default() });
    assert!(matches!(problem, PartsError::Codec(_)) && problem.to_string().contains(&numbers), "{problem}");

    let rows = whole.classes().rows().unwrap();
    let problem = new(Card { null_class: Some(1000), ..Card::default() }).to_string();
    let expected =
        format!("does not fit the network: null_class is 1000, and the network has num_class_embeds = {rows}");
    assert!(problem.contains(&expected), "{problem}");
    let number = json!({ "name": "x", "mean": 0.0, "std": 1.0, "range": [0, 1] });
    let told = json!({ "kind": "embedding", "from": "x", "numbers": [number], "examples": [], "fingerprint": "" });
    let problem = new(Card { condition: Some(told), ..Card::default() }).to_string();
    assert!(problem.contains("reads no vectors"), "{problem}");
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_tensor_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = pipeline(folder.path());
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut all = tensors(&model);
        let at = all.iter().position(|t| t.name == "conv_in.weight").unwrap();
        let good = std::mem::replace(&mut all[at].values[3], value);
        write(&model, USUAL, &all);
        refused(&model, None, &[USUAL, "conv_in.weight", shown, "at 3"]);
        all[at].values[3] = good;
        write(&model, USUAL, &all);
    }
    load(&model, None);
}

/// Breaks down at its third evaluation, in one value of the second picture.
struct Breaks(std::cell::Cell<usize>);

impl Denoise for Breaks {
    fn denoise(&self, x: Tensor<4>, _: &[At], _: &Cond) -> Guess {
        self.0.set(self.0.get() + 1);
        let bad = if self.0.get() == 3 { f32::NAN } else { 0.0 };
        let spot = Tensor::<4>::full([1, 1, 1, 1], bad, &x.device());
        (x.clone() * 0.5 + x.zeros_like().slice_assign([1..2, 0..1, 1..2, 0..1], spot)).into()
    }

    fn device(&self) -> Device {
        Device::flex()
    }
}

#[test]
fn a_walk_that_leaves_the_numbers_says_where() {
    let part = str::to_owned;
    let recipe = Recipe::new(
        part("cosine").parse::<ScheduleKind>().unwrap(),
        part("eps").parse::<ParameterizationKind>().unwrap(),
        part("trailing").parse::<SpacingKind>().unwrap(),
        part("ddim").parse::<SolverKind>().unwrap(),
    );
    let plan = recipe.plan(5).unwrap();
    let walk = |first: usize| {
        let breaks = Breaks(std::cell::Cell::new(first));
        sample(&breaks, &plan, Noise::Seeds(vec![1, 2]), [1, 2, 2], &Cond::default()).finish().map(drop)
    };
    assert_eq!(walk(0), Err(Strayed { step: 3, steps: 5 }));
    assert_eq!(walk(3), Ok(()));
    assert!(walk(0).unwrap_err().to_string().starts_with("the walk left the numbers at step 3 of 5"));

    struct Nothing;
    impl Denoise for Nothing {
        fn denoise(&self, x: Tensor<4>, _: &[At], _: &Cond) -> Guess {
            (x * f32::NAN).into()
        }
        fn device(&self) -> Device {
            Device::flex()
        }
    }
    let integrator = DormandPrince::default();
    let ode =
        adaptive::sample(&Nothing, &*recipe.schedule, &[1], [1, 2, 2], &Cond::default(), &integrator, &mut |_| true);
    assert!(ode.is_err());
}
