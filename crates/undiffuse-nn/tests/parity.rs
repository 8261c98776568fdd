//! Every class of denoiser against diffusers: outputs in double precision and gradients, for tiny networks that cover every
//! option between them. Made by `xtask/golden/unet.py` and its like, a folder of fixtures a class.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_nn::networks::ConfigError;
use undiffuse_nn::ops::Tree;
use undiffuse_nn::weights::{self, Named};
use undiffuse_nn::{Condition, Network, NetworkConfig, params};

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folders = |root: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect()
    };
    let mut all: Vec<PathBuf> =
        folders(&root).iter().flat_map(|class| folders(class)).filter(|p| is_denoiser(p)).collect();
    all.sort();
    assert!(all.len() > 10, "the fixtures are in {}", root.display());
    all
}

/// By its class, whether its config is read or not.
fn is_denoiser(folder: &Path) -> bool {
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["_class_name"].as_str().is_none_or(|class| NetworkConfig::CLASSES.contains(&class))
        && config["architectures"].is_null()
}

fn tensor4(t: &Named, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(t.values.clone(), t.shape.clone()), device)
}

/// Largest difference relative to the largest value.
fn relative_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = got.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    error / largest.max(1e-12)
}

struct Case {
    name: String,
    model: Network,
    io: BTreeMap<String, Named>,
}

/// Loads a fixture, or says that its blocks are refused by name.
fn case(dir: &Path, device: &Device) -> Option<Case> {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let config = match NetworkConfig::from_json(&std::fs::read_to_string(dir.join("config.json")).unwrap()) {
        Ok(config) => config,
        Err(e @ ConfigError::Field { .. }) if e.to_string().contains("Skip") => {
            println!("{name}: refused: {e}");
            return None;
        }
        Err(e) => panic!("{name}: {e}"),
    };
    let blank = config.network(device).unwrap();
    let model = weights::load(blank, &dir.join("diffusion_pytorch_model.safetensors"))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    Some(Case { name, model, io: weights::read(&dir.join("io.safetensors")).unwrap() })
}

/// What a network reads besides pictures and times, of those `pictures`.
fn condition(io: &BTreeMap<String, Named>, pictures: Range<usize>, device: &Device) -> Condition {
    fn tensor<const D: usize>(
        io: &BTreeMap<String, Named>,
        name: &str,
        pictures: &Range<usize>,
        device: &Device,
    ) -> Option<Tensor<D>> {
        let t = io.get(name)?;
        let whole = Tensor::<D>::from_data(TensorData::new(t.values.clone(), t.shape.clone()), device);
        Some(whole.narrow(0, pictures.start, pictures.len()))
    }
    let labels = io.get("class_labels");
    Condition {
        labels: labels.filter(|t| t.shape.len() == 1).map(|t| t.values[pictures.clone()].to_vec()),
        vector: labels.filter(|t| t.shape.len() == 2).and_then(|_| tensor(io, "class_labels", &pictures, device)),
        tokens: tensor(io, "encoder_hidden_states", &pictures, device),
        mask: tensor(io, "encoder_attention_mask", &pictures, device),
        timestep_cond: tensor(io, "timestep_cond", &pictures, device),
        ..Condition::default()
    }
}

/// A network's answer to the pictures `pictures` of a fixture.
fn answer(case: &Case, pictures: Range<usize>) -> Vec<f32> {
    let device = Device::flex();
    let condition = condition(&case.io, pictures.clone(), &device);
    let x = tensor4(&case.io["sample"], &device).narrow(0, pictures.start, pictures.len());
    let y = case.model.forward(x, &case.io["timestep"].values[pictures], &condition);
    y.into_data().try_into_vec::<f32>().unwrap()
}

/// What is made of tokens before an evaluation is what would be made of them in it.
#[test]
fn keys_and_values_are_made_once() {
    let device = Device::flex();
    let mut ran = 0;
    for dir in fixtures() {
        let Some(case) = case(&dir, &device) else { continue };
        let (times, x) = (&case.io["timestep"].values, tensor4(&case.io["sample"], &device));
        let condition = condition(&case.io, 0..x.dims()[0], &device);
        let answer = |condition: &Condition| case.model.forward(x.clone(), times, condition).into_data();
        let attended = case.model.attend(condition.clone());
        assert_eq!(answer(&attended), answer(&condition), "{}", case.name);
        let Some(tokens) = condition.tokens.clone().filter(|_| attended.attended.is_some()) else { continue };
        let others = Condition { tokens: Some(tokens * 0.5), ..attended };
        assert_eq!(answer(&others), answer(&condition), "{}: they are not used", case.name);
        ran += 1;
    }
    assert!(ran > 5);
}

/// A picture's answer depends on the picture alone.
#[test]
fn batch_and_threads_change_no_bit() {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for dir in fixtures() {
        let Some(case) = case(&dir, &Device::flex()) else { continue };
        let batch = case.io["sample"].shape[0];
        let whole = answer(&case, 0..batch);
        let of_picture = whole.len() / batch;
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for pictures in [0..1, 1..batch, batch - 1..batch] {
                let part = pool.install(|| answer(&case, pictures.clone()));
                let expected = &whole[pictures.start * of_picture..pictures.end * of_picture];
                assert!(bits(&part) == bits(expected), "{}: {pictures:?} on {threads} threads", case.name);
            }
        }
    }
}

