//! Pipelines of words that are damaged, hostile, or put together from several models: each is refused in one line that says what is
//! wrong where and what to do, by an exit code, in little memory.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use undiffuse::nn::weights::{Named, read, to_bytes};

#[path = "../../undiffuse/tests/folders_of_words/mod.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod folders_of_words;
use folders_of_words::{copy, root};

/// Kilobytes of address space: many times what the pipeline takes, a hundredth of what is claimed.
#[cfg(target_os = "linux")]
const ROOM: u64 = 2_000_000;

/// Runs the program in little memory, expects an exit code, and returns what it said.
fn run(folder: &Path, code: i32, args: &[&str]) -> String {
    #[cfg(target_os = "linux")]
    let mut command = {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {ROOM}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_undiffuse")]);
        shell
    };
    #[cfg(not(target_os = "linux"))]
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    let output = command.args(args).current_dir(folder).env("UNDIFFUSE_CACHE", folder).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let said = String::from_utf8([output.stderr, output.stdout].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn refused(folder: &Path, args: &[&str], words: &[&str]) {
    let said = run(folder, 1, args);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.len() < 900, "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is missing in {said}"));
}

/// One picture of words.
const SAMPLE: [&str; 9] =
    ["sample", "model", "--prompt", "a red heart", "--steps", "1", "--guidance", "1", "--overwrite"];

/// Copies the pipeline, damages it, and expects each of these commands to refuse it with these words.
fn damaged(damage: impl FnOnce(&Path), words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&root().join("base"), &model);
    damage(&model);
    for command in [&SAMPLE[..], &["inspect", "model"]] {
        refused(folder.path(), command, words);
    }
}

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const ENCODER: &str = "text_encoder/model.safetensors";
const WEIGHTS: [&str; 3] = [UNET, VAE, ENCODER];

/// Changes a JSON file.
fn edit(path: PathBuf, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Sets a field of a JSON file.
fn set(file: &'static str, field: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |model| edit(model.join(file), |config| config[field] = value)
}

/// Changes the tensors of a file.
fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<Named>)) {
    let mut tensors = read(path).unwrap().into_values().collect();
    change(&mut tensors);
    fs::write(path, to_bytes(&tensors, None)).unwrap();
}

fn index(file: &str) -> String {
    format!("{file}.index.json")
}

#[test]
fn the_pipeline_itself_runs_in_that_memory() {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("base"), &folder.path().join("model"));
    let said = run(folder.path(), 0, &SAMPLE);
    assert!(said.contains("1 picture"), "{said}");
    run(folder.path(), 0, &["inspect", "model"]);
}

#[test]
fn weights_that_are_cut_off_or_claim_too_much_are_refused_by_file() {
    for file in WEIGHTS {
        let broken = [file, "not a complete safetensors file", "download or save it again"];
        damaged(
            |model| {
                let whole = fs::read(model.join(file)).unwrap();
                fs::write(model.join(file), &whole[..whole.len() - 100]).unwrap();
            },
            &broken,
        );
        damaged(
            |model| {
                let header = r#"{"x":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}"#;
                let mut file = fs::File::create(model.join(file)).unwrap();
                file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
                file.write_all(header.as_bytes()).unwrap();
            },
            &[&broken[..], &["100000000000 bytes of values, and 0 are there"]].concat(),
        );
        // As large a header, in a file that is as large and takes no room on the disk.
        damaged(
            |model| {
                let mut file = fs::File::create(model.join(file)).unwrap();
                file.write_all(&100_000_000_000u64.to_le_bytes()).unwrap();
                file.set_len(100_000_000_100).unwrap();
            },
            &[&broken[..], &["longer than the file, or than any header"]].concat(),
        );
        damaged(|model| fs::write(model.join(file), "").unwrap(), &[&broken[..], &["it has 0 bytes"]].concat());
    }
}

