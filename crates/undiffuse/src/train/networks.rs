//! The networks that a run trains: a denoiser and, where one learns with it, the text encoder that it is told words by; or the
//! two readers of a CLIP.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use undiffuse_nn::networks::{ClipPair, Condition, Encoded, Reads, TextEncoder};
use undiffuse_nn::params::{self, Parameter};
use undiffuse_nn::{Network, init};

use crate::condition::{Ask, Conditioner};

/// How the names of the text encoder's parameters begin, wherever they lie beside the denoiser's.
const ENCODER: &str = "text_encoder.";

/// Networks that learn, as their parameters. A clone shares the weights.
pub trait Learned: Clone {
    /// The same with values drawn as their layers say.
    fn initialized(self, seed: u64) -> Self;

    /// Without gradients.
    fn valid(&self) -> Self;

    /// Calls `f` on every parameter, always in the same order.
    fn for_each(&self, f: impl FnMut(Parameter));

    /// Replaces parameters, in the same order: see [`params::map`].
    fn map(self, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self;

    /// Takes every trained parameter's gradient, flat, in the same order.
    fn take_gradients(&self, gradients: &mut Gradients, f: impl FnMut(String, Tensor<1>));

    /// Numbers in all parameters.
    fn parameters(&self) -> usize;
}

/// A denoiser, and who tells it words.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The denoiser.
    pub denoiser: Network,
    /// The text encoder; `None` where nothing is told in words, or its encoder stays as it is.
    pub encoder: Option<TextEncoder>,
}

impl Networks {
    /// The same whose denoiser knows how what it diffuses was standardised: see [`Network::standardised`].
    pub fn standardised(self, mean: &[f32], deviation: &[f32]) -> Self {
        Self { denoiser: self.denoiser.standardised(mean, deviation), ..self }
    }
}

/// A denoiser alone.
impl From<Network> for Networks {
    fn from(denoiser: Network) -> Self {
        Self { denoiser, encoder: None }
    }
}

impl Learned for Networks {
    fn initialized(self, seed: u64) -> Self {
        let Self { denoiser, encoder } = self;
        let encoder = encoder.map(|encoder| init::initialize(encoder, seed));
        Self { denoiser: init::initialize(denoiser, seed), encoder }
    }

    fn valid(&self) -> Self {
        Self { denoiser: self.denoiser.valid(), encoder: self.encoder.as_ref().map(Module::valid) }
    }

    fn for_each(&self, mut f: impl FnMut(Parameter)) {
        params::for_each(&self.denoiser, &mut f);
        if let Some(encoder) = &self.encoder {
            params::for_each(encoder, |p| f(Parameter { name: format!("{ENCODER}{}", p.name), ..p }));
        }
    }

    fn map(self, mut f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self {
        let denoiser = params::map(self.denoiser, &mut f);
        let encoder =
            self.encoder.map(|encoder| params::map(encoder, |name, value| f(&format!("{ENCODER}{name}"), value)));
        Self { denoiser, encoder }
    }

    fn take_gradients(&self, gradients: &mut Gradients, mut f: impl FnMut(String, Tensor<1>)) {
        params::take_gradients(&self.denoiser, gradients, &mut f);
        if let Some(encoder) = &self.encoder {
            params::take_gradients(encoder, gradients, |name, gradient| f(format!("{ENCODER}{name}"), gradient));
        }
    }

    fn parameters(&self) -> usize {
        params::count(&self.denoiser) + self.encoder.as_ref().map_or(0, params::count)
    }
}

impl Networks {
    /// What the denoiser reads of asks `[B]`: by the text encoder that learns, where there is one.
    ///
    /// # Panics
    /// If the conditioner's encoder is to learn and is not here.
    pub fn condition(&self, conditioner: &Conditioner, asks: &[Ask]) -> Condition {
        match conditioner.tokens(asks) {
            Some(tokens) => {
                let encoder = self.encoder.as_ref().expect("a text encoder that learns is trained with its denoiser");
                let Encoded { hidden, pooled } = encoder.encode(&tokens, 0);
                let vector = matches!(conditioner.reads(), Reads::Vector(_)).then_some(pooled);
                Condition { tokens: Some(hidden), vector, ..Condition::default() }
            }
            None => conditioner.encode(asks, &self.denoiser.device()),
        }
    }
}

impl Learned for ClipPair {
    fn initialized(self, seed: u64) -> Self {
        init::initialize(self, seed)
    }

    fn valid(&self) -> Self {
        Module::valid(self)
    }

    fn for_each(&self, f: impl FnMut(Parameter)) {
        params::for_each(self, f);
    }

    fn map(self, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self {
        params::map(self, f)
    }

    fn take_gradients(&self, gradients: &mut Gradients, f: impl FnMut(String, Tensor<1>)) {
        params::take_gradients(self, gradients, f);
    }

    fn parameters(&self) -> usize {
        params::count(self)
    }
}