#[test]
fn outputs_equal_diffusers() {
    let device = Device::flex();
    let mut ran = 0;
    for dir in fixtures() {
        let Some(Case { name, model, io }) = case(&dir, &device) else { continue };
        let x = tensor4(&io["sample"], &device);
        let condition = condition(&io, 0..x.dims()[0], &device);
        model.config().check_input(x.dims(), io["timestep"].values.len(), &condition).unwrap();
        let y = model.forward(x, &io["timestep"].values, &condition);
        assert_eq!(y.dims().to_vec(), io["output"].shape, "{name}");
        let error = relative_error(&y.into_data().try_into_vec::<f32>().unwrap(), &io["output"].values);
        println!("{name}: {error:.2e}");
        assert!(error < 1e-4, "{name}: {error}");
        let meant = model.post_process(tensor4(&io["output"], &device));
        assert_eq!(meant.is_some(), io.contains_key("image_embeds"), "{name}");
        if let Some(meant) = meant {
            let error = relative_error(&meant.into_data().try_into_vec::<f32>().unwrap(), &io["image_embeds"].values);
            assert!(error < 1e-6, "{name}: {error}");
        }
        ran += 1;
    }
    assert!(ran > 10);
}

#[test]
fn gradients_equal_pytorch() {
    let device = Device::flex().autodiff();
    let mut ran = 0;
    for dir in fixtures() {
        let Some(Case { name, model, io }) = case(&dir, &device) else { continue };
        let Some(target) = io.get("target") else { continue };
        let x = tensor4(&io["sample"], &device).require_grad();
        let condition = condition(&io, 0..x.dims()[0], &device);
        let y = model.forward(x.clone(), &io["timestep"].values, &condition);
        let error = y - tensor4(target, &device);
        let mut gradients = error.powi_scalar(2).mean().backward();
        let dx = x.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap();
        let mut worst = relative_error(&dx, &io["grad.sample"].values);
        params::take_gradients(&model, &mut gradients, |parameter, g| {
            let expected = &io[&format!("grad.{parameter}")];
            // A bias before a normalisation has no gradient but rounding.
            let largest = expected.values.iter().fold(0f32, |m, v| m.max(v.abs()));
            let got = params::to_host(g);
            let error = if largest < 1e-6 {
                got.iter().fold(0f32, |m, v| m.max(v.abs()))
            } else {
                relative_error(&got, &expected.values)
            };
            assert!(error < 1e-3, "{name}: {parameter}: {error}");
            worst = worst.max(error);
        });
        println!("{name}: {worst:.2e}");
        assert!(worst < 1e-3, "{name}: {worst}");
        ran += 1;
    }
    assert!(ran >= 3);
}

/// Pictures `from..to` of a long batch that is made from the few of a fixture, under a loss that is a sum over pictures:
/// every parameter's gradient.
fn gradients_of(case: &Case, from: usize, to: usize) -> Vec<(String, Vec<f32>)> {
    let device = Device::flex().autodiff();
    let (io, count) = (&case.io, to - from);
    let repeated = |name: &str| {
        let t = &io[name];
        let of_picture = t.values.len() / t.shape[0];
        let picture = |i: usize| t.values[i % t.shape[0] * of_picture..][..of_picture].iter();
        let values: Vec<f32> = (from..to).flat_map(picture).copied().collect();
        Named { name: name.into(), shape: [&[count], &t.shape[1..]].concat(), values }
    };
    let mut x = repeated("sample");
    let of_picture = x.values.len() / count;
    x.values.iter_mut().enumerate().for_each(|(i, x)| *x *= 1.0 + (from + i / of_picture) as f32 * 0.07);
    let names = ["class_labels", "encoder_hidden_states", "encoder_attention_mask", "timestep_cond"];
    let told = names.into_iter().filter(|name| io.contains_key(*name));
    let told = told.map(|name| (name.to_owned(), repeated(name))).collect();
    let condition = condition(&told, 0..count, &device);
    let y = case.model.forward(tensor4(&x, &device), &repeated("timestep").values, &condition);
    let mut gradients = (y.clone() * y).sum().backward();
    let mut all = Vec::new();
    params::take_gradients(&case.model, &mut gradients, |name, g| all.push((name, params::to_host(g))));
    all
}

/// Whoever computes a subtree of a batch alone has the bits that the whole batch's sums met.
#[test]
fn gradients_of_subtrees_add_up_to_those_of_the_batch() {
    let device = Device::flex().autodiff();
    for dir in fixtures() {
        let Some(case) = case(&dir, &device) else { continue };
        let whole = gradients_of(&case, 0, 32);
        for part in [16, 8] {
            let mut tree = Tree::default();
            let add = |a: &mut Vec<(String, Vec<f32>)>, b: Vec<(String, Vec<f32>)>| {
                for ((_, a), (_, b)) in a.iter_mut().zip(b) {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                }
            };
            for from in (0..32).step_by(part) {
                tree.push(gradients_of(&case, from, from + part), add);
            }
            for ((name, sum), (_, whole)) in tree.total(add).unwrap().iter().zip(&whole) {
                let same = sum.iter().zip(whole).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {name} by parts of {part}", case.name);
            }
        }
    }
}

/// What a network takes is counted from its config alone, before any of it is there.
#[test]
fn the_price_of_a_network_is_its_parameters() {
    for dir in fixtures() {
        let Some(Case { name, model, .. }) = case(&dir, &Device::flex()) else { continue };
        let mut built = 0;
        params::for_each(&model, |p| built += p.shape.iter().product::<usize>() as u64);
        assert_eq!(model.config().parameters().unwrap(), built, "{name}");
    }
}
