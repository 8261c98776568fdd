//! Autoencoders against diffusers in double precision, for tiny networks that cover every option between them. Made by
//! `xtask/golden/autoencoders.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_nn::networks::autoencoder::Code;
use undiffuse_nn::networks::{Autoencoder, AutoencoderConfig, InputError};
use undiffuse_nn::weights::{self, Named};
use undiffuse_nn::{init, params};

struct Case {
    name: String,
    network: Autoencoder,
    io: BTreeMap<String, Named>,
}

impl Case {
    fn tensor(&self, name: &str) -> Tensor<4> {
        let Named { shape, values, .. } = &self.io[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &Device::flex())
    }

    #[track_caller]
    fn check(&self, name: &str, got: Tensor<4>) {
        let expected = &self.io[name];
        assert_eq!(got.dims().to_vec(), expected.shape, "{}: {name}", self.name);
        let largest = expected.values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let got = numbers(got);
        let error = got.iter().zip(&expected.values).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        println!("{}: {name} {error:.1e}", self.name);
        assert!(error < 1e-4, "{}: {name}: {error}", self.name);
    }
}

fn numbers(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autoencoder")
}

fn config(folder: &Path) -> AutoencoderConfig {
    AutoencoderConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap()
}

fn cases() -> Vec<Case> {
    let folders = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let case = |folder: PathBuf| {
        let blank = config(&folder).network(&Device::flex()).unwrap();
        let network = weights::load(blank, &folder.join("diffusion_pytorch_model.safetensors")).unwrap();
        let io = weights::read(&folder.join("io.safetensors")).unwrap();
        Case { name: folder.file_name().unwrap().to_string_lossy().into_owned(), network, io }
    };
    let cases: Vec<Case> = folders.map(case).collect();
    let classes: Vec<&str> = cases.iter().map(|case| case.network.config().class()).collect();
    assert!(AutoencoderConfig::CLASSES.iter().all(|class| classes.contains(class)), "each class has a fixture");
    cases
}

#[test]
fn outputs_equal_diffusers() {
    for case in cases() {
        let (x, z) = (case.tensor("sample"), case.tensor("latents"));
        let config = case.network.config();
        config.check_picture(x.dims()).unwrap();
        config.check_latents(z.dims()).unwrap();
        let code = if config.io().code == Code::Moments { "moments" } else { "encoded" };
        case.check(code, case.network.encode(x));
        case.check("decoded", case.network.decode(z));
    }
}

#[test]
fn tiles_equal_those_of_diffusers() {
    let mut ran = 0;
    for case in cases().into_iter().filter(|case| case.io.contains_key("tiled.sample")) {
        let side = case.network.config().io().sample_size;
        case.check("tiled.moments", case.network.encode_tiled(case.tensor("tiled.sample"), side));
        case.check("tiled.decoded", case.network.decode_tiled(case.tensor("tiled.latents"), side));
        ran += 1;
    }
    assert_eq!(ran, 2);
}

/// A tile that holds all of a picture is the picture.
#[test]
fn what_fits_into_a_tile_is_not_cut() {
    for case in cases() {
        let z = case.tensor("latents");
        let same = numbers(case.network.decode(z.clone())) == numbers(case.network.decode_tiled(z, 64));
        assert!(same, "{}", case.name);
    }
}

#[test]
fn batch_and_threads_change_no_bit() {
    let bits = |values: Vec<f32>| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for case in cases() {
        let both = |first: usize, batch: usize| {
            let part = |name| case.tensor(name).narrow(0, first, batch);
            [numbers(case.network.encode(part("sample"))), numbers(case.network.decode(part("latents")))]
        };
        let whole = both(0, 3);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (first, batch) in [(0, 1), (1, 2), (2, 1)] {
                for (part, whole) in pool.install(|| both(first, batch)).into_iter().zip(&whole) {
                    let one = whole.len() / 3;
                    let expected = whole[first * one..(first + batch) * one].to_vec();
                    assert!(bits(part) == bits(expected), "{}: {batch} from {first}, {threads} threads", case.name);
                }
            }
        }
    }
}

/// The gradient of a decoded picture by its latents: what guidance by pictures needs.
#[test]
fn gradients_flow_back_to_latents() {
    let config = config(&root().join("plain"));
    let network = init::initialize(config.network(&Device::flex().autodiff()).unwrap(), 3);
    let z = Tensor::<4>::full([1, 2, 4, 4], 0.3, &Device::flex().autodiff()).require_grad();
    let loss = |z: Tensor<4>| network.decode(z).powi_scalar(2).sum();
    let gradient = numbers(z.grad(&loss(z.clone()).backward()).unwrap());
    let mut along = vec![0.0; gradient.len()];
    let (h, at) = (1e-2, 5);
    along[at] = h;
    let step = Tensor::from_data(TensorData::new(along, [1, 2, 4, 4]), &z.device());
    let value = |z: Tensor<4>| params::to_host(loss(z).inner())[0];
    let difference = (value(z.clone().detach() + step.clone()) - value(z.detach() - step)) / (2.0 * h);
    assert!((difference - gradient[at]).abs() < 0.02 * difference.abs().max(0.1), "{difference} {}", gradient[at]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = config(&root().join("plain"));
    assert!(matches!(config.check_picture([1, 1, 8, 8]), Err(InputError::Channels { got: 1, expected: 3 })));
    assert!(matches!(config.check_picture([1, 3, 8, 7]), Err(InputError::Size { stride: 2, .. })));
    assert!(matches!(config.check_latents([1, 3, 4, 4]), Err(InputError::Channels { got: 3, expected: 2 })));
    assert!(config.check_latents([1, 2, 5, 3]).is_ok());
    let text = std::fs::read_to_string(root().join("plain/config.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (field, value, words) in [
        (
            "down_block_types",
            serde_json::json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
            "AttnDownEncoderBlock2D",
        ),
        ("block_out_channels", serde_json::json!([4, 7]), "norm_num_groups"),
        ("block_out_channels", serde_json::json!([4]), "block_out_channels"),
        ("latents_mean", serde_json::json!([0.1, 0.2]), "latents_mean"),
        ("scaling_factor", serde_json::json!(0.0), "scaling_factor"),
        ("latent_channels", serde_json::json!(1u64 << 40), "latent_channels"),
        ("depth", serde_json::json!(3), "depth"),
    ] {
        let mut changed = whole.clone();
        changed[field] = value;
        let refused = AutoencoderConfig::from_json(&changed.to_string()).unwrap_err().to_string();
        assert!(refused.contains(words), "{field}: {refused}");
    }
}
