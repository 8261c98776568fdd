//! EDM's distribution of noise levels.

use super::{Timing, normal_quantile};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// `ln(sigma / alpha) ~ N(mean, std²)` [Karras22, Table 1], on any schedule, kept within its range.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lognormal {
    /// Mean of `ln(sigma / alpha)`.
    pub mean: f64,
    /// Standard deviation of `ln(sigma / alpha)`.
    pub std: f64,
}

impl Default for Lognormal {
    fn default() -> Self {
        Self { mean: -1.2, std: 1.2 }
    }
}

impl Timing for Lognormal {
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        let log_sigma = self.mean + self.std * normal_quantile(u);
        super::within(schedule, schedule.time(-2.0 * log_sigma))
    }

    fn check(&self) -> Result<(), String> {
        spread(self.mean, self.std)
    }
}

/// The condition that [`Lognormal`] and [`LogitNormal`](super::LogitNormal) share.
pub(super) fn spread(mean: f64, std: f64) -> Result<(), String> {
    require(mean.is_finite() && std > 0.0 && std.is_finite(), || {
        format!("needs a finite mean and a positive std, has mean = {mean} and std = {std}")
    })
}
