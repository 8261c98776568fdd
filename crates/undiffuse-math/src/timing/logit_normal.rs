//! The distribution of times for rectified flow.

use super::{Timing, normal_quantile};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The share of the schedule's range of times is `1 / (1 + exp(-z))` with `z ~ N(mean, std²)` [Esser24, Eq. 19]; whole
/// timesteps where the schedule is a table.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogitNormal {
    /// Mean of the logit.
    pub mean: f64,
    /// Standard deviation of the logit.
    pub std: f64,
}

impl Default for LogitNormal {
    fn default() -> Self {
        Self { mean: 0.0, std: 1.0 }
    }
}

impl Timing for LogitNormal {
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        let share = 1.0 / (1.0 + (-self.mean - self.std * normal_quantile(u)).exp());
        let (low, high) = schedule.range();
        match schedule.discrete_steps() {
            Some(steps) => (share * steps as f64).floor().min(high),
            None => low + share * (high - low),
        }
    }

    fn check(&self) -> Result<(), String> {
        super::lognormal::spread(self.mean, self.std)
    }
}
