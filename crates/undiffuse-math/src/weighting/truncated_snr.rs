//! SNR that never vanishes.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `max(alpha² / sigma², 1)`: the larger of the errors of eps and x0 [Salimans22, section 4].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TruncatedSnr {}

impl Weighting for TruncatedSnr {
    fn weight(&self, at: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        super::snr(at).max(1.0)
    }
}
