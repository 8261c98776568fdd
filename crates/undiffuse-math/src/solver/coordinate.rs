//! The coordinates in which a step takes the path of `x` to be smooth.

use super::{
    ancestral::part_way,
    terms::{Tape, Terms},
};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// The coordinate in which a step takes the path of `x` to be smooth.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinate {
    /// `x / alpha` in `s = sigma / alpha`, whose slope is `eps` [Karras22, Eq. 4].
    #[default]
    Sigma,
    /// `x / (alpha + sigma)` in flow time `t = sigma / (alpha + sigma)`, whose slope is the velocity `eps - D`
    /// [Liu23, Eq. 1]; on a rectified-flow schedule `x` itself in its own time. Finite at pure noise.
    Flow,
}

impl Coordinate {
    /// What `x` is divided by.
    pub(super) fn scale(self, level: NoiseLevel) -> f64 {
        match self {
            Coordinate::Sigma => level.alpha,
            Coordinate::Flow => level.alpha + level.sigma,
        }
    }

    /// The coordinate, infinite for pure noise along sigma.
    pub(super) fn at(self, level: NoiseLevel) -> f64 {
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
            Coordinate::Sigma => tape.eps(k),
            Coordinate::Flow => tape.eps(k) - Terms::denoised(k),
        }
    }

    /// The level halfway between two.
    pub(super) fn halfway(self, from: NoiseLevel, to: NoiseLevel) -> NoiseLevel {
        match self {
            Coordinate::Sigma => part_way(from, to, (1.0 + self.ratio(from, to)) / 2.0),
            Coordinate::Flow => {
                let middle = (self.at(from) + self.at(to)) / 2.0;
                NoiseLevel { alpha: 1.0 - middle, sigma: middle }
            }
        }
    }
}
