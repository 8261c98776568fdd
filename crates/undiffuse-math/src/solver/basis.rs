//! Integrals of Lagrange's basis polynomials, of which every multistep method is made.
//!
//! A method that knows a function at some nodes replaces it by the polynomial through them and integrates that:
//! `∫ w f ≈ Σ_j W_j f_j`, `W_j = ∫ w l_j`. The moments `∫ w(u) u^k du` are all that it needs to know of the weight.
//! Here `u` runs from 0 at the newest node; [`data`] and [`noise`] measure it in steps of log-SNR, as [Zhao23] and
//! [Zhang23] do.

use crate::level::NoiseLevel;

/// The moments of a weight in units of a length.
pub(super) struct Moments {
    /// The length that `u = 1` means.
    pub unit: f64,
    /// `∫ w(u) u^k du`, `k = 0..COUNT`.
    pub values: [f64; COUNT],
}

/// As many moments as the longest formula has nodes.
const COUNT: usize = 4;

impl Moments {
    /// `∫_0^1 u^k du`: every point counts the same.
    pub fn uniform(unit: f64) -> Self {
        Self { unit, values: [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0] }
    }

    /// `∫_0^h exp(-(h - v)) (v / h)^k dv`, the weight of denoised images in a step of `h` in half log-SNR; `h` finite.
    pub fn data(h: f64) -> Self {
        let mut values = [-(-h).exp_m1(); COUNT];
        for k in 1..COUNT {
            values[k] = if h.abs() < 1.0 {
                // The recursion would divide a difference of near equals by a small h.
                series(h / (k + 1) as f64, |n| -h / (n + k + 1) as f64)
            } else {
                1.0 - k as f64 / h * values[k - 1]
            };
        }
        Self { unit: h, values }
    }

    /// `∫_0^h exp(-v) (v / unit)^k dv`, the weight of `eps`; `h` may be infinite.
    pub fn noise(h: f64) -> Self {
        if h.abs() < 1.0 {
            let value = |k| series(h / (k + 1) as f64, |n| -h / n as f64 * (n + k) as f64 / (n + k + 1) as f64);
            return Self { unit: h, values: std::array::from_fn(value) };
        }
        let decay = (-h).exp();
        let mut values = [-(-h).exp_m1(); COUNT];
        for k in 1..COUNT {
            // An infinite h brings its powers to nothing.
            let edge = if decay == 0.0 { 0.0 } else { decay * h.powi(k as i32) };
            values[k] = k as f64 * values[k - 1] - edge;
        }
        Self { unit: 1.0, values }
    }

    /// `W_j` for nodes at these distances from the newest.
    pub fn weights(&self, nodes: &[f64]) -> Vec<f64> {
        let nodes: Vec<f64> = nodes.iter().map(|node| node / self.unit).collect();
        let weight = |j: usize| {
            let mut polynomial = vec![1.0];
            for (k, node) in nodes.iter().enumerate().filter(|(k, _)| *k != j) {
                let gap = nodes[j] - nodes[k];
                let mut next = vec![0.0; polynomial.len() + 1];
                for (power, c) in polynomial.iter().enumerate() {
                    next[power + 1] += c / gap;
                    next[power] -= c * node / gap;
                }
                polynomial = next;
            }
            polynomial.iter().zip(&self.values).map(|(c, moment)| c * moment).sum()
        };
        (0..nodes.len()).map(weight).collect()
    }
}

/// A sum of twenty terms, more than enough for an argument below 1, by the ratio of each to the one before.
fn series(first: f64, ratio: impl Fn(usize) -> f64) -> f64 {
    let mut term = first;
    (1..20).fold(first, |sum, n| {
        term *= ratio(n);
        sum + term
    })
}

/// Half the log-SNR, whose gain over a step is `h = -ln r`.
pub(super) fn lambda(level: NoiseLevel) -> f64 {
    level.log_snr() / 2.0
}

/// The newest `count` places at or before `newest` whose levels tell something: pure noise lies infinitely far away,
/// and a level that was visited twice is known already. The newest comes first; none is given if it is pure noise
/// itself.
pub(super) fn history(levels: &[NoiseLevel], newest: usize, count: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for k in (0..=newest).rev() {
        let known = kept.iter().any(|&j| lambda(levels[j]) == lambda(levels[k]));
        if lambda(levels[k]).is_finite() && !known {
            kept.push(k);
        } else if k == newest {
            break;
        }
        if kept.len() == count {
            break;
        }
    }
    kept
}
