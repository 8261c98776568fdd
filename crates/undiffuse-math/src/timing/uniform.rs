//! Every time alike.

use super::Timing;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Uniform over the schedule's range of times, over its whole timesteps where it is a table [Ho20, Algorithm 1].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uniform {}

impl Timing for Uniform {
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        let (low, high) = schedule.range();
        match schedule.discrete_steps() {
            Some(steps) => (u * steps as f64).floor().min(high),
            None => low + u * (high - low),
        }
    }

    fn rate(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        let t = self.time(schedule, u);
        let (low, high) = schedule.range();
        // A step of a table stands for the interval around it; elsewhere a ten-thousandth of the range does.
        let (half, times) = match schedule.discrete_steps() {
            Some(steps) => (0.5, steps as f64),
            None => (1e-4 * (high - low), high - low),
        };
        let (from, to) = ((t - half).max(low), (t + half).min(high));
        let log_snr = |t| schedule.level(t).bounded_log_snr();
        (log_snr(from) - log_snr(to)).abs() / (to - from) * times
    }
}
