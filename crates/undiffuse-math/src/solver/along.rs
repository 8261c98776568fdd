//! The lines along which a step takes the path of `x` to be smooth.

use super::{
    ancestral::part_way,
    terms::{Tape, Terms},
};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// The line along which a step takes the path of `x` to be smooth.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// `x / alpha` in `s = sigma / alpha`, whose slope is `eps` [Karras22, Eq. 4].
    #[default]
    Sigma,
    /// `x / (alpha + sigma)` in flow time `t = sigma / (alpha + sigma)`, whose slope is the velocity `eps - D`
    /// [Liu23, Eq. 1]; on a rectified-flow schedule `x` itself in its own time. Finite at pure noise.
    Flow,
}

impl Along {
    /// What `x` is divided by.
    pub(super) fn scale(self, level: NoiseLevel) -> f64 {
        match self {
            Along::Sigma => level.alpha,
            Along::Flow => level.alpha + level.sigma,
        }
    }

    /// The coordinate, infinite for pure noise along sigma.
    pub(super) fn coordinate(self, level: NoiseLevel) -> f64 {
        level.sigma / self.scale(level)
    }

    /// The ratio of the coordinates of two levels.
    pub(super) fn ratio(self, from: NoiseLevel, to: NoiseLevel) -> f64 {
        let (top, bottom) = (self.scale(from) * to.sigma, self.scale(to) * from.sigma);
        if top == bottom { 1.0 } else { top / bottom }
    }

    /// The slope that row `k` sees.
    pub(super) fn slope(self, tape: &Tape, k: usize) -> Terms {
        match self {
            Along::Sigma => tape.eps(k),
            Along::Flow => tape.eps(k) - Terms::denoised(k),
        }
    }

    /// The level halfway between two.
    pub(super) fn halfway(self, from: NoiseLevel, to: NoiseLevel) -> NoiseLevel {
        match self {
            Along::Sigma => part_way(from, to, (1.0 + self.ratio(from, to)) / 2.0),
            Along::Flow => {
                let middle = (self.coordinate(from) + self.coordinate(to)) / 2.0;
                NoiseLevel { alpha: 1.0 - middle, sigma: middle }
            }
        }
    }
}
