//! Intervals of equal time.

use super::{Linspace, Point, Spacing};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The range of times in `steps` equal intervals, at the noisy end of each, not rounded [Lu22, uniform time].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeUniform {}

impl Spacing for TimeUniform {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        Linspace { round: false, endpoint: false }.points(schedule, steps)
    }
}
