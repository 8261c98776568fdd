//! Times at the noisy end of even intervals.

use super::{Point, Spacing};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// `t_i = round(T - i · T / steps) - 1` [Lin24, section 3.3]: starts at the noisiest timestep. On continuous schedules
/// `t_i` is the noisy end of the `i`-th of `steps` equal intervals.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trailing {}

impl Spacing for Trailing {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let (clean, noisy) = schedule.range();
        let time = |i: usize| match schedule.discrete_steps() {
            Some(timesteps) => {
                let gap = timesteps as f64 / steps as f64;
                (timesteps as f64 - i as f64 * gap).round_ties_even() - 1.0
            }
            None => noisy - i as f64 / steps as f64 * (noisy - clean),
        };
        (0..steps).map(|i| Point::at(schedule, time(i).max(clean))).collect()
    }
}
