//! `predict` beside diffusers and transformers, and what it refuses.

use undiffuse::nn::weights::{self, Named};

use crate::{fixtures, network, ok, refused, tensor};

/// Outputs of diffusers in double precision; see `xtask/golden/unet.py`.
#[test]
fn predict_equals_diffusers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut ran = 0;
    let classes = ["unet", "unet_condition", "dit", "prior"].map(|class| fixtures().with_file_name(class));
    for dir in classes.iter().flat_map(|class| std::fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path())) {
        // Skip blocks are refused by name, which the parity test of the network covers.
        let config = std::fs::read_to_string(dir.join("config.json")).unwrap_or_else(|_| "Skip".into());
        if config.contains("Skip") {
            continue;
        }
        let io = dir.join("io.safetensors");
        ok(folder, &["predict", dir.to_str().unwrap(), "--input", io.to_str().unwrap(), "--output", "out.safetensors"]);
        let (got, expected) = (weights::read(&folder.join("out.safetensors")).unwrap(), weights::read(&io).unwrap());
        assert_eq!(got.contains_key("image_embeds"), expected.contains_key("image_embeds"));
        for (name, own) in [("output", "sample"), ("image_embeds", "image_embeds")] {
            let Some(expected) = expected.get(name) else { continue };
            let got = &got[own];
            assert_eq!(got.shape, expected.shape);
            let largest = expected.values.iter().fold(0f32, |m, v| m.max(v.abs()));
            let error = got.values.iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(error < 1e-4, "{}: {name}: {error}", dir.display());
        }
        ran += 1;
    }
    assert!(ran > 40);
}

/// Outputs of diffusers in double precision; see `xtask/golden/autoencoders.py`.
#[test]
fn predict_encodes_and_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, ways) in [
        ("plain", [("sample", "moments", "moments"), ("latents", "sample", "decoded")]),
        ("tiny", [("sample", "latents", "encoded"), ("latents", "sample", "decoded")]),
    ] {
        let network = fixtures().with_file_name("autoencoder").join(name);
        let io = weights::read(&network.join("io.safetensors")).unwrap();
        let write = |tensors: &[Named]| {
            std::fs::write(folder.join("in.safetensors"), weights::to_bytes(tensors, None)).unwrap();
        };
        let network = network.to_str().unwrap();
        let args = ["predict", network, "--input", "in.safetensors", "--output", "out.safetensors"];
        for (given, made, stored) in ways {
            write(&[io[given].clone()]);
            ok(folder, &args);
            let got = &weights::read(&folder.join("out.safetensors")).unwrap()[made];
            let expected = &io[stored];
            assert_eq!(got.shape, expected.shape);
            let worst = got.values.iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-3, "{name}: {made}: {worst}");
        }
        write(&[io["sample"].clone(), io["latents"].clone()]);
        refused(folder, 1, &args, &["both `sample`", "`latents`"]);
        write(&[tensor("latents", &[1, 9, 4, 4], 0.5)]);
        refused(folder, 1, &args, &["9 channels"]);
        write(&[tensor("sample", &[1, 3, 8, 7], 0.5)]);
        refused(folder, 1, &args, &["7×8", "multiples of 2"]);
        write(&[tensor("picture", &[1], 0.5)]);
        refused(folder, 1, &args, &["no tensor `sample`"]);
    }
}

