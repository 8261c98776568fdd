//! EDM's spacing.

use super::{Ends, Point, Round, Spacing, along_sigma, ramp};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// `sigma_i = (sigma_max^(1/rho) + i / (n - 1) · (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho` in `sigma / alpha`
/// [Karras22, Eq. 5].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
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
    /// The numbers in that table of those that are visited instead, the noisiest being 0: diffusers' `timesteps=[22, 0]` of a
    /// consistency model is `0;22`.
    pub at: Option<Vec<usize>>,
}

impl Default for Karras {
    fn default() -> Self {
        Self { rho: 7.0, sigma_min: None, sigma_max: None, round: Round::None, of: None, at: None }
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
                let table: Vec<f64> = ramp(of, true).collect();
                let first_of_each = || (0..of).step_by((of / steps).max(1)).take(steps).collect();
                let visited = self.at.clone().unwrap_or_else(first_of_each);
                let ends = match visited.first() {
                    Some(0) => self.ends(),
                    // Only what begins a table is at the schedule's own end.
                    _ => Ends { sigma_max: Some(self.ends().resolved(schedule).0), ..self.ends() },
                };
                along_sigma(schedule, ends, visited.into_iter().map(|k| table[k]), curve)
            }
        }
    }

    fn named(&self) -> Option<usize> {
        self.at.as_ref().map(Vec::len)
    }

    fn most(&self) -> Option<usize> {
        self.of
    }

    fn check(&self) -> Result<(), String> {
        require(self.rho > 0.0 && self.rho.is_finite(), || format!("rho must be positive, is {}", self.rho))?;
        require(self.of.is_none_or(|of| (1..=1_000_000).contains(&of)), || {
            "of must lie between 1 and 1000000".to_owned()
        })?;
        let (of, at) = (self.of.unwrap_or(0), self.at.as_deref());
        require(at.is_none_or(|at| !at.is_empty()), || "at names no step".to_owned())?;
        let at = at.unwrap_or_default();
        require(at.iter().all(|k| *k < of), || {
            format!("at takes numbers in a table of {of}, the first being 0, and holds {at:?}; `of` says its size")
        })?;
        require(at.is_sorted_by(|a, b| a < b), || format!("at must rise, from noise to pictures, and holds {at:?}"))?;
        self.ends().check()
    }
}
