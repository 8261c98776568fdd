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
    cond_proj: Option<Linear>,
    linear_2: Linear,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    after: Option<Activation>,
}

impl TimestepEmbedding {
    /// From `c_in` features to `c_out`.
    pub fn new(c_in: usize, c_out: usize, device: &Device) -> Self {
        Self::between([c_in, c_out, c_out], device)
    }

    /// From `c_in` features through `inner` to `c_out`.
    pub fn between([c_in, inner, c_out]: [usize; 3], device: &Device) -> Self {
        Self {
            linear_1: Linear::new(c_in, inner, device),
            cond_proj: None,
            linear_2: Linear::new(inner, c_out, device),
            activation: Activation::Silu,
            after: None,
        }
    }

    /// The same with another activation between the maps than SiLU, and one after them.
    pub fn activated(self, activation: Activation, after: Option<Activation>) -> Self {
        Self { activation, after, ..self }
    }

    /// The same of features that a projected vector of `width` numbers may be added to.
    pub fn conditioned(self, width: usize, c_in: usize, device: &Device) -> Self {
        Self { cond_proj: Some(Linear::new(width, c_in, device).unbiased()), ..self }
    }

    /// `[B, c_in]` → `[B, c_out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_with(x, None)
    }

    /// The same with a vector `[B, width]` for [`conditioned`](Self::conditioned) features.
    pub fn forward_with(&self, x: Tensor<2>, cond: Option<Tensor<2>>) -> Tensor<2> {
        let x = match self.cond_proj.as_ref().zip(cond) {
            Some((linear, cond)) => x + linear.forward(cond),
            None => x,
        };
        let y = self.linear_2.forward(self.activation.apply(self.linear_1.forward(x)));
        self.after.map_or(y.clone(), |after| after.apply(y))
    }
}
