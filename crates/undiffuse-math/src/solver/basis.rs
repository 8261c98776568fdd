//! Integrals of Lagrange's basis polynomials, of which every multistep method is made.
//!
//! A method that knows a function at some nodes replaces it by the polynomial through them and integrates that:
//! `∫ w f ≈ Σ_j W_j f_j`, `W_j = ∫ w l_j`. The moments `∫ w(u) u^k du` are all that it needs to know of the weight.
//! Here `u` runs from 0 at the newest node.

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

/// The newest `count` places at or before `newest` whose levels tell something along a coordinate: an infinite one
/// is too far away, a clean level shows no noise, and one that was visited twice is known already. The newest comes
/// first; none is given if it tells nothing itself.
pub(super) fn history(
    levels: &[NoiseLevel],
    newest: usize,
    count: usize,
    coordinate: impl Fn(NoiseLevel) -> f64,
) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for k in (0..=newest).rev() {
        let u = coordinate(levels[k]);
        // Respaced levels may differ by rounding alone.
        let known = kept.iter().any(|&j| (coordinate(levels[j]) - u).abs() <= 1e-9 * u.abs().min(1.0));
        if u.is_finite() && levels[k].sigma > 0.0 && !known {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Simpson's rule.
    fn integral(f: impl Fn(f64) -> f64, to: f64) -> f64 {
        let n = 4000;
        let at = |i: i32| f(to * f64::from(i) / f64::from(n));
        let weight = |i: i32| if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        (0..=n).map(|i| weight(i) * at(i)).sum::<f64>() * to / f64::from(3 * n)
    }

    #[test]
    fn moments_are_integrals() {
        for h in [1e-9, 1e-3, 0.2, 0.999, 1.0, 2.5, 12.0, -0.4, -3.0] {
            let (data, noise) = (Moments::data(h), Moments::noise(h));
            for k in 0..COUNT {
                let of_data = integral(|v| (v - h).exp() * (v / h).powi(k as i32), h);
                let of_noise = integral(|v| (-v).exp() * (v / noise.unit).powi(k as i32), h);
                let near = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs();
                assert!(near(data.values[k], of_data), "data {h} {k}: {} {of_data}", data.values[k]);
                assert!(near(noise.values[k], of_noise), "noise {h} {k}: {} {of_noise}", noise.values[k]);
            }
        }
        assert_eq!(Moments::noise(f64::INFINITY).values, [1.0, 1.0, 2.0, 6.0]);
    }

    /// Polynomials through as many nodes as they have coefficients are integrated exactly.
    #[test]
    fn weights_integrate_polynomials() {
        let cubic = |u: f64| 1.0 - 2.0 * u + 0.5 * u * u + 3.0 * u * u * u;
        let nodes = [0.0, -0.3, -0.5, -1.1];
        let weights = Moments::data(0.7).weights(&nodes);
        let sum: f64 = weights.iter().zip(nodes).map(|(w, u)| w * cubic(u)).sum();
        assert!((sum - integral(|u| (u - 0.7).exp() * cubic(u), 0.7)).abs() < 1e-10);
    }
}
