//! Multistep formulas in half log-SNR, linear part exact.

use super::{
    basis::{Moments, lambda},
    ratio,
    terms::{Tape, Terms},
};
use crate::level::NoiseLevel;
use serde::{Deserialize, Serialize};

/// What a solver takes to be smooth in log-SNR.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Predict {
    /// Denoised images.
    #[default]
    X0,
    /// The noise in them.
    Eps,
}

impl Predict {
    /// That of row `k`.
    pub(super) fn image(self, tape: &Tape, k: usize) -> Terms {
        match self {
            Predict::X0 => Terms::denoised(k),
            Predict::Eps => tape.eps(k),
        }
    }
}

/// What the polynomial through the rows `nodes` adds to the first-order step from `levels[i]` to the next level.
///
/// The step is `x' = (sigma' / sigma) x + alpha' ∫_0^h exp(-(h - u)) D du` for denoised images [Lu22b, Eq. 8] and
/// `x' = (alpha' / alpha) x - (alpha' sigma / alpha) ∫_0^h exp(-u) eps du` for noise [Lu22, Eq. 3.4]. Nothing is added
/// where `h` is infinite and the integral wants it finite.
pub(super) fn exponential(tape: &Tape, levels: &[NoiseLevel], i: usize, nodes: &[usize], predict: Predict) -> Terms {
    let (from, to) = (levels[i], levels[i + 1]);
    let h = lambda(to) - lambda(from);
    let (moments, scale) = match predict {
        _ if h == 0.0 || lambda(from).is_infinite() => return Terms::default(),
        Predict::X0 if h.is_infinite() => return Terms::default(),
        Predict::X0 => (Moments::data(h), to.alpha),
        Predict::Eps => (Moments::noise(h), -to.alpha * from.sigma_edm()),
    };
    let distances: Vec<_> = nodes.iter().map(|&j| lambda(levels[j]) - lambda(from)).collect();
    nodes.iter().zip(moments.weights(&distances)).fold(Terms::default(), |sum, (&j, weight)| {
        // The first-order step has given the newest all of it.
        let weight = if j == i { weight - (1.0 - ratio(from, to)) } else { weight };
        sum + predict.image(tape, j) * (scale * weight)
    })
}
