//! Binomial diffusion: bits that are slowly replaced by coin tosses [Sohl15, section 2.1 and Table App.1].
//!
//! At step `t` a bit is kept with probability `1 - beta_t` and tossed again otherwise:
//! `q(x^t = 1 | x^(t-1)) = x^(t-1) (1 - beta_t) + beta_t / 2`. What is left of the first bit after `t` steps is the
//! *survival* `a_t = Π_(s ≤ t) (1 - beta_s)`, the binomial twin of a noise level's `alpha`.
//!
//! Everything is said in *flips*, the probability that two bits differ: it is small when a bit is nearly certain, and
//! small numbers keep the digits that numbers near 1 lose.
//!
//! ```
//! use undiffuse_math::binomial::Binomial;
//! let chain = Binomial::linear(2000);
//! assert!((chain.survival(500) - 0.75).abs() < 1e-12);
//! // A bit that is not the first one any more, one step after the first: it flipped now or then, as likely.
//! assert!((chain.reverse_flip(2, false) - 0.5).abs() < 1e-3);
//! ```

use std::f64::consts::LN_2;

/// `H(p)` of a bit that is 1 with probability `p`, in bits; 0 at both ends.
pub fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(p) + term(1.0 - p)
}

/// `KL(q ‖ p)` between bits that are 1 with these probabilities, in bits; infinite where `p` rules out what `q` does
/// not.
pub fn kl(q: f64, p: f64) -> f64 {
    // With u = (p - q) / q a term is -q ln(1 + u) = -q (ln(1 + u) - u) - (p - q). The last parts of the two outcomes
    // cancel, and near u = 0 the series of what is left has no difference of nearly equal numbers; what it leaves out
    // after u⁹ is below 10⁻¹⁶ of the first term.
    let term = |q: f64, p: f64| {
        let u = (p - q) / q;
        if q == 0.0 {
            p
        } else if u.abs() > 0.01 {
            q * (u - (p / q).ln())
        } else {
            q * u * u * (2..10).rev().fold(0.0, |sum, n| 1.0 / f64::from(n) - u * sum)
        }
    };
    (term(q, p) + term(1.0 - q, 1.0 - p)) / LN_2
}

/// The forward process: a rate `beta_t` in (0, 1] for each step `t = 1 ..= T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binomial {
    rates: Vec<f64>,
    survivals: Vec<f64>,
}

impl Binomial {
    /// The process with the given rates, the first one for step 1.
    ///
    /// # Panics
    /// If there is no rate, or one outside (0, 1].
    pub fn new(rates: Vec<f64>) -> Self {
        assert!(!rates.is_empty() && rates.iter().all(|&b| b > 0.0 && b <= 1.0), "rates must lie in (0, 1]");
        let mut survivals = vec![1.0];
        survivals.extend(rates.iter().scan(1.0, |left, beta| {
            *left *= 1.0 - beta;
            Some(*left)
        }));
        Self { rates, survivals }
    }

    /// `beta_t = 1 / (T - t + 1)`: every step takes the same share `1 / T` of the first bit, so that
    /// `a_t = 1 - t / T` [Sohl15, section 2.4.1].
    ///
    /// # Panics
    /// If `steps` is 0.
    pub fn linear(steps: usize) -> Self {
        let rates = (1..=steps).map(|t| 1.0 / (steps - t + 1) as f64).collect();
        let mut chain = Self::new(rates);
        // The product of the rates, without its rounding.
        chain.survivals = (0..=steps).map(|t| (steps - t) as f64 / steps as f64).collect();
        chain
    }

    /// `T`.
    pub fn steps(&self) -> usize {
        self.rates.len()
    }

    /// `a_t`, for `t = 0 ..= T`.
    pub fn survival(&self, t: usize) -> f64 {
        self.survivals[t]
    }

    /// `q(x^t ≠ x^(t-1))`, for `t = 1 ..= T`.
    pub fn step_flip(&self, t: usize) -> f64 {
        self.rates[t - 1] / 2.0
    }

    /// `q(x^t ≠ x^0)`, for `t = 0 ..= T`.
    pub fn flip(&self, t: usize) -> f64 {
        (1.0 - self.survivals[t]) / 2.0
    }

    /// `ln q(x^t | x^0 = x^t) - ln q(x^t | x^0 ≠ x^t)`: how much a bit at `t` says about itself at 0; infinite at 0.
    pub fn evidence(&self, t: usize) -> f64 {
        ((1.0 + self.survivals[t]) / (1.0 - self.survivals[t])).ln()
    }

    /// The posterior `q(x^(t-1) ≠ x^t | x^t, x^0)` by Bayes' rule, for `t = 1 ..= T`; `same` says whether
    /// `x^0 = x^t`.
    ///
    /// A reverse kernel that believes `x^0 = x^t` with probability `b` flips with `b` times the one value plus `1 - b`
    /// times the other: the exact reverse of a factorised posterior.
    pub fn reverse_flip(&self, t: usize, same: bool) -> f64 {
        let (now, before) = (self.step_flip(t), self.flip(t - 1));
        // Either x^(t-1) = x^t, or it flipped and x^(t-1) has the other relation to x^0.
        let (stayed, flipped) = if same {
            ((1.0 - now) * (1.0 - before), now * before)
        } else {
            ((1.0 - now) * before, now * (1.0 - before))
        };
        flipped / (stayed + flipped)
    }

