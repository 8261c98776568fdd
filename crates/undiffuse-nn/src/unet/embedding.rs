//! From a timestep (and a label) to the vector that every residual block listens to.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{TimeEmbedding, UNet2DConfig};
use crate::layers::{Embedding, Linear, blank};
use crate::ops::Activation;

/// The stored part of the timestep features. Positional features store nothing.
#[derive(Module, Debug)]
pub enum TimeProj {
    /// Random frequencies, drawn once.
    Fourier(Fourier),
    /// A learned row per timestep.
    Learned(Embedding),
}

/// Fourier features: sines and cosines of `2π w ln t` \[Song21, §C\].
#[derive(Module, Debug)]
pub struct Fourier {
    /// Frequencies `w [width]`; never trained.
    pub weight: Param<Tensor<1>>,
}

impl TimeProj {
    /// What `config` asks for; `None` for positional features.
    pub fn new(config: &UNet2DConfig, device: &Device) -> Option<Self> {
        let width = config.block_out_channels[0];
        match config.time_embedding_type {
            TimeEmbedding::Positional => None,
            TimeEmbedding::Fourier => {
                Some(Self::Fourier(Fourier { weight: blank([width], 0.0, device).set_require_grad(false) }))
            }
            TimeEmbedding::Learned => {
                Some(Self::Learned(Embedding::new(config.num_train_timesteps.unwrap_or(1), width, device)))
            }
        }
    }
}

/// Timesteps `[B]` → features `[B, width]` (twice the first stage's width for Fourier features).
pub fn time_features(proj: Option<&TimeProj>, config: &UNet2DConfig, t: &[f32], device: &Device) -> Tensor<2> {
    let width = config.block_out_channels[0];
    match proj {
        None => Tensor::from_data(TensorData::new(positional(t, width, config), [t.len(), width]), device),
        Some(TimeProj::Fourier(fourier)) => {
            let log_t: Vec<f32> = t.iter().map(|t| t.ln()).collect();
            let log_t = Tensor::<1>::from_data(TensorData::new(log_t, [t.len()]), device).reshape([t.len(), 1]);
            // The order of the products follows PyTorch's: 2π times a large frequency is where
            // single precision rounds.
            let angle = log_t * fourier.weight.val().detach().reshape([1, width]) * 2.0 * std::f32::consts::PI;
            Tensor::cat(vec![angle.clone().sin(), angle.cos()], 1)
        }
        // A time beyond the table is its end, as it is in schedules.
        Some(TimeProj::Learned(table)) => {
            let last = config.num_train_timesteps.unwrap_or(1) as f32 - 1.0;
            let rows: Vec<f32> = t.iter().map(|t| t.clamp(0.0, last)).collect();
            table.forward(index(&rows, device))
        }
    }
}

/// An index tensor from whole numbers.
pub fn index(values: &[f32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Sines and cosines of `t / 10000^(i / (half − shift))` \[Ho20; Vaswani17, §3.5\], rounded where
/// diffusers rounds: the frequency and the angle are single precision.
fn positional(t: &[f32], width: usize, config: &UNet2DConfig) -> Vec<f32> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| {
            let exponent = (-(10000f64.ln()) as f32) * i as f32 / (half as f64 - config.freq_shift) as f32;
            (exponent as f64).exp() as f32
        })
        .collect();
    let mut features = Vec::with_capacity(t.len() * width);
    for &t in t {
        let angles = || frequencies.iter().map(|f| (t * f) as f64);
        let (sines, cosines) = (angles().map(|a| a.sin() as f32), angles().map(|a| a.cos() as f32));
        if config.flip_sin_to_cos {
            features.extend(cosines.chain(sines));
        } else {
            features.extend(sines.chain(cosines));
        }
        features.resize(features.len() + width % 2, 0.0);
    }
    features
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

/// How a label becomes a vector.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it in a network
pub enum ClassEmbedding {
    /// A learned row per class.
    Table(Embedding),
    /// Embedded like a timestep.
    Timestep(TimestepEmbedding),
}
