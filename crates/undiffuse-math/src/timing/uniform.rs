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
        let gap = |half: f64| {
            let (from, to) = ((t - half).max(low), (t + half).min(high));
            let log_snr = |t| schedule.level(t).bounded_log_snr();
            ((log_snr(from) - log_snr(to)).abs(), to - from)
        };
        match schedule.discrete_steps() {
            // A timestep stands for the times that are nearest to it; the first and the last have half as many.
            Some(steps) => gap(0.5).0 * steps as f64,
            None => {
                let (change, width) = gap(1e-4 * (high - low));
                change / width * (high - low)
            }
        }
    }
}
