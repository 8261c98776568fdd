//! Pipelines of words, sampled here from the noise that diffusers was given: the same pictures come out. Made by
//! `xtask/golden/stable_diffusion.py`.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use undiffuse::denoise::Cond;
use undiffuse::model::{Model, Outline, SampleDefaults};
use undiffuse::nn::weights::{self, Named};
use undiffuse::sample::Noise;
use undiffuse::words::Emphasis;

mod folders_of_words;
use folders_of_words::{copy, folder, root};

fn fixtures() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("INDEX.json")).unwrap();
    let index: Value = serde_json::from_str(&text).unwrap();
    index["fixtures"].as_array().unwrap().clone()
}

fn tensor(t: &Named) -> Tensor<4> {
    Tensor::from_data(TensorData::new(t.values.clone(), t.shape.clone()), &Device::flex())
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec_as::<f32>().unwrap()
}

/// Largest difference relative to the largest value.
fn relative_error(got: Tensor<4>, expected: &Named) -> f32 {
    assert_eq!(got.dims().to_vec(), expected.shape);
    let largest = expected.values.iter().fold(0f32, |m, v| m.max(v.abs()));
    values(got).iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// A model with what a call of diffusers' pipeline asks.
fn asked(fixture: &Value) -> Model {
    let place = folder(fixture);
    let mut model = Model::load(place.path(), &Device::flex()).unwrap_or_else(|e| panic!("{}: {e}", fixture["name"]));
    let call = &fixture["call"];
    let number = |name: &str| call[name].as_u64().map(|n| n as usize);
    let own: SampleDefaults = model.sample_defaults();
    let settings = SampleDefaults {
        steps: number("num_inference_steps").unwrap(),
        guidance: call["guidance_scale"].as_f64().unwrap(),
        guidance_rescale: call["guidance_rescale"].as_f64().unwrap_or(0.0),
        clip_skip: number("clip_skip").unwrap_or(0),
        ..own
    };
    if let (Some(height), Some(width)) = (number("height"), number("width")) {
        model.resize(height, width).unwrap();
    }
    model.with(settings)
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn cond(model: &Model, call: &Value) -> Cond {
    let asks = words(&call["prompt"]).into_iter().map(|word| model.conditioner.parse(word).unwrap());
    model.conditioner.away(asks.collect(), &words(&call["negative_prompt"])).unwrap()
}

const SAME: f32 = 1e-4;

#[test]
fn pictures_equal_diffusers() {
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        let name = fixture["name"].as_str().unwrap();
        let model = asked(&fixture);
        let io = weights::read(&root().join(format!("{name}.safetensors"))).unwrap();
        let given = std::iter::once("init_noise".to_owned()).chain((0..).map(|k| format!("noise.{k}")));
        let given: Vec<Tensor<4>> = given.map_while(|name| io.get(&name)).map(tensor).collect();
        let cond = cond(&model, &fixture["call"]);
        let (image, mask) = (io.get("image").map(tensor), io.get("mask").map(tensor));
        let strength = fixture["call"]["strength"].as_f64();
        let plan = strength.map_or_else(|| model.plan(), |strength| model.plan_from(strength)).unwrap();
        model.prepare(&cond, image.is_some()).unwrap();
        let origin = image.map(|image| model.origin(image, mask, strength.unwrap()));
        let origin = origin.unwrap_or_default();
        let (denoiser, cond) = (origin.keeping(model.denoiser(&model.sample_defaults())), origin.told(cond));
        let z = model.sample_at(&origin, &*denoiser, &plan, Noise::Given(given), &cond).finish().unwrap();
        let errors = [relative_error(z.clone(), &io["latents"]), relative_error(model.codec.decode(z), &io["sample"])];
        println!("{name}: {errors:?}");
        if errors.iter().any(|error| *error > SAME) {
            wrong.push(format!("{name}: {errors:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn base() -> Model {
    let model = Model::load(root().join("base"), &Device::flex()).unwrap();
    let settings = SampleDefaults { steps: 3, guidance: 3.0, ..model.sample_defaults() };
    model.with(settings)
}

/// Prompts of one, two and three chunks of tokens, some of which count more, and what they are led away from.
const PROMPTS: [(&str, &str); 4] = [
    ("a red heart", ""),
    (
        "a photograph of an astronaut (riding a horse:1.3), [highly detailed], 4k, trending on artstation",
        "oil on canvas",
    ),
    ("", "three blue circles and a red heart, oil on canvas, soft light, cinematic, portrait of a woman"),
    ("a red heart BREAK three blue circles BREAK oil on canvas", "a horse"),
];

fn asks(model: &Model, prompts: &[(&str, &str)]) -> Cond {
    let asks = prompts.iter().map(|(prompt, _)| model.conditioner.parse(prompt).unwrap());
    let negatives: Vec<&str> = prompts.iter().map(|(_, negative)| *negative).collect();
    model.conditioner.away(asks.collect(), &negatives).unwrap()
}

/// Pictures of these prompts and seeds, in one batch.
fn pictures(model: &Model, prompts: &[(&str, &str)], seeds: Vec<u64>) -> Vec<f32> {
    let (plan, cond) = (model.plan().unwrap(), asks(model, prompts));
    let denoiser = model.denoiser(&model.sample_defaults());
    let z = model.sample(&*denoiser, &plan, Noise::Seeds(seeds), &cond).finish().unwrap();
    values(model.codec.decode(z))
}

/// Prompts of other lengths in the same batch change no bit of a picture, nor does its place.
#[test]
fn a_picture_depends_on_its_own_words_alone() {
    let model = base();
    let together = pictures(&model, &PROMPTS, vec![5, 6, 7, 8]);
    let one = together.len() / PROMPTS.len();
    for (k, prompt) in PROMPTS.iter().enumerate() {
        // Nothing is remembered of the others.
        let alone = pictures(&base(), &[*prompt], vec![5 + k as u64]);
        assert_eq!(alone, together[k * one..(k + 1) * one], "{prompt:?}");
    }
    let mut backwards = PROMPTS;
    backwards.reverse();
    let turned = pictures(&model, &backwards, vec![8, 7, 6, 5]);
    let back: Vec<f32> = turned.chunks(one).rev().flatten().copied().collect();
    assert_eq!(back, together);
    assert_ne!(together[..one], together[one..2 * one]);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| pictures(&base(), &PROMPTS, vec![5, 6, 7, 8])), together, "{threads} threads");
    }
}

/// Each word of a request matters, and so does how it is read.
#[test]
fn words_weights_and_settings_matter() {
    let model = base();
    let of = |model: &Model, prompt: &str, negative: &str| pictures(model, &[(prompt, negative)], vec![3]);
    let plain = of(&model, "a red heart", "");
    for (prompt, negative) in
        [("a blue heart", ""), ("a red heart", "blue"), ("a (red:1.4) heart", ""), ("a [red] heart", "")]
    {
        assert_ne!(of(&model, prompt, negative), plain, "{prompt:?} {negative:?}");
    }
    assert_eq!(of(&model, "a (red:1.0) heart", ""), plain);
    let with = |change: &dyn Fn(&mut SampleDefaults)| {
        let mut settings = model.sample_defaults();
        change(&mut settings);
        model.clone().with(settings)
    };
    let (skipping, unscaled) = (with(&|s| s.clip_skip = 1), with(&|s| s.emphasis = Emphasis::NoNorm));
    assert_ne!(of(&skipping, "a red heart", ""), plain);
    assert_ne!(of(&unscaled, "a (red:1.4) heart", ""), of(&model, "a (red:1.4) heart", ""));
    assert_eq!(of(&unscaled, "a red heart", ""), plain);
    let literal = with(&|s| s.emphasis = Emphasis::None);
    assert_ne!(of(&literal, "a (red) heart", ""), of(&model, "a (red) heart", ""));
    assert_ne!(of(&with(&|s| s.guidance_rescale = 0.7), "a red heart", ""), plain);
    let some = with(&|s| s.guidance_interval = Some([0.3, 5.0]));
    let none = with(&|s| s.guidance_interval = Some([1e3, 1e4]));
    assert!(of(&some, "a red heart", "") != plain && of(&some, "a red heart", "") != of(&none, "a red heart", ""));
    assert_eq!(of(&none, "a red heart", ""), of(&with(&|s| s.guidance = 1.0), "a red heart", ""));
}

/// The encoder's weights may go once all words are read, and come back for new ones.
#[test]
fn a_text_encoder_is_read_when_it_is_needed() {
    let model = base();
    let cond = asks(&model, &PROMPTS[..2]);
    model.prepare(&cond, false).unwrap();
    let before = pictures(&model, &PROMPTS[..2], vec![1, 2]);
    model.conditioner.release();
    assert_eq!(pictures(&model, &PROMPTS[..2], vec![1, 2]), before);
    let new = pictures(&model, &PROMPTS[2..], vec![1, 2]);
    assert_eq!(new, pictures(&base(), &PROMPTS[2..], vec![1, 2]));
    let cut = "a red heart ".repeat(2000);
    let refused = model.conditioner.parse(&cut).unwrap_err().to_string();
    assert!(refused.contains("24000 bytes"), "{refused}");
    let ask = model.conditioner.parse(&"a red heart ".repeat(200)).unwrap();
    let lost = model.conditioner.lost(&ask).unwrap();
    assert!(lost.contains("cut off") && lost.contains("heart"), "{lost}");
    assert_eq!(model.conditioner.lost(&cond.asks[1]), None);
}

/// What is wrong with a folder is told by file, before its network is read.
#[test]
fn damaged_parts_are_refused_by_name() {
    let check = |damage: &dyn Fn(&Path), words: &[&str]| {
        let place = tempfile::tempdir().unwrap();
        copy(&root().join("base"), place.path());
        damage(place.path());
        let problem = Model::load(place.path(), &Device::flex()).map(drop).unwrap_err().to_string();
        assert!(words.iter().all(|word| problem.contains(word)), "{words:?} in {problem}");
        assert!(!problem.contains('\n') && problem.len() < 700, "{problem}");
    };
    let (vae, encoder) = ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors");
    let truncate = |file: &'static str| {
        move |folder: &Path| {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            std::fs::write(folder.join(file), &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    check(&truncate(vae), &[vae, "not a complete safetensors file"]);
    check(&truncate(encoder), &[encoder, "not a complete safetensors file"]);
    check(&truncate("tokenizer/tokenizer.json"), &["tokenizer.json"]);
    check(
        &|folder| {
            let header = r#"{"x":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}"#;
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
            std::fs::write(folder.join(encoder), bytes).unwrap();
        },
        &[encoder, "100000000000 bytes of values, and 0 are there"],
    );
    let exchange = |folder: &Path| assert!(std::fs::copy(folder.join(vae), folder.join(encoder)).is_ok());
    check(&exchange, &[encoder, "does not fit"]);
    check(
        &|folder| {
            let index = r#"{"weight_map": {"x": "../../unet/diffusion_pytorch_model.safetensors"}}"#;
            std::fs::write(folder.join("text_encoder/model.safetensors.index.json"), index).unwrap();
        },
        &["model.safetensors.index.json", "../../unet", "beside it was expected"],
    );
    check(
        &|folder| {
            std::fs::remove_file(folder.join(vae)).unwrap();
            std::fs::write(folder.join("vae/diffusion_pytorch_model.bin"), [0x80, 2]).unwrap();
        },
        &["diffusion_pytorch_model.bin", "pickled", "safe_serialization=True"],
    );
    check(&|folder| std::fs::remove_dir_all(folder.join("tokenizer")).unwrap(), &["no tokenizer in", "tokenizer"]);
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{from} in {text}");
            std::fs::write(folder.join(file), text.replace(from, to)).unwrap();
        }
    };
    let foreign = edit("model_index.json", "\"AutoencoderKL\"", "null");
    check(&foreign, &["model_index.json", "StableDiffusionPipeline has no `vae`"]);
    check(&edit("vae/config.json", "\"AutoencoderKL\"", "\"VQModel\""), &["vae/config.json", "VQModel"]);
    check(
        &|folder| {
            // A word more than the encoder knows.
            let file = folder.join("tokenizer/tokenizer_config.json");
            let mut told: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            told["added_tokens_decoder"]["9000"] = json!({ "content": "<new>", "special": true });
            std::fs::write(&file, told.to_string()).unwrap();
        },
        &["tokens and the text encoder knows", "different models"],
    );
    check(
        &|folder| poison(&folder.join(encoder), "final_layer_norm.weight"),
        &[encoder, "final_layer_norm.weight", "NaN"],
    );
    check(&|folder| poison(&folder.join(vae), "decoder.conv_in.bias"), &[vae, "decoder.conv_in.bias", "NaN"]);
}

/// Makes a number of a tensor none.
fn poison(file: &Path, tensor: &str) {
    let mut all: Vec<Named> = weights::read(file).unwrap().into_values().collect();
    let found = all.iter_mut().find(|t| t.name.ends_with(tensor)).unwrap();
    found.values[0] = f32::NAN;
    std::fs::write(file, weights::to_bytes(&all, Some(("format", "pt")))).unwrap();
}

/// The half of an autoencoder that encodes is read for those who begin at pictures.
#[test]
fn what_encodes_is_read_when_it_is_needed() {
    let place = tempfile::tempdir().unwrap();
    copy(&root().join("base"), place.path());
    poison(&place.path().join("vae/diffusion_pytorch_model.safetensors"), "encoder.conv_in.bias");
    let model = Model::load(place.path(), &Device::flex()).unwrap();
    let cond = asks(&model, &PROMPTS[..1]);
    model.prepare(&cond, false).unwrap();
    let problem = model.prepare(&cond, true).unwrap_err().to_string();
    assert!(problem.contains("encoder.conv_in.bias") && problem.contains("NaN"), "{problem}");
}

/// Half precision, a variant, and weights in several files are read; of parts without the variant, the usual weights.
#[test]
fn weights_of_other_kinds_are_read() {
    let outline = Outline::read(root().join("base"), None).unwrap();
    assert_eq!((outline.latent_shape(), outline.picture_shape), ([4, 8, 8], [3, 16, 16]));
    assert_eq!(outline.sample_defaults().guidance, 7.5);
    let sizes = ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"];
    let stored = sizes.map(|file| {
        let tensors = weights::read(&root().join("base").join(file).with_extension("safetensors")).unwrap();
        tensors.values().map(|t| 4 * t.values.len() as u64).sum::<u64>()
    });
    assert_eq!(outline.bytes().unwrap(), stored.iter().sum::<u64>());
    let place = tempfile::tempdir().unwrap();
    copy(&root().join("base"), place.path());
    let at = |file: &str| place.path().join(file);
    std::fs::rename(
        at("unet/diffusion_pytorch_model.safetensors"),
        at("unet/diffusion_pytorch_model.half.safetensors"),
    )
    .unwrap();
    std::fs::rename(at("text_encoder/model.safetensors"), at("text_encoder/model.half.safetensors")).unwrap();
    assert!(Model::load(place.path(), &Device::flex()).is_err());
    let model = Model::load_variant(place.path(), Some("half"), &Device::flex()).unwrap();
    let settings = base().sample_defaults();
    assert_eq!(pictures(&model.with(settings), &PROMPTS[..1], vec![4]), pictures(&base(), &PROMPTS[..1], vec![4]));
    let files = undiffuse::model::ModelFolder::find(place.path()).unwrap().files(Some("half"));
    for file in
        ["text_encoder/model.half.safetensors", "vae/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"]
    {
        assert!(files.contains(&at(file)), "{file}");
    }
}

/// How many bytes a number has, its name, and the least that can be told of a number's bits from it.
struct Half {
    dtype: &'static str,
    /// Of an f32's bits, those that are kept.
    mask: u32,
    bits: fn(u32) -> u16,
}

/// As IEEE 754 and Google's definition have them; of the former the range of normal numbers alone.
const HALVES: [Half; 2] = [
    Half {
        dtype: "F16",
        mask: 0xffff_e000,
        bits: |bits| ((bits >> 16) & 0x8000) as u16 | (((bits >> 13) & 0x3ffff) - (112 << 10)) as u16,
    },
    Half { dtype: "BF16", mask: 0xffff_0000, bits: |bits| (bits >> 16) as u16 },
];

impl Half {
    /// The nearest number to zero of those that it has beside `value`.
    fn rounded(&self, value: f32) -> f32 {
        match value.abs() < 6.2e-5 {
            true => 0.0,
            false => f32::from_bits(value.to_bits() & self.mask),
        }
    }

    /// The bytes of a file of these numbers.
    fn file(&self, tensors: &[Named]) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for Named { name, shape, values } in tensors {
            let from = data.len();
            let halves = values.iter().map(|v| if *v == 0.0 { 0 } else { (self.bits)(v.to_bits()) });
            data.extend(halves.flat_map(u16::to_le_bytes));
            header.insert(
                name.clone(),
                json!({ "dtype": self.dtype, "shape": shape, "data_offsets": [from, data.len()] }),
            );
        }
        let header = Value::Object(header).to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
    }
}

/// Every part in f16 or bf16, as a variant; the U-Net and the text encoder in two files each. The pictures are those of the same
/// numbers in f32.
#[test]
fn whole_pipelines_of_half_precision_in_parts_are_read() {
    for half in &HALVES {
        let [place, wide] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        copy(&root().join("base"), place.path());
        copy(&root().join("base"), wide.path());
        for (part, stem) in
            [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")]
        {
            let at = |name: String| place.path().join(part).join(name);
            let file = format!("{stem}.safetensors");
            let mut all: Vec<Named> = weights::read(&at(file.clone())).unwrap().into_values().collect();
            all.iter_mut().flat_map(|t| &mut t.values).for_each(|value| *value = half.rounded(*value));
            std::fs::write(wide.path().join(part).join(&file), weights::to_bytes(&all, None)).unwrap();
            std::fs::remove_file(at(file)).unwrap();
            if part == "vae" {
                std::fs::write(at(format!("{stem}.half.safetensors")), half.file(&all)).unwrap();
                continue;
            }
            let mut map = serde_json::Map::new();
            for (k, tensors) in all.chunks(all.len().div_ceil(2)).enumerate() {
                let name = format!("{stem}.half-{:05}-of-00002.safetensors", k + 1);
                std::fs::write(at(name.clone()), half.file(tensors)).unwrap();
                map.extend(tensors.iter().map(|t| (t.name.clone(), name.clone().into())));
            }
            let index = json!({ "metadata": { "total_size": 0 }, "weight_map": map });
            std::fs::write(at(format!("{stem}.safetensors.index.half.json")), index.to_string()).unwrap();
        }
        let refused = Model::load(place.path(), &Device::flex()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("give --variant half") && !refused.contains('\n'), "{refused}");
        let loaded = |folder: &Path, variant| {
            let model = Model::load_variant(folder, variant, &Device::flex()).unwrap();
            model.with(base().sample_defaults())
        };
        let pictures = |model: &Model| pictures(model, &PROMPTS[..2], vec![4, 5]);
        let (halves, floats) = (loaded(place.path(), Some("half")), loaded(wide.path(), None));
        assert_eq!(pictures(&halves), pictures(&floats), "{}", half.dtype);
        assert_ne!(pictures(&halves), pictures(&base()), "{}", half.dtype);
        let parts = ["unet/diffusion_pytorch_model.half-00002-of-00002", "text_encoder/model.half-00001-of-00002"];
        let files = undiffuse::model::ModelFolder::find(place.path()).unwrap().files(Some("half"));
        for part in parts.map(|part| place.path().join(format!("{part}.safetensors"))) {
            assert!(files.contains(&part), "{part:?} decides what the model is");
        }
    }
}

#[test]
fn a_model_in_one_file_says_how_to_make_a_folder() {
    let place = tempfile::tempdir().unwrap();
    for (name, word) in [("old.ckpt", "pickle"), ("new.safetensors", "not read yet")] {
        let file = place.path().join(name);
        std::fs::write(&file, [0x80, 2]).unwrap();
        let problem = Model::load(&file, &Device::flex()).map(drop).unwrap_err().to_string();
        assert!(problem.contains(word) && problem.contains("from_single_file"), "{problem}");
    }
}
