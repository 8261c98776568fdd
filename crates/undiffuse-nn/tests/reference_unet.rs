//! The network that speed is measured on, against PyTorch in double precision: output and every parameter's gradient on
//! the same weights. Made by `xtask/golden/reference_unet.py`, which says how the weights come about.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_nn::{Condition, NetworkConfig, params, weights};

/// Numbers in [-1, 1).
fn splitmix(stream: u64, n: usize) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mut z = (stream << 32 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn value(name: &str, shape: &[usize], stream: u64) -> Vec<f32> {
    let (factor, offset) = match shape {
        [_] => (0.25, f32::from(u8::from(name.ends_with("weight")))),
        [_, inner @ ..] => ((3.0 / inner.iter().product::<usize>() as f64).sqrt() as f32, 0.0),
        [] => unreachable!("parameters have shapes"),
    };
    splitmix(stream, shape.iter().product()).iter().map(|x| x * factor + offset).collect()
}

fn images(stream: u64, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(splitmix(stream, 2 * 3 * 32 * 32), [2, 3, 32, 32]), device)
}

#[test]
fn output_and_all_gradients_equal_pytorch() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read_to_string(root.join("../../xtask/bench/networks/reference.json")).unwrap();
    let device = Device::flex().autodiff();
    let blank = NetworkConfig::from_json(&config).unwrap().network(&device).unwrap();
    let mut shapes = std::collections::BTreeMap::new();
    params::for_each(&blank, |p| drop(shapes.insert(p.name, p.shape)));
    let streams: Vec<String> = shapes.keys().cloned().collect();
    let model = params::map(blank, |name, old| {
        let stream = streams.binary_search_by(|s| s.as_str().cmp(name)).unwrap() as u64 + 1;
        params::from_host(value(name, &shapes[name], stream), &old.device())
    });
    let golden = weights::read(&root.join("tests/fixtures/reference_unet.safetensors")).unwrap();

    let y = model.forward(images(10_001, &device), &[10.0, 700.0], &Condition::default());
    let got = y.clone().into_data().try_into_vec::<f32>().unwrap();
    let expected = &golden["output"].values;
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = got.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
    println!("output: {error:.1e}");
    assert!(error < 1e-4, "output: {error:e}");

    let mut gradients = (y - images(10_002, &device)).powi_scalar(2).mean().backward();
    let (mut worst, mut seen) = (0f32, 0);
    params::take_gradients(&model, &mut gradients, |name, g| {
        let [largest, norm, stored @ ..] = golden[&format!("grad.{name}")].values.as_slice() else { panic!("{name}") };
        let g = params::to_host(g);
        let of = (g.len() / 32).max(1);
        // A bias before a normalisation has no gradient but rounding.
        let scale = largest.max(1e-6);
        let own_norm = g.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt() as f32;
        let mut error = (own_norm - norm).abs() / norm.max(1e-6);
        for (g, expected) in g.iter().step_by(of).zip(stored) {
            error = error.max((g - expected).abs() / scale);
        }
        assert!(error < 1e-3, "{name}: {error:e}");
        worst = worst.max(error);
        seen += 1;
    });
    println!("{seen} gradients: {worst:.1e}");
    assert_eq!(seen, streams.len());
}
