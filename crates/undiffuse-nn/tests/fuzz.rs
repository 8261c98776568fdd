//! Networks that others have written: damaged configs and weights are refused in words, and what is not refused runs.

use std::fs::{read, read_dir};
use std::io::Cursor;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use undiffuse_fuzz::{Counted, check_message, fuzz};
use undiffuse_nn::adapters::{Layers, Lora, LoraError};
use undiffuse_nn::networks::unet2d::UNet2DConfig;
use undiffuse_nn::networks::{AutoencoderConfig, InputError, Reads, Spec};
use undiffuse_nn::weights::Stored;
use undiffuse_nn::{Condition, NetworkConfig, init, weights};

#[global_allocator]
static MEMORY: Counted = Counted;

/// A refusal as the program prints it.
fn told(refusal: &impl std::fmt::Display) {
    check_message(&undiffuse_data::text::visible(&refusal.to_string(), "\n"));
}

fn fixture(name: &str, file: &str) -> Vec<u8> {
    read(fixtures().join(name).join(file)).unwrap()
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unet")
}

/// The `config.json` of every fixture of these folders.
fn corpus(classes: &[&str]) -> Vec<Vec<u8>> {
    let folders = classes.iter().flat_map(|class| read_dir(fixtures().with_file_name(class)).unwrap());
    let mut all: Vec<Vec<u8>> =
        folders.filter_map(|entry| std::fs::read(entry.unwrap().path().join("config.json")).ok()).collect();
    all.sort();
    all
}

#[test]
fn configs() {
    fuzz("unet-config", &corpus(&["unet", "unet_condition", "dit", "prior"]), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match NetworkConfig::from_json(text) {
            Ok(config) => run(&config),
            Err(e) => told(&e),
        }
    });
}

#[test]
fn configs_of_autoencoders() {
    let device = Device::flex();
    fuzz("autoencoder-config", &corpus(&["autoencoder"]), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let config = match AutoencoderConfig::from_json(text) {
            Ok(config) => config,
            Err(e) => return told(&e),
        };
        let (numbers, io) = (config.parameters().unwrap(), config.io());
        if numbers > 100_000 || config.features([io.channels_in, io.scale, io.scale]) > 1 << 20 {
            return;
        }
        let network = init::initialize(config.network(&device).unwrap(), 1);
        let (picture, latents) = ([1, io.channels_in, io.scale, io.scale], [1, io.latent_channels, 1, 1]);
        config.check_picture(picture).unwrap();
        config.check_latents(latents).unwrap();
        let code = network.encode(Tensor::ones(picture, &device)).dims();
        assert_eq!([code[0], code[2], code[3]], [1, 1, 1]);
        let decoded = network.decode(Tensor::ones(latents, &device)).dims();
        assert_eq!(decoded, [1, io.channels_out, io.scale, io.scale]);
    });
}

#[test]
fn loras() {
    let of_library = fixtures().join("../../../../undiffuse/tests/fixtures");
    let config = read(of_library.join("stable_diffusion/base/unet/config.json")).unwrap();
    let config = NetworkConfig::from_json(std::str::from_utf8(&config).unwrap()).unwrap();
    let network = init::initialize(config.network(&Device::flex()).unwrap(), 1);
    let files = ["unprefixed", "peft-prefix", "kohya-original"];
    let corpus = files.map(|file| read(of_library.join(format!("lora/{file}.safetensors"))).unwrap());
    fuzz("lora", &corpus, |bytes| {
        let stored = Stored::read([("x.safetensors".to_owned(), Cursor::new(bytes.to_vec()))]);
        let lora = stored.map_err(LoraError::from).and_then(|stored| Lora::of(stored, "x.safetensors".into()));
        match lora.and_then(|lora| lora.fit(&[Layers::of("unet", &network)])) {
            Ok(mut fitted) => fitted.add("unet", network.clone(), 0.5).map_or_else(|e| told(&e), drop),
            Err(e) => told(&e),
        }
    });
}

/// Builds a small network and asks it once.
fn run(config: &NetworkConfig) {
    let (numbers, side, io) = (config.parameters().unwrap(), config.stride(), config.io());
    let shape = [io.channels_in, side, side];
    if numbers > 100_000 || config.features(shape) > 1 << 20 {
        return;
    }
    let device = Device::flex();
    let network = init::initialize(config.network(&device).unwrap(), 1);
    let condition = match io.reads {
        Reads::Nothing => Condition::default(),
        Reads::Labels(_) => Condition::labels(vec![0.0]),
        Reads::Vector(width) => Condition::vector(Tensor::ones([1, width], &device)),
    };
    let tokens = io.tokens.map(|told| Tensor::ones([1, told.length.unwrap_or(3), told.width], &device));
    let condition = Condition { tokens, ..condition };
    let [c, h, w] = shape;
    config.check_input([1, c, h, w], 1, &condition).unwrap();
    let y = network.forward(Tensor::ones([1, c, h, w], &device), &[3.0], &condition);
    assert_eq!(y.dims(), [1, io.channels_out, h, w]);
}

