//! Times at the clean end of even intervals.

use super::{Point, Spacing};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// `t_i = i · ⌊T / steps⌋ + offset`, from the noisiest down [Song21c, `⌊c i⌋`]. The noisiest timestep is not among
/// them. On continuous schedules `t_i` is the clean end of the `i`-th of `steps` equal intervals.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Leading {
    /// Added to every timestep of a table; diffusers' `steps_offset`.
    pub offset: usize,
    /// Whether the cleanest interval is among them; DPM-Solver divides into one more and leaves it out.
    pub endpoint: bool,
}

impl Default for Leading {
    fn default() -> Self {
        Self { offset: 0, endpoint: true }
    }
}

impl Spacing for Leading {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let skipped = usize::from(!self.endpoint);
        let intervals = steps + skipped;
        let (clean, noisy) = schedule.range();
        let time = |i: usize| match schedule.discrete_steps() {
            Some(timesteps) => ((i * (timesteps / intervals) + self.offset) as f64).min(noisy),
            None => clean + i as f64 / intervals as f64 * (noisy - clean),
        };
        (skipped..intervals).rev().map(|i| Point::at(schedule, time(i))).collect()
    }
}
