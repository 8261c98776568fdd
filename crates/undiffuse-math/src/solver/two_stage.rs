//! What the solvers with one evaluation inside each step share.

use super::terms::{Tape, Terms};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// The line along which a step takes the path of `x` to be smooth.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// `x / alpha` in `s = sigma / alpha`, whose slope is `eps` [Karras22, Eq. 4].
    #[default]
    Sigma,
    /// `x / (alpha + sigma)` in flow time `t = sigma / (alpha + sigma)`, whose slope is the velocity `eps - D`
    /// [Lipman23, Eq. 23]; on a rectified-flow schedule `x` itself in its own time. Finite at pure noise.
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
    fn coordinate(self, level: NoiseLevel) -> f64 {
        level.sigma / self.scale(level)
    }

    /// The ratio of the coordinates of two levels.
    pub(super) fn ratio(self, from: NoiseLevel, to: NoiseLevel) -> f64 {
        let (top, bottom) = (self.scale(from) * to.sigma, self.scale(to) * from.sigma);
        if top == bottom { 1.0 } else { top / bottom }
    }

    /// The level halfway between two.
    pub(super) fn halfway(self, from: NoiseLevel, to: NoiseLevel) -> NoiseLevel {
        let middle = (self.coordinate(from) + self.coordinate(to)) / 2.0;
        match self {
            Along::Sigma => with_sigma_edm(from, to, middle),
            Along::Flow => NoiseLevel { alpha: 1.0 - middle, sigma: middle },
        }
    }
}

/// The level between two with this `sigma / alpha`, at a scale between theirs; a grid moves it onto its schedule.
pub(super) fn with_sigma_edm(from: NoiseLevel, to: NoiseLevel, sigma_edm: f64) -> NoiseLevel {
    let alpha = (from.alpha * to.alpha).sqrt();
    NoiseLevel { alpha, sigma: alpha * sigma_edm }
}

/// Euler steps to a level inside each step, where `D_m` is evaluated, then the whole step with the slope found there.
///
/// With `rho` and `rho_m` the ratios of the coordinates of [`Along`] over the whole step and to the middle and `c` its
/// scale, `x' = x_e + c' (1 - rho) / rho_m · (D_m - D)`, `x_e` being the end of the Euler step. Where there is no
/// middle (`None`) or it lies at one of the ends, the Euler step stands alone.
pub(super) fn midpoint(
    levels: &[NoiseLevel],
    along: Along,
    middle: impl Fn(NoiseLevel, NoiseLevel) -> NoiseLevel,
) -> Plan {
    let mut tape = Tape::default();
    for pair in levels.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let here = tape.evaluate(from);
        let middle = middle(from, to);
        let inside = |s: f64| to.sigma_edm() < s && s < from.sigma_edm();
        if !inside(middle.sigma_edm()) {
            tape.step(to, tape.euler(here, to));
            continue;
        }
        tape.step(middle, tape.euler(here, middle));
        let there = tape.evaluate(middle);
        let weight = along.scale(to) * (1.0 - along.ratio(from, to)) / along.ratio(from, middle);
        let change = Terms::denoised(there) - Terms::denoised(here);
        tape.step(to, tape.euler(here, to) + change * weight);
    }
    tape.plan()
}
