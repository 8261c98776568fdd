//! From a timestep to the vector that a network listens to.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::layers::Linear;
use crate::ops::Activation;

/// Sines and cosines of `t / 10000^(i / (half − shift))` \[Ho20; Vaswani17, §3.5\], `[B, width]`, with the cosines first
/// if asked. Rounded where diffusers rounds: the frequency and the angle are single precision.
pub fn sinusoids(t: &[f32], width: usize, shift: f64, cosines_first: bool, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| {
            let exponent = (-(10000f64.ln()) as f32) * i as f32 / (half as f64 - shift) as f32;
            (exponent as f64).exp() as f32
        })
        .collect();
    let mut features = Vec::with_capacity(t.len() * width);
    for &t in t {
        let angles = || frequencies.iter().map(|f| (t * f) as f64);
        let (sines, cosines) = (angles().map(|a| a.sin() as f32), angles().map(|a| a.cos() as f32));
        if cosines_first {
            features.extend(cosines.chain(sines));
        } else {
            features.extend(sines.chain(cosines));
        }
        features.resize(features.len() + width % 2, 0.0);
    }
    Tensor::from_data(TensorData::new(features, [t.len(), width]), device)
}

/// Rows of a table from whole numbers.
pub fn rows(values: &[f32]) -> Vec<usize> {
    values.iter().map(|&v| v as usize).collect()
}

/// Two affine maps with an activation between: features → embedding.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    /// From `c_in` features to `c_out`.
    pub fn new(c_in: usize, c_out: usize, device: &Device) -> Self {
        Self { linear_1: Linear::new(c_in, c_out, device), linear_2: Linear::new(c_out, c_out, device) }
    }

    /// `[B, c_in]` → `[B, c_out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(Activation::Silu.apply(self.linear_1.forward(x)))
    }
}
