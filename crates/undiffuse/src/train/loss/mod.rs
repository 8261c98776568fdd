//! Losses: what a network learns from clean pictures, noise and levels.
//!
//! A member says how many channels it needs of the network, what each picture's loss is, and what a network that has learned
//! nothing would score. It makes its own target from the [`Draws`]: `x0`, `eps`, their levels and what was asked.

mod denoising;
mod hybrid;

use std::fmt::Debug;

use burn::tensor::{Tensor, TensorData};
use undiffuse_math::draw::Draw;
use undiffuse_math::kind;
use undiffuse_math::recipe::Learned;

pub use denoising::Denoising;
pub use hybrid::Hybrid;

use super::draws::Draws;
use super::networks::Networks;
use super::noise::NoiseConfig;
use crate::condition::Conditioner;

/// A loss.
pub trait Loss: Debug + Send + Sync {
    /// Channels that the network answers, for pictures of so many.
    fn outputs(&self, channels: usize) -> usize {
        channels
    }

    /// How the variance of ancestral sampling's steps is in what the network answers, where it learns that.
    fn learned_variance(&self) -> Option<Learned> {
        None
    }

    /// What is wrong with learning by it from this noise.
    fn problem(&self, noise: &NoiseConfig) -> Option<String> {
        let _ = noise;
        None
    }

    /// The loss of each picture `[B]`, a mean over its numbers.
    fn losses(&self, context: &Context) -> Tensor<1>;

    /// What needs no learning scores, in closed form.
    fn trivial(&self, noise: &NoiseConfig, moments: &PixelMoments) -> Trivial;

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

kind! {
    /// Every loss by name.
    pub enum LossKind: Loss, "loss" {
        "denoising" => Denoising(Denoising), "the weighted square error of what the network answers [Ho20, Eq. 14]";
        "hybrid" => Hybrid(Hybrid), "the same, and a thousandth of the variational bound, by which it learns the variance of the steps [Nichol21, Eq. 16]";
    }
}

impl Default for LossKind {
    fn default() -> Self {
        Denoising::default().into()
    }
}

/// What a loss is computed from.
pub struct Context<'a> {
    /// The networks that learn.
    pub networks: &'a Networks,
    /// What its pictures can be asked for.
    pub conditioner: &'a Conditioner,
    /// The process.
    pub noise: &'a NoiseConfig,
    /// Pictures and what is random about them.
    pub draws: &'a Draws,
    /// The seed of dropout of the first picture, in training; those of the others count up.
    pub dropout: Option<u64>,
}

impl Context<'_> {
    /// What the network answers on the noisy pictures `[B, outputs, H, W]`.
    pub fn output(&self) -> Tensor<4> {
        let input = self.mixed(|draw| [draw.scaling.input * draw.level.alpha, draw.scaling.input * draw.level.sigma]);
        let c_noise: Vec<f32> = self.draws.each.iter().map(|draw| draw.c_noise as f32).collect();
        let condition = self.networks.condition(self.conditioner, &self.draws.ask.asks);
        let denoiser = &self.networks.denoiser;
        match self.dropout {
            Some(seed) => denoiser.forward_training(input, &c_noise, &condition, seed),
            None => denoiser.forward(input, &c_noise, &condition),
        }
    }

    /// `a x0 + b eps` for each picture's `[a, b]`: `[B, C, H, W]`.
    pub fn mixed(&self, by: impl Fn(&Draw) -> [f64; 2] + Sync) -> Tensor<4> {
        Tensor::from_data(TensorData::new(self.draws.mixed(by), self.draws.shape), &self.networks.denoiser.device())
    }

    /// A number for each picture, `[B, 1, 1, 1]`.
    pub fn each(&self, of: impl Fn(&Draw) -> f64) -> Tensor<4> {
        self.per_picture(self.draws.each.iter().map(of))
    }

    /// One number a picture, in their order, `[B, 1, 1, 1]`.
    pub fn per_picture(&self, values: impl Iterator<Item = f64>) -> Tensor<4> {
        let values: Vec<f32> = values.map(|value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [self.draws.shape[0], 1, 1, 1]), &self.networks.denoiser.device())
    }
}

/// The losses as numbers.
pub(super) fn values(losses: &Tensor<1>) -> Vec<f64> {
    let values = losses.clone().inner().into_data().try_into_vec_as::<f32>().expect("losses are numbers");
    values.into_iter().map(f64::from).collect()
}

/// The mean of each picture's numbers: `[B, C, H, W]` to `[B]`.
fn of_pictures(numbers: Tensor<4>) -> Tensor<1> {
    let [batch, channels, height, width] = numbers.dims();
    numbers.reshape([batch, channels * height * width]).mean_dim(1).reshape([batch])
}

/// Moments of the pictures' numbers, in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct PixelMoments {
    /// Mean of `x0²` over all numbers.
    pub square: f64,
    /// Variance of each number over the pictures, those of about the same together: `(variance, share)`.
    pub variances: Vec<(f64, f64)>,
}

/// Losses that need no learning, with the run's own noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trivial {
    /// The network answers zero. Where every new network of this program starts.
    pub zero: f64,
    /// The best guess of each number from itself alone, knowing the mean picture and each number's variance. A network above it
    /// has learned nothing of how pixels hang together.
    pub pixelwise: f64,
}
