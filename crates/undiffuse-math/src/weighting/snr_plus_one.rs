//! The unweighted error of v.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `alpha² / sigma² + 1` [Salimans22, section 4].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnrPlusOne {}

impl Weighting for SnrPlusOne {
    fn weight(&self, at: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        super::snr(at) + 1.0
    }
}
