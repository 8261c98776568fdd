//! From a timestep (and a label) to the vector that every residual block listens to.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::{TimeEmbedding, UNet2DConfig};
use crate::init::Init;
use crate::layers::{Embedding, blank};
use crate::networks::embedding::{TimestepEmbedding, sinusoids};

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
    /// Frequencies `w [width]`, drawn with deviation 16 \[Song21\] and never trained.
    pub weight: Param<Tensor<1>>,
}

impl TimeProj {
    /// What `config` asks for; `None` for positional features.
    pub fn new(config: &UNet2DConfig, device: &Device) -> Option<Self> {
        let width = config.block_out_channels[0];
        match config.time_embedding_type {
            TimeEmbedding::Positional => None,
            TimeEmbedding::Fourier => {
                let weight = blank([width], Init::Normal(16.0), device).set_require_grad(false);
                Some(Self::Fourier(Fourier { weight }))
            }
            TimeEmbedding::Learned => {
                let rows = config.num_train_timesteps.unwrap_or(1);
                Some(Self::Learned(Embedding::begun(rows, width, Init::Uniform(1.0), device)))
            }
        }
    }
}

/// Timesteps `[B]` → features `[B, width]` (twice the first stage's width for Fourier features).
pub fn time_features(proj: Option<&TimeProj>, config: &UNet2DConfig, t: &[f32], device: &Device) -> Tensor<2> {
    let width = config.block_out_channels[0];
    match proj {
        None => sinusoids(t, width, config.freq_shift, config.flip_sin_to_cos, device),
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
            let rows: Vec<usize> = t.iter().map(|t| t.clamp(0.0, last) as usize).collect();
            table.forward(&rows)
        }
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
