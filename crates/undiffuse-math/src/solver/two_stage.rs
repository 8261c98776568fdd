//! What the solvers with one evaluation inside each step share.

use super::{
    Coordinate,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};

/// Euler steps to a level inside each step, where `D_m` is evaluated, then the whole step with the slope found there.
///
/// With `rho` and `rho_m` the ratios of the coordinates of [`Coordinate`] over the whole step and to the middle and `c` its
/// scale, `x' = x_e + c' (1 - rho) / rho_m · (D_m - D)`, `x_e` being the end of the Euler step. Where
/// the middle lies at one of the ends, or nowhere, the Euler step stands alone.
pub(super) fn midpoint(
    levels: &[NoiseLevel],
    along: Coordinate,
    middle: impl Fn(NoiseLevel, NoiseLevel) -> NoiseLevel,
) -> Plan {
    let mut tape = Tape::default();
    for pair in levels.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let here = tape.evaluate(from);
        let middle = middle(from, to);
        if !inside(from, middle, to) {
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

/// How many evaluations that takes.
pub(super) fn nfe(levels: &[NoiseLevel], middle: impl Fn(NoiseLevel, NoiseLevel) -> NoiseLevel) -> usize {
    let steps = levels.windows(2).map(|pair| (pair[0], pair[1]));
    steps.map(|(from, to)| 1 + usize::from(inside(from, middle(from, to), to))).sum()
}

/// Whether a level lies between the ends of a step.
fn inside(from: NoiseLevel, middle: NoiseLevel, to: NoiseLevel) -> bool {
    to.sigma_edm() < middle.sigma_edm() && middle.sigma_edm() < from.sigma_edm()
}
