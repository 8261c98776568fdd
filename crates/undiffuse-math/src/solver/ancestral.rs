//! What solvers with ancestral noise or evaluations between two levels share.

use super::{ddim::posterior_std, ratio};
use crate::level::NoiseLevel;

/// A step that goes further down than `to` and comes back up by noise [k-diffusion, `get_ancestral_step`].
pub(super) struct Ancestral {
    /// `s_down / s`, at most [`ratio`]; `s_down² = s'² - s_up²` in `s = sigma / alpha`.
    pub(super) down: f64,
    /// Coefficient of the fresh noise in the new `x`: `alpha' s_up`, `s_up = eta s' sqrt(1 - r²)`.
    pub(super) noise: f64,
}

pub(super) fn ancestral(from: NoiseLevel, to: NoiseLevel, eta: f64) -> Ancestral {
    let r = ratio(from, to);
    let down = r * (1.0 - eta * eta * (1.0 - r * r)).max(0.0).sqrt();
    Ancestral { down, noise: eta * posterior_std(from, to) }
}

/// The level at `sigma / alpha = q · from.sigma_edm()`, between two levels that have signal and noise.
///
/// Solvers do not know the schedule, and need not: a grid moves such levels onto it. This one lies there already
/// wherever `1 / alpha²` is linear in `(sigma / alpha)²`, as it is on variance-preserving and
/// variance-exploding ones.
pub(super) fn part_way(from: NoiseLevel, to: NoiseLevel, q: f64) -> NoiseLevel {
    let (top, end) = (from.sigma_edm(), to.sigma_edm());
    let s = q * top;
    // One of the grid's own levels keeps its time.
    if (s - end).abs() <= 1e-12 * end {
        return to;
    }
    let share = (top * top - s * s) / (top * top - end * end);
    let inverse_square = |level: NoiseLevel| level.alpha.powi(-2);
    let alpha = (inverse_square(from) + share * (inverse_square(to) - inverse_square(from))).powf(-0.5);
    NoiseLevel { alpha, sigma: alpha * s }
}
