//! What is measured, and how.

use serde::Serialize;
use undiffuse_math::prelude::SpacingKind;

use crate::likelihood::Dequantize;
use crate::likelihood::flow::Trace;

/// Which of the two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Both, and their difference.
    #[default]
    Both,
    /// The variational bound.
    Bound,
    /// The ODE's likelihood.
    Ode,
}

/// Variance of the chain's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variance {
    /// The posterior's, DDPM's fixed_small.
    #[default]
    Posterior,
    /// The forward process's, DDPM's fixed_large.
    Forward,
    /// Analytic-DPM's, from the model's errors on other pictures of the data.
    Optimal,
    /// The network's own, for models that were trained with it.
    Learned,
}

/// What is measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LikelihoodSettings {
    /// Which of the two numbers.
    pub which: Which,
    /// Pictures, drawn by `seed`; all when there are fewer.
    pub images: usize,
    /// Seed of the choice of pictures and of all noise.
    pub seed: u64,
    /// Steps of the chain; the schedule's timesteps, or 1000, when not given.
    pub steps: Option<usize>,
    /// Which levels the chain visits; every timestep, or equal intervals of log-SNR, when not given.
    pub spacing: Option<SpacingKind>,
    /// Steps evaluated for each picture; 0 is all of them.
    pub evaluations: usize,
    /// Variance of the chain's steps.
    pub variance: Variance,
    /// What stands for a pixel value in the ODE.
    pub dequantize: Dequantize,
    /// How the ODE's divergence is found.
    pub trace: Trace,
    /// Error that the ODE's integrator allows in a step, relative and absolute.
    pub tolerance: f64,
    /// Pictures computed at a time; results do not depend on it beyond rounding.
    pub batch: usize,
}

impl Default for LikelihoodSettings {
    fn default() -> Self {
        Self {
            which: Which::Both,
            images: 128,
            seed: 0,
            steps: None,
            spacing: None,
            evaluations: 50,
            variance: Variance::Posterior,
            dequantize: Dequantize::Gaussian,
            trace: Trace::Rademacher(1),
            tolerance: 1e-4,
            batch: 64,
        }
    }
}

impl LikelihoodSettings {
    /// Whether a bound is computed: for itself, or for the rounding that the ODE shares with it.
    pub(super) fn needs_bound(&self) -> bool {
        self.which != Which::Ode || self.dequantize == Dequantize::Gaussian
    }
}
