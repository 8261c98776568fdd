//! Denoisers: anything that guesses the clean picture from a noisy one, `D(x_t, level) → x0`.
//!
//! A network becomes a denoiser through its parameterisation ([`Denoiser`]); guidance, clipping,
//! inpainting and observations wrap a denoiser and are denoisers themselves, so that samplers know only this trait.

mod clip;
mod guidance;
mod inpaint;
mod mixture;
mod network;
mod posterior;

pub use clip::{Clipped, Clipping};
pub use guidance::{Distilled, Guidance, Guided, is_guided};
pub use inpaint::Inpaint;
pub use mixture::Mixture;
pub use network::{Denoiser, Heard};
pub use posterior::Posterior;

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::prelude::{NoiseLevel, Row};

pub use crate::condition::{Ask, Canvas, Cond};

/// The noise level of one picture, and the time that a network is to be told for it where a plan
/// knows better than the schedule's inverse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// The noise level.
    pub level: NoiseLevel,
    /// The schedule's time.
    pub time: Option<f64>,
}

impl From<NoiseLevel> for At {
    fn from(level: NoiseLevel) -> Self {
        Self { level, time: None }
    }
}

impl From<&Row> for At {
    fn from(row: &Row) -> Self {
        Self { level: row.level, time: row.time }
    }
}

/// What a denoiser makes of noisy pictures, or latents: of what a model's [codec](crate::codec) makes of pictures.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The clean pictures `x0 [B, C, H, W]`.
    pub x0: Tensor<4>,
    /// From networks that learned it: the variance `v [B, C, H, W]` of the ancestral step from there, in [−1, 1] within
    /// its [`log_range`](undiffuse_math::variance::log_range) \[Nichol21, Eq. 15\].
    pub variance: Option<Tensor<4>>,
}

/// A guess without a variance.
impl From<Tensor<4>> for Guess {
    fn from(x0: Tensor<4>) -> Self {
        Self { x0, variance: None }
    }
}

/// Guesses the clean pictures.
pub trait Denoise {
    /// `x [B, C, H, W]` noisy pictures, `at [B]` their noise levels, `cond [B]` what they should show, or nothing.
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess;

    /// Where the tensors live.
    fn device(&self) -> Device;
}

impl Denoise for Box<dyn Denoise + '_> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        (**self).denoise(x, at, cond)
    }

    fn device(&self) -> Device {
        (**self).device()
    }
}

/// One number per picture, shaped to multiply pictures.
fn per_image(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1, 1, 1]), device)
}
