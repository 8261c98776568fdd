//! Even times over the whole range.

use super::{Point, Spacing};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Times evenly spaced from the noisiest down to the cleanest.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Linspace {
    /// Whether tables are asked at whole timesteps (DDPM, DDIM, DPM-Solver) or between them (Euler, Heun).
    pub round: bool,
    /// Whether the cleanest time is the last point; DPM-Solver leaves it out and steps to it.
    pub endpoint: bool,
}

impl Default for Linspace {
    fn default() -> Self {
        Self { round: true, endpoint: true }
    }
}

impl Spacing for Linspace {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let (clean, noisy) = schedule.range();
        let whole = self.round && schedule.discrete_steps().is_some();
        let gaps = if self.endpoint { steps.saturating_sub(1).max(1) } else { steps };
        let gap = (noisy - clean) / gaps as f64;
        // Counted from the clean end, as numpy does it, so that halves round the same way.
        (0..steps)
            .map(|i| if i == 0 { noisy } else { clean + (gaps - i) as f64 * gap })
            .map(|t| Point::at(schedule, if whole { t.round_ties_even() } else { t }))
            .collect()
    }
}
