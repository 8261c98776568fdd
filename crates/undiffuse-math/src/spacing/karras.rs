//! EDM's spacing.

use super::{Ends, Point, Round, Spacing, along_sigma, ramp};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// `sigma_i = (sigma_max^(1/rho) + i / (n - 1) · (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho` in `sigma / alpha`
/// [Karras22, Eq. 5].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Karras {
    /// More than 1 spends more steps at low noise; 7 in the paper.
    pub rho: f64,
    /// Cleanest `sigma / alpha`, the schedule's own unless given.
    pub sigma_min: Option<f64>,
    /// Noisiest `sigma / alpha`, the schedule's own unless given.
    pub sigma_max: Option<f64>,
    /// How the timesteps of networks on tables are rounded.
    pub round: Round,
    /// Where given, the sigmas are some of a table of that many, on which a consistency model was distilled: the first of each of `steps`
    /// stretches of `floor(of / steps)` [Song23, in its code].
    pub of: Option<usize>,
}

impl Default for Karras {
    fn default() -> Self {
        Self { rho: 7.0, sigma_min: None, sigma_max: None, round: Round::None, of: None }
    }
}

impl Karras {
    fn ends(&self) -> Ends {
        Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round }
    }
}

impl Spacing for Karras {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let root = 1.0 / self.rho;
        let curve = |share: f64, max: f64, min: f64| {
            let (max, min) = (max.powf(root), min.powf(root));
            (max + share * (min - max)).powf(self.rho)
        };
        match self.of {
            None => along_sigma(schedule, self.ends(), ramp(steps, true), curve),
            Some(of) => {
                along_sigma(schedule, self.ends(), ramp(of, true).step_by((of / steps).max(1)).take(steps), curve)
            }
        }
    }

    fn most(&self) -> Option<usize> {
        self.of
    }

    fn check(&self) -> Result<(), String> {
        require(self.rho > 0.0 && self.rho.is_finite(), || format!("rho must be positive, is {}", self.rho))?;
        require(self.of.is_none_or(|of| (1..=1_000_000).contains(&of)), || {
            "of must lie between 1 and 1000000".to_owned()
        })?;
        self.ends().check()
    }
}
