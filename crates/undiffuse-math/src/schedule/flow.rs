//! The straight path between picture and noise.

use super::Schedule;
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// `x = (1 - s) x0 + s eps` with `s = shift · t / (1 + (shift - 1) t)`, `t` in [0, 1]
/// [Liu23, Eq. 1; Lipman23, Eq. 20; the shift: Esser24, Eq. 23]. Networks read `1000 s`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// More than 1 spends more of the time at high noise, for large images.
    pub shift: f64,
    /// Cleanest trained time.
    pub t_min: f64,
}

impl Default for Flow {
    fn default() -> Self {
        Self { shift: 1.0, t_min: 1e-3 }
    }
}

impl Flow {
    fn sigma(&self, t: f64) -> f64 {
        self.shift * t / (1.0 + (self.shift - 1.0) * t)
    }
}

impl Schedule for Flow {
    fn level(&self, t: f64) -> NoiseLevel {
        let sigma = self.sigma(t.clamp(0.0, 1.0));
        NoiseLevel { alpha: 1.0 - sigma, sigma }
    }

    fn time(&self, log_snr: f64) -> f64 {
        let sigma = 1.0 / (1.0 + (0.5 * log_snr).exp());
        sigma / (self.shift - (self.shift - 1.0) * sigma)
    }

    fn range(&self) -> (f64, f64) {
        (self.t_min, 1.0)
    }

    fn timestep(&self, t: f64) -> f64 {
        1000.0 * self.sigma(t)
    }

    fn check(&self) -> Result<(), String> {
        require(self.shift > 0.0 && self.shift.is_finite(), || format!("shift must be positive, is {}", self.shift))?;
        require((0.0..1.0).contains(&self.t_min), || format!("t_min must lie in [0, 1), is {}", self.t_min))
    }
}
