//! Keeping the guess of the clean picture where pictures can be.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::recipe::Clip;

use super::{At, Cond, Denoise, Guess};
use crate::codec::AnyCodec;

/// A rule for pictures, applied to what is diffused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clipping {
    /// The rule.
    pub rule: Clip,
    /// Between pictures and what is diffused.
    pub codec: AnyCodec,
}

impl Clipping {
    /// A guess `[B, C, H, W]` whose pictures keep the rule.
    pub fn apply(&self, guess: Tensor<4>) -> Tensor<4> {
        match self.rule {
            Clip::None => guess,
            rule => self.codec.edit(guess, &|x| clip(x, rule)),
        }
    }
}

/// A denoiser whose guess is clipped to the range of pictures, or thresholded per picture.
pub struct Clipped<D> {
    /// The denoiser.
    pub inner: D,
    /// What its guesses keep to.
    pub clipping: Clipping,
}

impl<D: Denoise> Denoise for Clipped<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let Guess { x0, variance } = self.inner.denoise(x, at, cond);
        Guess { x0: self.clipping.apply(x0), variance }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

/// Applies a rule to pictures `[B, C, H, W]`.
fn clip(x: Tensor<4>, rule: Clip) -> Tensor<4> {
    match rule {
        Clip::None => x,
        Clip::Range(limit) => x.clamp(-limit, limit),
        Clip::Threshold { ratio, max } => dynamic_threshold(x, ratio, max),
    }
}

/// Dynamic thresholding \[Saharia22, §2.3\]: each picture is clipped at the `ratio` quantile of its
/// absolute values, kept within [1, max], and divided by it.
fn dynamic_threshold(x: Tensor<4>, ratio: f64, max: f64) -> Tensor<4> {
    let (dims, device) = (x.dims(), x.device());
    let per_image = dims[1..].iter().product::<usize>();
    let mut values = x.into_data().try_into_vec_as::<f32>().expect("pictures are float tensors");
    for image in values.chunks_mut(per_image.max(1)) {
        let mut magnitudes: Vec<f32> = image.iter().map(|v| v.abs()).collect();
        magnitudes.sort_by(f32::total_cmp);
        let at = ratio * (magnitudes.len() - 1) as f64;
        let (low, high) = (magnitudes[at.floor() as usize], magnitudes[at.ceil() as usize]);
        // As torch.clamp: where `max` is below 1 it wins; what is no number stays none.
        let limit = (low + (high - low) * at.fract() as f32).max(1.0).min(max as f32);
        image.iter_mut().for_each(|v| *v = v.clamp(-limit, limit) / limit);
    }
    Tensor::from_data(TensorData::new(values, dims), &device)
}