#[test]
fn weights_of_another_network_are_refused_by_tensor() {
    for (file, tensor) in
        [(UNET, "conv_in.weight"), (VAE, "decoder.conv_in.weight"), (ENCODER, "token_embedding.weight")]
    {
        let rewritten = |change: fn(&mut Vec<Named>, usize)| {
            move |model: &Path| {
                rewrite(&model.join(file), |all| {
                    let at = all.iter().position(|t| t.name.ends_with(tensor)).unwrap();
                    change(all, at);
                });
            }
        };
        let named = [file, "does not fit the network's config", tensor];
        let reshaped = |all: &mut Vec<Named>, at: usize| all[at].shape.reverse();
        damaged(rewritten(reshaped), &[&named[..], &["the config says"]].concat());
        damaged(rewritten(|all, at| drop(all.remove(at))), &[&named[..], &["is missing"]].concat());
        let renamed = |all: &mut Vec<Named>, at: usize| all[at].name = "of.another.network".into();
        damaged(rewritten(renamed), &[&named[..], &["`of.another.network` is not part of it"]].concat());
    }
    // Networks a hundred thousand times as large take no memory before they are compared with what is there.
    for (file, field, value) in [
        ("unet/config.json", "block_out_channels", json!([1 << 20, 1 << 20])),
        ("vae/config.json", "block_out_channels", json!([1 << 20, 1 << 20])),
        ("text_encoder/config.json", "intermediate_size", json!(1 << 22)),
        ("text_encoder/config.json", "max_position_embeddings", json!(1 << 22)),
    ] {
        let folder = file.split('/').next().unwrap();
        damaged(set(file, field, value), &[folder, "does not fit the network's config"]);
    }
    damaged(
        set("text_encoder/config.json", "num_hidden_layers", json!(1u64 << 40)),
        &["text_encoder/config.json", "num_hidden_layers is 1099511627776; at most"],
    );
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_tensor() {
    for (file, tensor) in [(UNET, "conv_in.bias"), (VAE, "decoder.conv_in.bias"), (ENCODER, "final_layer_norm.bias")] {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        copy(&root().join("base"), &model);
        for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            rewrite(&model.join(file), |all| {
                all.iter_mut().find(|t| t.name.ends_with(tensor)).unwrap().values[1] = value;
            });
            refused(folder.path(), &SAMPLE, &[file, tensor, &format!("{shown} at 1"), "take another"]);
        }
    }
    // What encodes pictures is read for those who begin at one.
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&root().join("base"), &model);
    rewrite(&model.join(VAE), |all| {
        all.iter_mut().find(|t| t.name == "encoder.conv_in.bias").unwrap().values[0] = f32::NAN;
    });
    let said = run(folder.path(), 0, &[&SAMPLE[..], &["--out", "made"]].concat());
    assert!(said.contains("1 picture"), "{said}");
    let png = fs::read_dir(folder.path().join("made")).unwrap().next().unwrap().unwrap().path();
    let from = [&SAMPLE[..], &["--init-image", png.to_str().unwrap()]].concat();
    refused(folder.path(), &from, &[VAE, "encoder.conv_in.bias", "NaN at 0"]);
}

#[test]
fn an_index_names_files_beside_it_alone() {
    for file in WEIGHTS {
        for way_out in ["../../secret.safetensors", "/etc/passwd", "..\\x.safetensors", "C:x.safetensors", "x.bin"] {
            let listed = move |model: &Path| {
                fs::write(model.join(index(file)), json!({ "weight_map": { "x": way_out } }).to_string()).unwrap();
            };
            damaged(listed, &[&index(file), way_out, "beside it was expected"]);
        }
        let absent = move |model: &Path| {
            let map = json!({ "weight_map": { "x": "model-00001-of-00002.safetensors" } });
            fs::write(model.join(index(file)), map.to_string()).unwrap();
        };
        damaged(absent, &["cannot read", "model-00001-of-00002.safetensors"]);
        let deep = move |model: &Path| fs::write(model.join(index(file)), "[".repeat(200_000)).unwrap();
        damaged(deep, &[&index(file), "no index of weights", "download it again"]);
    }
}

