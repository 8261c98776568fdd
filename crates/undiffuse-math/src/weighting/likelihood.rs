//! The variational bound.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `|d log_snr / du| / 2 · alpha² / sigma²`: the mean over `u` is the diffusion term of the negative log-likelihood bound in
/// nats, whatever times are drawn [Kingma21, continuous-time loss].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Likelihood {}

impl Weighting for Likelihood {
    fn weight(&self, at: NoiseLevel, _: &Scaling, rate: f64) -> f64 {
        0.5 * rate * super::snr(at)
    }
}
