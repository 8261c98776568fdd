//! What the tests of features share: the fixtures of xtask/golden/features.py.
#![allow(dead_code)] // each test file uses its own part

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use undiffuse_data::Image;
use undiffuse_features::FeatureNetwork;

/// A file beside the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The golden tensors, read once a call.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open() -> Golden {
        Golden(std::fs::read(fixture("features.safetensors")).unwrap())
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.file().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Shape and numbers.
    pub fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = self.file();
        let view = file.tensor(name).unwrap();
        let values = match view.dtype() {
            safetensors::Dtype::U8 => view.data().iter().map(|&v| f32::from(v)).collect(),
            _ => view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        };
        (view.shape().to_vec(), values)
    }

    pub fn picture(&self, i: usize) -> Image {
        let file = self.file();
        let view = file.tensor(&format!("picture.{i}")).unwrap();
        let [h, w, channels] = view.shape() else { panic!("a picture is [h, w, channels]") };
        Image::new(*w, *h, *channels, view.data().to_vec())
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }
}

/// Numbers in [−1, 1): SplitMix64 of the index, beginning at FNV-1a of the name. As in xtask/golden/features.py.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / (1 << 23) as f64 - 1.0
    })
}

/// The weights that both sides compute.
pub fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let bound = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
    let value = |u: f64| match name {
        _ if shape.len() > 1 => u * bound,
        _ if name.ends_with("running_var") => 1.0 + u / 2.0,
        _ if name.ends_with("weight") => 1.0 + u / 4.0,
        _ => u / 4.0,
    };
    uniform(name, shape.iter().product()).map(|u| value(u) as f32).collect()
}

/// A built-in network on those weights.
pub fn by_formula(tag: &str) -> FeatureNetwork {
    FeatureNetwork::from_fn(&undiffuse_features::built_in(tag).unwrap(), formula).unwrap()
}

/// The largest error, divided by the largest magnitude of the truth.
pub fn error(got: &[f32], truth: &[f32]) -> f32 {
    assert_eq!(got.len(), truth.len());
    let largest = truth.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let worst = got.iter().zip(truth).map(|(g, t)| (g - t).abs());
    worst.fold(0.0, |a, b| if b.is_nan() { f32::INFINITY } else { a.max(b) }) / largest
}
