//! Intervals of equal log-SNR.

use super::{Ends, Point, Round, Spacing, along_sigma, exponential::geometric, ramp};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The range of log-SNR in `steps` equal intervals, at the noisy end of each [Lu22, uniform log-SNR]; with
/// [`Last::FirstStep`](super::Last::FirstStep) the final step is as long as the others.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSnr {}

impl Spacing for LogSnr {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let ends = Ends { sigma_min: None, sigma_max: None, round: Round::None };
        along_sigma(schedule, ends, ramp(steps, false), geometric)
    }
}
