//! The noise level: the one number pair that everything else is a function of.

use serde::{Deserialize, Serialize};

/// A point of the forward process `x_t = alpha * x0 + sigma * eps`, with `eps ~ N(0, I)`.
///
/// `alpha` is the share of signal that is left, `sigma` the standard deviation of the noise that was added;
/// both are dimensionless, non-negative and never both zero. Nothing is assumed of their relation, so one
/// type serves variance-preserving (`alpha² + sigma² = 1`), variance-exploding (`alpha = 1`) and
/// rectified-flow (`alpha + sigma = 1`) processes.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NoiseLevel {
    /// Factor on the clean signal `x0`.
    pub alpha: f64,
    /// Standard deviation of the noise.
    pub sigma: f64,
}

impl NoiseLevel {
    /// No noise at all: `x_t = x0`.
    pub const CLEAN: Self = Self { alpha: 1.0, sigma: 0.0 };

    /// Largest `|log_snr|` that spacings and distributions of training times use where a schedule reaches pure noise or pure signal,
    /// whose log-SNR is infinite. A choice of this crate.
    pub const LOG_SNR_LIMIT: f64 = 20.0;

    /// The level with `sigma / alpha = sigma_edm` on the circle `alpha² + sigma² = 1`; infinity means pure noise.
    pub fn variance_preserving(sigma_edm: f64) -> Self {
        // Two reciprocals instead of a quotient, so that 0 and infinity both come out exact.
        Self { alpha: 1.0 / sigma_edm.hypot(1.0), sigma: 1.0 / sigma_edm.recip().hypot(1.0) }
    }

    /// The level with `sigma / alpha = sigma_edm` on the line `alpha + sigma = 1`; infinity means pure noise.
    pub fn rectified_flow(sigma_edm: f64) -> Self {
        let alpha = 1.0 / (1.0 + sigma_edm);
        Self { alpha, sigma: 1.0 - alpha }
    }

    /// Signal-to-noise ratio `alpha² / sigma²` [Kingma21, section 3.1]; infinite where there is no noise.
    pub fn snr(self) -> f64 {
        (self.alpha / self.sigma).powi(2)
    }

    /// `ln(alpha² / sigma²)`, the coordinate in which all schedules are one line [Kingma21, section 3.1].
    pub fn log_snr(self) -> f64 {
        2.0 * (self.alpha / self.sigma).ln()
    }

    /// `log_snr` kept within ±[`NoiseLevel::LOG_SNR_LIMIT`].
    pub fn bounded_log_snr(self) -> f64 {
        self.log_snr().clamp(-Self::LOG_SNR_LIMIT, Self::LOG_SNR_LIMIT)
    }

    /// `sigma / alpha`: the noise level of `x_t / alpha`, which is what EDM and k-diffusion call sigma.
    pub fn sigma_edm(self) -> f64 {
        self.sigma / self.alpha
    }

    /// Standard deviation `sqrt(alpha² + sigma²)` of `x_t` for data of unit variance.
    pub fn scale(self) -> f64 {
        self.alpha.hypot(self.sigma)
    }
}

impl Default for NoiseLevel {
    fn default() -> Self {
        Self::CLEAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_exact() {
        assert_eq!(NoiseLevel::variance_preserving(0.0), NoiseLevel::CLEAN);
        assert_eq!(NoiseLevel::rectified_flow(0.0), NoiseLevel::CLEAN);
        let noise = NoiseLevel { alpha: 0.0, sigma: 1.0 };
        assert_eq!(NoiseLevel::variance_preserving(f64::INFINITY), noise);
        assert_eq!(NoiseLevel::rectified_flow(f64::INFINITY), noise);
    }

    #[test]
    fn log_snr_of_known_levels() {
        let at = NoiseLevel { alpha: 0.6, sigma: 0.8 };
        assert!((at.snr() - 0.5625).abs() < 1e-15);
        assert!((at.log_snr() - 0.5625f64.ln()).abs() < 1e-15);
        assert!((at.sigma_edm() - 4.0 / 3.0).abs() < 1e-15);
        assert!((at.scale() - 1.0).abs() < 1e-15);
        assert_eq!(NoiseLevel::CLEAN.log_snr(), f64::INFINITY);
        assert_eq!(NoiseLevel::CLEAN.bounded_log_snr(), NoiseLevel::LOG_SNR_LIMIT);
    }
}