    /// What the ends of the trajectory add to the bound on `ln p(x^0)`, in bits per dimension:
    /// `H_q(X^T | X^0) - H_q(X^1 | X^0) - H_p(X^T)` [Sohl15, Eq. 14], where the last reverse step, `p(x^0 | x^1)`, is
    /// the forward kernel itself [Sohl15, appendix B.2] and `p(x^T)` tosses coins.
    pub fn ends(&self) -> f64 {
        entropy(self.flip(self.steps())) - entropy(self.flip(1)) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropies_of_known_bits() {
        assert_eq!(entropy(0.0), 0.0);
        assert_eq!(entropy(1.0), 0.0);
        assert_eq!(entropy(0.5), 1.0);
        // [MacKay03]: the binary entropy function at 0.2 is 0.722 bits; 2 - 0.75 log2 3 at a quarter.
        assert!((entropy(0.2) - 0.721_928_094_887_362_3).abs() < 1e-15);
        assert!((entropy(0.25) - (2.0 - 0.75 * 3f64.log2())).abs() < 1e-15);
    }

    #[test]
    fn divergence_is_the_textbook_one_and_keeps_its_digits() {
        for (q, p) in [(0.3, 0.6), (0.5, 0.503), (0.9, 0.05), (0.5, 0.5), (1e-4, 0.2), (0.0, 0.25), (1.0, 0.25)] {
            let term = |q: f64, p: f64| if q == 0.0 { 0.0 } else { q * (q / p).log2() };
            let naive = term(q, p) + term(1.0 - q, 1.0 - p);
            assert!((kl(q, p) - naive).abs() < 1e-14, "{q} {p}: {} {naive}", kl(q, p));
        }
        // d² / (2 q (1 - q)) to leading order, far below the rounding of the naive formula.
        let (q, d) = (0.25, 1e-10);
        let leading = d * d / (2.0 * q * (1.0 - q)) / LN_2;
        assert!((kl(q, q + d) / leading - 1.0).abs() < 1e-6);
        assert_eq!(kl(0.5, 0.0), f64::INFINITY);
        assert_eq!(kl(1.0, 1e-30), -(1e-30f64.log2()));
        // The two ways of forming a term meet.
        let (below, above) = (kl(0.5, 0.5 * 1.009_999_99), kl(0.5, 0.5 * 1.010_000_01));
        assert!((above / below - 1.0).abs() < 1e-5 && above > below);
    }

    /// The forward chain as 2×2 matrices, multiplied out: every marginal and posterior by brute force.
    #[test]
    fn posteriors_are_bayes_rule_on_transition_matrices() {
        let chain = Binomial::new(vec![0.1, 0.3, 0.05, 0.9]);
        let step = |t: usize, from: usize, to: usize| {
            let x = from as f64;
            let one = x * (1.0 - chain.rates[t - 1]) + 0.5 * chain.rates[t - 1];
            if to == 1 { one } else { 1.0 - one }
        };
        // q(x^t = to | x^0 = from) by summing over every path.
        fn reach(step: &dyn Fn(usize, usize, usize) -> f64, t: usize, from: usize, to: usize) -> f64 {
            match t {
                0 => f64::from(from == to),
                _ => (0..2).map(|mid| reach(step, t - 1, from, mid) * step(t, mid, to)).sum(),
            }
        }
        for t in 1..=4 {
            assert!((chain.flip(t) - reach(&step, t, 0, 1)).abs() < 1e-15);
            for first in 0..2 {
                let joint = |before: usize| reach(&step, t - 1, first, before) * step(t, before, 1);
                let flips = joint(0) / (joint(0) + joint(1));
                assert!((chain.reverse_flip(t, first == 1) - flips).abs() < 1e-14, "t {t} first {first}");
            }
            let ratio = reach(&step, t, 1, 1) / reach(&step, t, 0, 1);
            assert!((chain.evidence(t) - ratio.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn linear_schedule_takes_equal_shares() {
        let chain = Binomial::linear(2000);
        let product = Binomial::new(chain.rates.clone());
        for t in 0..=2000 {
            assert!((chain.survival(t) - product.survival(t)).abs() < 1e-11, "{t}");
        }
        assert_eq!(chain.survival(2000), 0.0);
        assert_eq!(chain.reverse_flip(1, true), 0.0);
        assert_eq!(chain.reverse_flip(1, false), 1.0);
        // At the end nothing is left of x^0, and what is lost is the entropy of the first step alone.
        assert!((chain.ends() + entropy(1.0 / 4000.0)).abs() < 1e-15);
    }
}