#[test]
fn weights_files() {
    let config = NetworkConfig::from_json(std::str::from_utf8(&fixture("plain", "config.json")).unwrap()).unwrap();
    let blank = config.network(&Device::flex()).unwrap();
    let small = weights::to_bytes(
        &[weights::Named { name: "a".into(), shape: vec![2, 3], values: vec![0.5; 6] }],
        Some(("state", "{}")),
    );
    let corpus = [small, fixture("plain", "diffusion_pytorch_model.safetensors")];
    fuzz("safetensors", &corpus, |bytes| {
        let _ = weights::metadata(bytes, "state");
        match weights::parse(bytes, "w.safetensors") {
            Ok(tensors) => tensors.values().for_each(|t| assert_eq!(t.values.len(), t.shape.iter().product::<usize>())),
            Err(e) => told(&e),
        }
        let stored = weights::Stored::read([("w.safetensors".to_owned(), std::io::Cursor::new(bytes))]);
        if let Err(e) = stored.and_then(|stored| stored.fill(blank.clone())) {
            told(&e);
        }
    });
}

/// Each would be enough to end the program if it were believed.
#[test]
fn configs_out_of_all_proportion_are_refused_by_field() {
    let huge = 1u64 << 40;
    let wrong = [
        ("layers_per_block", serde_json::json!(huge)),
        ("sample_size", serde_json::json!(huge)),
        ("sample_size", serde_json::json!([0, 8])),
        ("in_channels", serde_json::json!(0)),
        ("in_channels", serde_json::json!(1u64 << 31)),
        ("out_channels", serde_json::json!(u64::MAX)),
        ("attention_head_dim", serde_json::json!(0)),
        ("norm_num_groups", serde_json::json!(0)),
        ("norm_num_groups", serde_json::json!(3)),
        ("attn_norm_num_groups", serde_json::json!(3)),
        ("time_embedding_dim", serde_json::json!(0)),
        ("num_class_embeds", serde_json::json!(0)),
        ("num_train_timesteps", serde_json::json!(1_000_000_000_000u64)),
        ("block_out_channels", serde_json::json!([huge, huge])),
        ("block_out_channels", serde_json::json!([])),
        ("dropout", serde_json::json!(1.0)),
        ("downsample_padding", serde_json::json!(7)),
        ("center_input_sample", serde_json::json!(null)),
        ("norm_eps", serde_json::json!("small")),
        ("depth", serde_json::json!(2)),
    ];
    let whole: serde_json::Value = serde_json::from_slice(&fixture("plain", "config.json")).unwrap();
    for (field, value) in wrong {
        let mut changed = whole.clone();
        changed[field] = value.clone();
        let refused = NetworkConfig::from_json(&changed.to_string()).expect_err(&format!("{field} = {value}"));
        assert!(refused.to_string().contains(field), "{field} = {value}: {refused}");
    }
    let deep = "[".repeat(100_000);
    assert!(NetworkConfig::from_json(&deep).is_err());
    let stages = 70;
    let mut many = whole.clone();
    many["block_out_channels"] = vec![4; stages].into();
    many["down_block_types"] = vec!["DownBlock2D"; stages].into();
    many["up_block_types"] = vec!["UpBlock2D"; stages].into();
    assert!(NetworkConfig::from_json(&many.to_string()).unwrap_err().to_string().contains("stages"));
}

/// What diffusers' EMAModel writes into a config says nothing of the network.
#[test]
fn averaging_is_noted_and_harmless() {
    let text = String::from_utf8(fixture("plain", "config.json")).unwrap();
    let plain = NetworkConfig::from_json(&text).unwrap();
    let mut averaged: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("decay", 0.9999.into()),
        ("inv_gamma", 1.0.into()),
        ("min_decay", 0.0.into()),
        ("optimization_step", 1000.into()),
        ("power", 0.75.into()),
        ("update_after_step", 0.into()),
        ("use_ema_warmup", true.into()),
    ] {
        let value: serde_json::Value = value;
        averaged[field] = value;
    }
    let averaged = NetworkConfig::from_json(&averaged.to_string()).unwrap();
    let notes = averaged.notes();
    assert!(notes.contains(&"power = 0.75".to_owned()) && notes.len() == 7, "{notes:?}");
    assert_eq!(averaged.to_json(), plain.to_json());
}

#[test]
fn sides_that_cannot_be_halved_are_refused() {
    let config = UNet2DConfig::default();
    assert!(config.check_size(24, 24).is_ok());
    assert!(matches!(config.check_size(24, 20), Err(InputError::Size { stride: 8, .. })));
}
