//! Times of one's own.

use super::{Point, Spacing, Trailing, falling, named};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The times `at`, in the schedule's unit: what diffusers' `set_timesteps(timesteps=…)` takes, of rectified flow its `sigmas` before
/// they are shifted. By default those of [`Trailing`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timesteps {
    /// The times, the noisiest first.
    pub at: Vec<f64>,
}

impl Spacing for Timesteps {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        match self.named() {
            Some(_) => self.at.iter().map(|time| Point::at(schedule, *time)).collect(),
            None => Trailing {}.points(schedule, steps),
        }
    }

    fn named(&self) -> Option<usize> {
        named(&self.at)
    }

    fn check_on(&self, schedule: &dyn Schedule) -> Result<(), String> {
        let (clean, noisy) = schedule.range();
        match self.at.iter().find(|time| !(clean..=noisy).contains(*time)) {
            Some(time) => Err(format!("{time} is no time of this schedule, which has those from {clean} to {noisy}")),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), String> {
        falling(&self.at)
    }
}
