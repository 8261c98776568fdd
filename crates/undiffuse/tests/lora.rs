//! Pictures of a model with LoRAs: those of diffusers and peft, for every style of keys. Made by `xtask/golden/lora.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use undiffuse::denoise::Cond;
use undiffuse::model::{Adapter, Model, SampleDefaults};
use undiffuse::nn::weights::{self, Named};
use undiffuse::sample::Noise;

mod folders_of_words;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lora")
}

fn index() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("INDEX.json")).unwrap()).unwrap()
}

fn adapters(files: &Value) -> Vec<Adapter> {
    let adapter = |(file, scale): (&String, &Value)| Adapter {
        path: root().join(format!("{file}.safetensors")),
        scale: scale.as_f64().unwrap(),
    };
    files.as_object().unwrap().iter().map(adapter).collect()
}

/// The base with adapters, asked as the fixtures were.
fn model(index: &Value, adapters: &[Adapter]) -> Model {
    let place = folders_of_words::folder(&index["base"]);
    let model = Model::load_adapted(place.path(), None, adapters, &Device::flex()).unwrap_or_else(|e| panic!("{e}"));
    let settings = SampleDefaults { steps: 4, guidance: 5.0, ..model.sample_defaults() };
    model.with(settings)
}

fn cond(model: &Model, index: &Value) -> Cond {
    let prompts = index["prompts"].as_array().unwrap();
    let asks = prompts.iter().map(|prompt| model.conditioner.parse(prompt.as_str().unwrap()).unwrap());
    model.conditioner.away(asks.collect(), &[""; 0]).unwrap()
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec_as::<f32>().unwrap()
}

/// Largest difference relative to the largest value.
fn relative_error(got: &[f32], expected: &Named) -> f32 {
    assert_eq!(got.len(), expected.values.len());
    let largest = expected.values.iter().fold(0f32, |m, v| m.max(v.abs()));
    got.iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn sample(model: &Model, index: &Value, noise: Noise) -> [Vec<f32>; 2] {
    let (plan, cond) = (model.plan().unwrap(), cond(model, index));
    let denoiser = model.denoiser(&model.sample_defaults());
    let z = model.sample(&*denoiser, &plan, noise, &cond).finish().unwrap();
    [values(z.clone()), values(model.codec.decode(z))]
}

fn given(io: &Named) -> Noise {
    Noise::Given(vec![Tensor::from_data(TensorData::new(io.values.clone(), io.shape.clone()), &Device::flex())])
}

#[test]
fn pictures_equal_those_of_diffusers_and_peft() {
    let (index, mut wrong) = (index(), Vec::new());
    let fixtures = index["fixtures"].as_array().unwrap();
    for fixture in fixtures {
        let name = fixture["name"].as_str().unwrap();
        let model = model(&index, &adapters(&fixture["files"]));
        let io = weights::read(&root().join(format!("{name}.expected.safetensors"))).unwrap();
        let [latents, pixels] = sample(&model, &index, given(&io["init_noise"]));
        let errors = [relative_error(&latents, &io["latents"]), relative_error(&pixels, &io["sample"])];
        println!("{name}: {errors:?}");
        if errors.iter().any(|error| *error > 1e-3) {
            wrong.push(format!("{name}: {errors:?}"));
        }
    }
    assert!(wrong.is_empty() && fixtures.len() >= 9, "{wrong:#?}");
}

/// As without adapters: no bit of a picture depends on batch or threads; and one that is added no times is not there.
#[test]
fn bits_are_those_of_a_picture_alone() {
    let index = index();
    let files = adapters(&index["fixtures"].as_array().unwrap().last().unwrap()["files"]);
    assert!(files.len() > 1);
    let of = |adapters: &[Adapter]| sample(&model(&index, adapters), &index, Noise::Seeds(vec![3, 4]));
    let together = of(&files);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| of(&files)), together, "{threads} threads");
    }
    let none: Vec<Adapter> = files.iter().map(|adapter| Adapter { scale: 0.0, ..adapter.clone() }).collect();
    assert_eq!(of(&none), of(&[]));
    assert_ne!(of(&files), of(&[]));
}

#[test]
fn a_lora_of_another_model_is_refused() {
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipelines/ddim");
    let lora = |file: PathBuf| [Adapter { path: file, scale: 1.0 }];
    let refused =
        |file: PathBuf| Model::load_adapted(&pixels, None, &lora(file), &Device::flex()).map(drop).unwrap_err();
    let told = refused(root().join("kohya.safetensors")).to_string();
    for words in ["kohya.safetensors", "another model", "of its 91 layers don't fit", "text_encoder", "more"] {
        assert!(told.contains(words) && !told.contains('\n'), "`{words}` in {told}");
    }
    assert!(refused(root().join("none.safetensors")).to_string().contains("none.safetensors"));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("x.safetensors");
    let whole = std::fs::read(root().join("peft.safetensors")).unwrap();
    for bytes in [&whole[..whole.len() / 2], &[0x80, 2, b'}'], b"PK\x03\x04 torch.save", b""] {
        std::fs::write(&file, bytes).unwrap();
        let told = refused(file.clone()).to_string();
        assert!(told.contains("not a complete safetensors file") && told.contains("x.safetensors"), "{told}");
    }
    // Values are read with the network that they are for.
    let mut all: Vec<Named> = weights::read(&root().join("peft.safetensors")).unwrap().into_values().collect();
    all.last_mut().unwrap().values[0] = f32::NAN;
    std::fs::write(&file, weights::to_bytes(&all, None)).unwrap();
    let place = folders_of_words::folder(&index()["base"]);
    let told = Model::load_adapted(place.path(), None, &lora(file), &Device::flex()).map(drop).unwrap_err().to_string();
    assert!(told.contains("NaN") && told.contains("x.safetensors"), "{told}");
}
