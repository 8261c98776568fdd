//! The probability-flow ODE in a coordinate that is regular at every level.
//!
//! `z = x / sqrt(alpha² + sigma²)` has unit variance for data of unit variance, whatever the schedule. With the angle `phi =
//! atan(sigma / alpha)` the flow of \[Karras22, Eq. 4\] is `dz/dphi = (cos phi z - D) / sin phi`, and along `u = ln tan(phi / 2)` it is
//! `dz/du = cos phi z - D`: smooth down to the least noise, where `u` is about `ln(sigma / 2 alpha)`, and up to pure noise, `u =
//! 0`. The density changes by `dln p/du = -(dims cos phi - div D)` \[Chen18, Theorem 1\].

use undiffuse_math::prelude::{NoiseLevel, Plan, Schedule};

use super::Meaningless;

/// Between which levels the ODE runs, and what it ends in.
pub struct Ends {
    pub clean: NoiseLevel,
    pub noisy: NoiseLevel,
    /// Standard deviation of the prior on `x_T`.
    pub start: f64,
}

impl Ends {
    /// The ends of a plan.
    ///
    /// # Errors
    /// No rows, or no noise at the clean end, to which the way is infinite.
    pub fn new(plan: &Plan) -> Result<Self, Meaningless> {
        let (Some(first), Some(last)) = (plan.rows.first(), plan.rows.last()) else {
            return Err(Meaningless::TooShort(0));
        };
        if last.level.sigma == 0.0 {
            return Err(Meaningless::NoNoise);
        }
        Ok(Self { clean: last.level, noisy: first.level, start: plan.init_noise_sigma })
    }

    /// The ends of a schedule: what a sampler goes between whatever its steps.
    ///
    /// # Errors
    /// No noise at the clean end.
    pub fn of_schedule(schedule: &dyn Schedule) -> Result<Self, Meaningless> {
        let (clean, noisy) = schedule.range();
        let (clean, noisy) = (schedule.level(clean), schedule.level(noisy));
        if clean.sigma == 0.0 { Err(Meaningless::NoNoise) } else { Ok(Self { clean, noisy, start: noisy.scale() }) }
    }

    /// The ends in `u`, from clean to noisy.
    pub fn span(&self) -> (f64, f64) {
        (coordinate(self.clean), coordinate(self.noisy))
    }
}

/// `u = ln tan(phi / 2)` of a level.
fn coordinate(level: NoiseLevel) -> f64 {
    (level.sigma / (level.scale() + level.alpha)).ln()
}

/// The level at `u`, on the scale that the schedule has at its log-SNR.
pub fn level(u: f64, level_at: &dyn Fn(f64) -> NoiseLevel) -> NoiseLevel {
    let (cos, sin) = ((-u).tanh(), u.cosh().recip());
    let scale = level_at(2.0 * (cos / sin).ln()).scale();
    NoiseLevel { alpha: scale * cos, sigma: scale * sin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_back() {
        for (alpha, sigma) in [(1.0, 0.01), (0.6, 0.8), (1.0, 50.0), (0.0, 1.0), (0.006, 1.0)] {
            let at = NoiseLevel { alpha, sigma };
            let back = level(coordinate(at), &|_| at);
            assert!((back.alpha - alpha).abs() < 1e-12 && (back.sigma - sigma).abs() < 1e-12, "{at:?} {back:?}");
        }
    }
}