/// Pickles run code when they are read: they never are, wherever they lie, and the line says how to get rid of them.
#[test]
fn pickles_are_not_read() {
    for (file, pickle) in [
        (UNET, "unet/diffusion_pytorch_model.bin"),
        (VAE, "vae/diffusion_pytorch_model.bin"),
        (ENCODER, "text_encoder/pytorch_model.bin"),
    ] {
        let exchange = move |model: &Path| {
            fs::remove_file(model.join(file)).unwrap();
            fs::write(model.join(pickle), b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.").unwrap();
        };
        damaged(exchange, &[pickle, "pickled weights", "safe_serialization=True"]);
        // Under the name of something better.
        let renamed = move |model: &Path| fs::write(model.join(file), b"PK\x03\x04 what torch.save writes").unwrap();
        damaged(renamed, &[file, "not a complete safetensors file"]);
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["sd-v1-4.ckpt", "model.pth"] {
        fs::write(folder.path().join(name), b"PK\x03\x04").unwrap();
        refused(folder.path(), &["sample", name], &[name, "a pickle", "from_single_file", "save_pretrained"]);
        let more = [&SAMPLE[..], &["--lora", name]].concat();
        copy(&root().join("base"), &folder.path().join("model"));
        refused(folder.path(), &more, &[name, "not a complete safetensors file"]);
    }
}

#[test]
fn parts_of_different_models_are_refused_by_their_numbers() {
    let different = "they are of different models";
    // A text encoder that is whole, and makes other tokens than the U-Net attends to.
    let wider = |model: &Path| {
        set("text_encoder/config.json", "hidden_size", json!(24))(model);
        let width = |side: &mut usize| *side = if *side == 16 { 24 } else { *side };
        rewrite(&model.join(ENCODER), |all| {
            for tensor in all {
                tensor.shape.iter_mut().for_each(width);
                tensor.values.resize(tensor.shape.iter().product(), 0.1);
            }
        });
    };
    damaged(wider, &["model_index.json", "attends to tokens of 16 numbers", "its text encoder makes 24", different]);
    // A tokenizer of a larger vocabulary, and one whose texts end otherwise.
    let larger = |model: &Path| {
        edit(model.join("tokenizer/tokenizer_config.json"), |config| {
            config["added_tokens_decoder"]["700"] = json!({ "content": "<new>", "special": true });
        });
    };
    damaged(larger, &["model_index.json", "the tokenizer has 682 tokens and the text encoder knows 681", different]);
    let ends = set("text_encoder/config.json", "eos_token_id", json!(5));
    damaged(ends, &["model_index.json", "token 5 ends a text, the tokenizer's is 680", different]);
    let latents = set("unet/config.json", "in_channels", json!(5));
    damaged(latents, &["unet/config.json", "takes 5 channels, and the autoencoder's latents have 4"]);
    // Parts in each other's place.
    let exchanged = |model: &Path| {
        fs::remove_dir_all(model.join("vae")).unwrap();
        copy(&model.join("text_encoder"), &model.join("vae"));
    };
    damaged(exchanged, &["model_index.json", "its `vae` is of class CLIPTextModel, which is no autoencoder"]);
    let exchanged = |model: &Path| {
        fs::remove_dir_all(model.join("text_encoder")).unwrap();
        copy(&model.join("vae"), &model.join("text_encoder"));
    };
    damaged(exchanged, &["model_index.json", "its `text_encoder` is of class AutoencoderKL, which reads no words"]);
    for (part, word) in [("vae", "vae"), ("text_encoder", "text_encoder"), ("scheduler", "scheduler_config.json")] {
        damaged(|model| fs::remove_dir_all(model.join(part)).unwrap(), &["cannot read", word]);
    }
    damaged(|model| fs::remove_dir_all(model.join("tokenizer")).unwrap(), &["no tokenizer in", "vocab.json"]);
}

#[test]
fn loras_of_another_model_are_refused_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("base"), &folder.path().join("model"));
    let lora = root().join("../lora/peft.safetensors");
    let at = folder.path().join("ink.safetensors");
    let adapted = [&SAMPLE[..], &["--lora", "ink.safetensors:0.5"]].concat();
    let of_another = ["`ink.safetensors` is a LoRA of another model"];
    fs::copy(&lora, &at).unwrap();
    rewrite(&at, |all| all.iter_mut().for_each(|t| t.name = t.name.replace("down_blocks.0", "down_blocks.7")));
    refused(
        folder.path(),
        &adapted,
        &[&of_another[..], &["there is no `down_blocks.7.", "in its unet", "more"]].concat(),
    );
    // Of the right layers, for another width.
    fs::copy(&lora, &at).unwrap();
    rewrite(&at, |all| {
        let down = all.iter_mut().find(|t| t.name.contains("to_q") && t.name.contains("lora_A")).unwrap();
        down.shape[1] *= 2;
        down.values.resize(down.shape.iter().product(), 0.0);
    });
    refused(folder.path(), &adapted, &[&of_another[..], &["1 of its ", "to_q` is [", "for a weight ["]].concat());
}
