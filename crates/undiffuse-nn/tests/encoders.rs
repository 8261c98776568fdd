//! Encoders of words and pictures against transformers in double precision, for tiny networks that cover every option between
//! them. Made by `xtask/golden/encoders.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_nn::networks::{Component, ComponentConfig, InputError, TextEncoderConfig, Tokens};
use undiffuse_nn::params;
use undiffuse_nn::weights::{self, Named, WeightsError};

/// A network and what goes in and out, by transformers' names.
struct Case {
    name: String,
    network: Component,
    io: BTreeMap<String, Named>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn case(folder: &Path, device: &Device) -> Case {
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let blank = ComponentConfig::from_json(&config).and_then(|config| config.network(device)).unwrap();
    let name = format!("{} of {}", folder.file_name().unwrap().to_string_lossy(), blank.config().class());
    let network = weights::load(blank, &folder.join("model.safetensors")).unwrap_or_else(|e| panic!("{name}: {e}"));
    Case { name, network, io: weights::read(&folder.join("io.safetensors")).unwrap() }
}

fn cases(device: &Device) -> Vec<Case> {
    let classes = ["bert", "clip_text", "clip_vision"].map(|class| root().join(class));
    let folders = classes.iter().flat_map(|class| std::fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()));
    let cases: Vec<Case> = folders.filter(|path| path.is_dir()).map(|folder| case(&folder, device)).collect();
    let classes: Vec<&str> = cases.iter().map(|case| case.network.config().class()).collect();
    let untold: Vec<_> = [TextEncoderConfig::CLASSES, undiffuse_nn::networks::ImageEncoderConfig::CLASSES].concat();
    assert!(untold.iter().all(|class| classes.contains(class)), "each class has a fixture: {classes:?}");
    cases
}

fn tokens(io: &BTreeMap<String, Named>) -> Tokens {
    let ids = &io["input_ids"];
    let mask = io.get("attention_mask").map(|mask| mask.values.iter().map(|&counts| counts != 0.0).collect());
    Tokens { ids: ids.values.iter().map(|&id| id as usize).collect(), length: ids.shape[1], mask }
}

/// All that comes out, flat, by transformers' names.
fn answers(case: &Case, device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
        tensor.flatten(0, D - 1)
    }
    match &case.network {
        Component::TextEncoder(network) => {
            let (tokens, config) = (tokens(&case.io), network.config());
            config.check_input(&tokens, 0).unwrap();
            let out = network.encode(&tokens, 0);
            let mut all = vec![("last_hidden_state", flat(out.hidden)), (config.io().pooled.0, flat(out.pooled))];
            if case.io.contains_key("skip_1") {
                all.push(("skip_1", flat(network.encode(&tokens, 1).hidden)));
            }
            all
        }
        Component::ImageEncoder(network) => {
            let pixels = &case.io["pixel_values"];
            let pixels: Tensor<4> =
                Tensor::from_data(TensorData::new(pixels.values.clone(), pixels.shape.clone()), device);
            network.config().check_input(pixels.dims()).unwrap();
            let out = network.embed(pixels);
            vec![("last_hidden_state", flat(out.hidden)), ("image_embeds", flat(out.embedding))]
        }
        _ => unreachable!("the folders are of encoders"),
    }
}

/// Largest difference relative to the largest value.
fn relative_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    got.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest.max(1e-6)
}

#[test]
fn outputs_equal_transformers() {
    let device = Device::flex();
    for case in cases(&device) {
        for (what, got) in answers(&case, &device) {
            let error = relative_error(&params::to_host(got), &case.io[what].values);
            println!("{}: {what} {error:.1e}", case.name);
            assert!(error < 1e-4, "{}: {what}: {error}", case.name);
        }
    }
}

