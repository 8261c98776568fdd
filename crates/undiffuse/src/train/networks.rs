//! The networks that a run trains: a denoiser and, where one learns with it, the text encoder that it is told words by.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use undiffuse_nn::networks::{Condition, Encoded, Reads, TextEncoder};
use undiffuse_nn::params::{self, Parameter};
use undiffuse_nn::{Network, init};

use crate::condition::{Ask, Conditioner};

/// How the names of the text encoder's parameters begin, wherever they lie beside the denoiser's.
const ENCODER: &str = "text_encoder.";

/// What learns. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The denoiser.
    pub denoiser: Network,
    /// The text encoder; `None` where nothing is told in words, or its encoder stays as it is.
    pub encoder: Option<TextEncoder>,
}

/// A denoiser alone.
impl From<Network> for Networks {
    fn from(denoiser: Network) -> Self {
        Self { denoiser, encoder: None }
    }
}

impl Networks {
    /// The same with values drawn as their layers say.
    pub fn initialized(self, seed: u64) -> Self {
        let Self { denoiser, encoder } = self;
        let encoder = encoder.map(|encoder| init::initialize(encoder, seed));
        Self { denoiser: init::initialize(denoiser, seed), encoder }
    }

    /// The same whose denoiser knows how what it diffuses was standardised: see [`Network::standardised`].
    pub fn standardised(self, mean: &[f32], deviation: &[f32]) -> Self {
        Self { denoiser: self.denoiser.standardised(mean, deviation), ..self }
    }

    /// Without gradients.
    pub fn valid(&self) -> Self {
        Self { denoiser: self.denoiser.valid(), encoder: self.encoder.as_ref().map(Module::valid) }
    }

    /// Calls `f` on every parameter, always in the same order.
    pub fn for_each(&self, mut f: impl FnMut(Parameter)) {
        params::for_each(&self.denoiser, &mut f);
        if let Some(encoder) = &self.encoder {
            params::for_each(encoder, |p| f(Parameter { name: format!("{ENCODER}{}", p.name), ..p }));
        }
    }

    /// Replaces parameters, in the same order: see [`params::map`].
    pub fn map(self, mut f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> Self {
        let denoiser = params::map(self.denoiser, &mut f);
        let encoder =
            self.encoder.map(|encoder| params::map(encoder, |name, value| f(&format!("{ENCODER}{name}"), value)));
        Self { denoiser, encoder }
    }

    /// Takes every trained parameter's gradient, flat, in the same order.
    pub fn take_gradients(&self, gradients: &mut Gradients, mut f: impl FnMut(String, Tensor<1>)) {
        params::take_gradients(&self.denoiser, gradients, &mut f);
        if let Some(encoder) = &self.encoder {
            params::take_gradients(encoder, gradients, |name, gradient| f(format!("{ENCODER}{name}"), gradient));
        }
    }

    /// Numbers in all parameters.
    pub fn parameters(&self) -> usize {
        params::count(&self.denoiser) + self.encoder.as_ref().map_or(0, params::count)
    }

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
