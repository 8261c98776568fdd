//! The spacing of latent consistency models.

use super::{Point, Spacing};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// Some of the times that a model was distilled at, which are the noisy ends of `of` even intervals: the first of each of
/// `steps` stretches of them [Luo23, in its code]. On tables `t_i = k (n - floor(i n / steps)) - 1`, with `k = floor(T / of)`
/// and `n = floor(strength of)`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lcm {
    /// How many times there are to choose from; diffusers' `original_inference_steps`.
    pub of: usize,
    /// The share of them, from the clean end, that is walked; less than 1 for walks that begin at a picture.
    pub strength: f64,
}

impl Default for Lcm {
    fn default() -> Self {
        Self { of: 50, strength: 1.0 }
    }
}

impl Spacing for Lcm {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let (clean, noisy) = schedule.range();
        let of = schedule.discrete_steps().map_or(self.of, |timesteps| timesteps.min(self.of));
        let walked = ((self.strength * of as f64) as usize).max(1);
        // As numpy lays them out, so that they are floored alike.
        let gap = walked as f64 / steps as f64;
        let time = |i: usize| {
            let left = walked - (i as f64 * gap).floor() as usize;
            match schedule.discrete_steps() {
                Some(timesteps) => (left * (timesteps / of)) as f64 - 1.0,
                None => clean + left as f64 / of as f64 * (noisy - clean),
            }
        };
        (0..steps).map(|i| Point::at(schedule, time(i))).collect()
    }

    fn most(&self) -> Option<usize> {
        Some((self.strength * self.of as f64) as usize)
    }

    fn check(&self) -> Result<(), String> {
        let (of, strength) = (self.of, self.strength);
        require((1..=1_000_000).contains(&of), || format!("of must lie between 1 and 1000000, is {of}"))?;
        require(strength <= 1.0 && strength * of as f64 >= 1.0, || {
            format!("strength must lie between 1 / of = {} and 1, is {strength}", 1.0 / of as f64)
        })
    }
}
