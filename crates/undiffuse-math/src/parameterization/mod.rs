//! Parameterizations: how a network becomes a denoiser.
//!
//! Every one has the form `D = skip · x + out · F(input · x, c_noise)` [Karras22, Eq. 7]; they differ in four numbers.
//! The same numbers give what the network is trained to answer: `F* = target_x0 · x0 + target_eps · eps`, and
//! `‖D - x0‖² = out² ‖F - F*‖²` ties the two losses together.

use crate::{level::NoiseLevel, registry::kind};
use std::fmt::Debug;

/// The numbers that turn a network `F` into a denoiser `D` at one noise level.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Scaling {
    /// Factor on `x_t` in the denoised image.
    pub skip: f64,
    /// Factor on the network's output in the denoised image.
    pub out: f64,
    /// Factor on `x_t` before it enters the network.
    pub input: f64,
    /// Factor on `x0` in what the network should answer.
    pub target_x0: f64,
    /// Factor on `eps` in what the network should answer.
    pub target_eps: f64,
    /// What the network reads of the noise beside `x`.
    pub c_noise: NoiseInput,
}

/// What a network reads of the noise: `c_noise` [Karras22, Eq. 7].
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum NoiseInput {
    /// The schedule's [`timestep`](crate::schedule::Schedule::timestep) of the time.
    Timestep,
    /// This number.
    Value(f64),
}

/// A way to read a network's output.
pub trait Parameterization: Debug + Send + Sync {
    /// The scaling at a noise level; finite for every level, pure noise and no noise included.
    fn scaling(&self, at: NoiseLevel) -> Scaling;

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Where a formula divides by alpha or sigma, neither is taken smaller than this: the parameterization carries no
/// information there, and a finite wrong number can be clipped while an infinite one cannot.
pub(crate) const TINY: f64 = 1e-6;

kind! {
    /// Every parameterization by name.
    pub enum ParameterizationKind: Parameterization, "parameterization" {
        "eps" in eps => Eps, "the network answers the noise [Ho20, Eq. 14]";
        "x0" in x0 => X0, "the network answers the clean image";
        "v" in v => V, "the network answers alpha eps - sigma x0 [Salimans22, Appendix D]", also ["sigma_data=0.5"];
        "score" in score => Score, "the network answers the score, -eps / sigma [Song21, Eq. 7]";
        "edm" in edm => Edm, "unit variance in and out at every level [Karras22, Table 1]", also ["sigma_data=2"];
        "consistency" in consistency => Consistency, "edm with D = x at sigma_min, for consistency models [Song23, Appendix C]",
            also ["sigma_data=1,sigma_min=0.01"];
        "flow" in flow => Flow, "the network answers eps - x0, the velocity of rectified flow [Liu23, Eq. 1]";
    }
}
