//! SNR with a ceiling.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling, registry::require};
use serde::{Deserialize, Serialize};

/// `min(alpha² / sigma², gamma)`: no level may dominate [Hang23, Min-SNR].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinSnr {
    /// The ceiling; 5 in the paper.
    pub gamma: f64,
}

impl Default for MinSnr {
    fn default() -> Self {
        Self { gamma: 5.0 }
    }
}

impl Weighting for MinSnr {
    fn weight(&self, at: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        at.snr().min(self.gamma)
    }

    fn check(&self) -> Result<(), String> {
        require(self.gamma > 0.0, || format!("gamma must be positive, is {}", self.gamma))
    }
}
