//! The unweighted error of the network's own answer.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `1 / out²`, with the `out` of the parameterization: plain mean squared error on the network's target.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Target {}

impl Weighting for Target {
    fn weight(&self, _: NoiseLevel, scaling: &Scaling, _: f64) -> f64 {
        1.0 / scaling.out.powi(2).max((-NoiseLevel::LOG_SNR_LIMIT).exp())
    }
}