/// Of the sum of mean squares of all that comes out.
#[test]
fn gradients_equal_pytorch() {
    let device = Device::flex().autodiff();
    let mut ran = 0;
    for case in cases(&device) {
        if !case.io.keys().any(|name| name.starts_with("grad.")) {
            continue;
        }
        let losses = answers(&case, &device).into_iter().map(|(_, y)| y.powi_scalar(2).mean());
        let mut gradients = losses.reduce(|a, b| a + b).unwrap().backward();
        params::take_gradients(&case.network, &mut gradients, |parameter, gradient| {
            // transformers 5 leaves out the prefix of all.
            let bare = parameter.trim_start_matches("text_model.");
            let expected = [&*parameter, bare].iter().find_map(|name| case.io.get(&format!("grad.{name}")));
            let expected = &expected.unwrap_or_else(|| panic!("{parameter}")).values;
            let got = params::to_host(gradient);
            // The offsets of keys have no gradient but rounding.
            let error = match parameter.ends_with("k_proj.bias") || parameter.ends_with("key.bias") {
                true => got.iter().fold(0f32, |m, v| m.max(v.abs())),
                false => relative_error(&got, expected),
            };
            assert!(error < 1e-3, "{}: {parameter}: {error}", case.name);
        });
        ran += 1;
    }
    assert_eq!(ran, 4);
}

/// What a text means depends on nothing but the text: to the last bit the same alone and among others.
#[test]
fn a_text_is_encoded_alone_as_among_others() {
    let device = Device::flex();
    for case in cases(&device) {
        let Component::TextEncoder(network) = &case.network else { continue };
        let all = tokens(&case.io);
        let (n, together) = (all.length, network.encode(&all, 0));
        for text in 0..all.texts() {
            let part = |of: &[usize]| of[text * n..][..n].to_vec();
            let mask = all.mask.as_ref().map(|mask| mask[text * n..][..n].to_vec());
            let alone = network.encode(&Tokens { ids: part(&all.ids), length: n, mask }, 0);
            let same = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits());
            let hidden = |x: Tensor<3>| params::to_host(x.flatten(0, 2));
            let pooled = |x: Tensor<2>| params::to_host(x.flatten(0, 1));
            assert!(same(hidden(alone.hidden), hidden(together.hidden.clone().narrow(0, text, 1))), "{}", case.name);
            assert!(same(pooled(alone.pooled), pooled(together.pooled.clone().narrow(0, text, 1))), "{}", case.name);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let text = std::fs::read_to_string(root().join("clip_text/plain/config.json")).unwrap();
    let config = TextEncoderConfig::from_json(&text).unwrap();
    let tokens = |ids: Vec<usize>, length| Tokens { ids, length, mask: None };
    let refused = |tokens: Tokens, skip| config.check_input(&tokens, skip).unwrap_err().to_string();
    assert!(refused(tokens(vec![1; 10], 10), 0).contains("10 tokens; this network takes 1 to 9"));
    assert!(refused(tokens(vec![40], 1), 0).contains("token 40 is not one of 0..40"));
    assert!(refused(tokens(vec![1; 3], 3), 3).contains("3 layers are to be skipped"));
    let hidden = Tokens { mask: Some(vec![true, true, false, false]), ..tokens(vec![1; 4], 2) };
    assert!(matches!(config.check_input(&hidden, 0), Err(InputError::Masked { text: 1 })));

    for (from, to, words) in [
        ("\"quick_gelu\"", "\"laplace\"", &["hidden_act", "laplace"][..]),
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", &["num_attention_heads 3", "hidden_size 16"]),
        ("\"hidden_size\": 16", "\"hidden_size\": 0", &["hidden_size must be at least 1"]),
        ("\"vocab_size\": 40", "\"vocab_size\": 99999999", &["vocab_size is 99999999"]),
        ("CLIPTextModel", "CLIPTextModels", &["`CLIPTextModels`", "nearest it has is CLIPTextModel"]),
    ] {
        assert!(text.contains(from));
        let refused = ComponentConfig::from_json(&text.replace(from, to)).unwrap_err().to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }
    // Weights of another class, by the tensor.
    let bert = case(&root().join("bert/plain"), &Device::flex());
    let other = weights::load(bert.network, &root().join("clip_text/plain/model.safetensors")).unwrap_err();
    assert!(
        matches!(&other, WeightsError::Mismatch { problems, .. } if problems.contains("word_embeddings")),
        "{other}"
    );
}
