//! The preconditioning of consistency models.

use super::{Edm, NoiseInput, Parameterization, Scaling};
use crate::{level::NoiseLevel, registry::require};
use serde::{Deserialize, Serialize};

/// [`Edm`] with its clean end at `sigma_min` instead of 0, where `D = x` whatever the network answers [Song23, Appendix C].
///
/// With `s = sigma / alpha` and acting on `x / alpha`: `c_skip = sigma_data² / ((s - sigma_min)² + sigma_data²)`, `c_out =
/// sigma_data (s - sigma_min) / sqrt(s² + sigma_data²)`, `c_in = 1 / sqrt(s² + sigma_data²)`. Networks read `250 ln s`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// Standard deviation of the data; 0.5 for images in [-1, 1].
    pub sigma_data: f64,
    /// The cleanest trained `sigma / alpha`, epsilon in the paper.
    pub sigma_min: f64,
}

impl Default for Consistency {
    fn default() -> Self {
        Self { sigma_data: 0.5, sigma_min: 0.002 }
    }
}

impl Parameterization for Consistency {
    fn scaling(&self, at: NoiseLevel) -> Scaling {
        let data = at.alpha * self.sigma_data;
        // Nothing that a network answers makes another D at the clean end: a gap that is not quite 0 keeps its target finite.
        let gap = match at.sigma - at.alpha * self.sigma_min {
            gap if gap.abs() < 1e-12 => 1e-12,
            gap => gap,
        };
        let (n, boundary) = (at.sigma.hypot(data), gap.hypot(data));
        Scaling {
            skip: data / boundary * (self.sigma_data / boundary),
            out: gap * self.sigma_data / n,
            input: 1.0 / n,
            target_x0: gap / boundary * (n / boundary) / self.sigma_data,
            target_eps: -data / boundary * (at.sigma / boundary) * (n / gap),
            c_noise: NoiseInput::Value(-125.0 * at.bounded_log_snr()),
        }
    }

    fn check(&self) -> Result<(), String> {
        Edm { sigma_data: self.sigma_data }.check()?;
        require(self.sigma_min >= 0.0 && self.sigma_min.is_finite(), || {
            format!("sigma_min must be at least 0, is {}", self.sigma_min)
        })
    }
}