/// Tokens that are missing, too many, of another width, or a mask of other tokens.
#[test]
fn predict_knows_what_a_network_attends_to() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let class = |class: &str, name: &str| fixtures().with_file_name(class).join(name).to_str().unwrap().to_owned();
    let check = |network: &str, tensors: &[Named], words: &[&str]| {
        std::fs::write(folder.join("in.safetensors"), weights::to_bytes(tensors, None)).unwrap();
        refused(folder, 1, &["predict", network, "--input", "in.safetensors", "--output", "o"], words);
    };
    let given = [tensor("sample", &[2, 2, 8, 8], 0.5), tensor("timestep", &[2], 3.0)];
    let with = |more: &[Named]| [&given, more].concat();
    let tokens = |shape: &[usize]| tensor("encoder_hidden_states", shape, 0.5);
    let words = class("unet_condition", "sd1");
    check(&words, &with(&[]), &["attends to tokens", "encoder_hidden_states [batch, tokens, 6]"]);
    check(&words, &with(&[tokens(&[2, 7, 5])]), &["[2, 7, 5]", "[batch, tokens, 6]"]);
    check(&words, &with(&[tokens(&[2, 42])]), &["[2, 42]", "[batch, tokens, width]"]);
    check(&words, &with(&[tokens(&[3, 7, 6])]), &["`encoder_hidden_states` has 3", "batch has 2"]);
    let mask = tensor("encoder_attention_mask", &[2, 6], 1.0);
    check(&words, &with(&[tokens(&[2, 7, 6]), mask]), &["[2, 6]", "[2, 7]"]);
    let strength = tensor("timestep_cond", &[2, 5], 1.0);
    check(&words, &with(&[tokens(&[2, 7, 6]), strength]), &["no timestep_cond"]);
    let pixels = [tensor("sample", &[2, 1, 8, 8], 0.5), given[1].clone(), tokens(&[2, 7, 6])];
    check(&network("plain"), &pixels, &["attends to no tokens"]);
    let embedding = [tensor("sample", &[2, 6, 1, 1], 0.5), given[1].clone(), tensor("class_labels", &[2, 6], 0.5)];
    check(&class("prior", "plain"), &[&embedding[..], &[tokens(&[2, 4, 6])]].concat(), &["4 tokens", "takes 5"]);
}

/// Outputs of transformers in double precision; see `xtask/golden/encoders.py`.
#[test]
fn predict_equals_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, outputs) in [
        ("clip_text/mask", ["last_hidden_state", "pooler_output"]),
        ("clip_text/projection-published", ["last_hidden_state", "text_embeds"]),
        ("bert/mask", ["last_hidden_state", "pooler_output"]),
        ("clip_vision/plain", ["last_hidden_state", "image_embeds"]),
    ] {
        let dir = fixtures().join("..").join(name);
        let (model, io) = (dir.to_str().unwrap(), dir.join("io.safetensors"));
        ok(folder, &["predict", model, "--input", io.to_str().unwrap(), "--output", "out.safetensors"]);
        let (got, expected) = (weights::read(&folder.join("out.safetensors")).unwrap(), weights::read(&io).unwrap());
        assert_eq!(got.len(), outputs.len());
        for output in outputs {
            let (got, expected) = (&got[output], &expected[output]);
            assert_eq!(got.shape, expected.shape, "{name}");
            let error = got.values.iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < 1e-4, "{name}: {output}: {error}");
        }
        assert!(ok(folder, &["inspect", model]).contains("of tokens 16 wide"));
    }
    // Pictures for words, and words of another vocabulary.
    let dir = fixtures().join("../clip_text/plain");
    let refuse = |tensors: &[Named], words: &[&str]| {
        std::fs::write(folder.join("in.safetensors"), weights::to_bytes(tensors, None)).unwrap();
        let args = ["predict", dir.to_str().unwrap(), "--input", "in.safetensors", "--output", "o"];
        refused(folder, 1, &args, words);
    };
    refuse(&[tensor("sample", &[1, 3, 8, 8], 0.5)], &["no tensor `input_ids`", "`sample`", "attention_mask"]);
    refuse(&[tensor("input_ids", &[8], 1.0)], &["`input_ids` has shape [8]", "[texts, tokens]"]);
    refuse(&[tensor("input_ids", &[1, 8], 0.5)], &["`input_ids`", "whole numbers"]);
    refuse(&[tensor("input_ids", &[1, 8], 40.0)], &["token 40", "another vocabulary"]);
    refuse(&[tensor("input_ids", &[1, 10], 1.0)], &["10 tokens", "1 to 9"]);
    let short = tensor("attention_mask", &[1, 7], 1.0);
    refuse(&[tensor("input_ids", &[1, 8], 1.0), short], &["`attention_mask` has shape [1, 7]", "[1, 8]"]);
}

