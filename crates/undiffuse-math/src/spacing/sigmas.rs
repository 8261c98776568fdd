//! Noise levels of one's own.

use super::{Karras, Point, Spacing, falling, named};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// The levels with `sigma / alpha` of `at`, as far as the schedule has them: what diffusers' `set_timesteps(sigmas=…)` takes, without
/// the zero at the end. Networks read the times between timesteps. By default those of [`Karras`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sigmas {
    /// `sigma / alpha`, the noisiest first.
    pub at: Vec<f64>,
}

impl Spacing for Sigmas {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        match self.named() {
            Some(_) => self.at.iter().map(|sigma| Point::of_sigma(schedule, *sigma)).collect(),
            None => Karras::default().points(schedule, steps),
        }
    }

    fn named(&self) -> Option<usize> {
        named(&self.at)
    }

    fn check(&self) -> Result<(), String> {
        falling(&self.at)?;
        require(self.at.iter().all(|sigma| *sigma > 0.0), || {
            "at takes sigmas above 0; the walk ends at its last level without being told".to_owned()
        })
    }
}