#[test]
fn predict_refuses_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write =
        |tensors: &[Named]| std::fs::write(folder.join("in.safetensors"), weights::to_bytes(tensors, None)).unwrap();
    let check = |name: &str, tensors: &[Named], words: &[&str]| {
        write(tensors);
        let args = ["predict", &network(name), "--input", "in.safetensors", "--output", "out.safetensors"];
        refused(folder, 1, &args, words);
        assert!(!folder.join("out.safetensors").exists());
    };
    let (x, t) = (tensor("sample", &[2, 1, 8, 8], 0.5), tensor("timestep", &[2], 3.0));
    check("plain", std::slice::from_ref(&t), &["in.safetensors", "no tensor `sample`", "`timestep`"]);
    check("plain", std::slice::from_ref(&x), &["no tensor `timestep`"]);
    check("plain", &[tensor("sample", &[1, 8, 8], 0.5), t.clone()], &["[1, 8, 8]", "batch, channels, height, width"]);
    check("plain", &[tensor("sample", &[0, 1, 8, 8], 0.5), t.clone()], &["no pictures"]);
    check("plain", &[tensor("sample", &[2, 3, 8, 8], 0.5), t.clone()], &["3 channels", "takes 1"]);
    check("plain", &[tensor("sample", &[2, 1, 8, 7], 0.5), t.clone()], &["7×8", "multiples of 2"]);
    check("plain", &[x.clone(), tensor("timestep", &[3], 3.0)], &["`timestep` has 3", "batch has 2"]);
    check("plain", &[x.clone(), tensor("timestep", &[2, 1], 3.0)], &["`timestep` has shape [2, 1]"]);
    check("plain", &[x.clone(), tensor("timestep", &[2], f32::NAN)], &["`timestep` holds NaN"]);
    check("plain", &[x.clone(), t.clone(), tensor("class_labels", &[2], 0.0)], &["no classes"]);

    // A single time is meant for every picture.
    let args = ["predict", &network("plain"), "--input", "in.safetensors", "--output", "out.safetensors"];
    write(&[x.clone(), tensor("timestep", &[2], 3.0)]);
    ok(folder, &args);
    let both = weights::read(&folder.join("out.safetensors")).unwrap();
    write(&[x.clone(), tensor("timestep", &[], 3.0)]);
    ok(folder, &args);
    assert_eq!(both, weights::read(&folder.join("out.safetensors")).unwrap());

    let model = network("plain");
    let with = |input: &'static str, output: &'static str| {
        ["predict", &model, "--input", input, "--output", output].map(str::to_owned)
    };
    let refuse =
        |code, args: [String; 6], words: &[&str]| refused(folder, code, &args.each_ref().map(String::as_str), words);
    refuse(1, with("in.safetensors", "no/such/out.safetensors"), &["cannot write `no/such/out.safetensors`"]);
    refuse(1, with("nothing.safetensors", "out.safetensors"), &["cannot read `nothing.safetensors`"]);
    let whole = std::fs::read(folder.join("in.safetensors")).unwrap();
    std::fs::write(folder.join("short.safetensors"), &whole[..whole.len() - 3]).unwrap();
    refuse(1, with("short.safetensors", "out.safetensors"), &["short.safetensors", "not a complete"]);
    refused(
        folder,
        1,
        &["predict", "nowhere", "--input", "in.safetensors", "--output", "o"],
        &["no model at `nowhere`"],
    );
    let gpu = ["predict", &model, "--input", "in.safetensors", "--output", "o", "--device", "gpu"];
    refused(folder, 2, &gpu, &["`gpu` is not a device"]);
}

#[test]
fn predict_knows_the_classes_and_timesteps_of_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, name_of_input, words) in [
        ("classes-28", "class_labels", ["class label 99", "0.."]),
        ("learned-relu", "timestep", ["`timestep` holds 1.5", "whole numbers"]),
    ] {
        let mut io = weights::read(&fixtures().join(name).join("io.safetensors")).unwrap();
        let bad = if name_of_input == "timestep" { 1.5 } else { 99.0 };
        io.get_mut(name_of_input).unwrap().values.fill(bad);
        let tensors: Vec<Named> = io.into_values().collect();
        std::fs::write(folder.join("in.safetensors"), weights::to_bytes(&tensors, None)).unwrap();
        refused(folder, 1, &["predict", &network(name), "--input", "in.safetensors", "--output", "o"], &words);
    }
}
