//! Elementwise non-linearities on vectors.

use crate::elementary::{exp, sigmoid};
use crate::simd::Simd;

/// A non-linearity that a kernel applies while it reads or writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `z`.
    #[default]
    Identity,
    /// `z · σ(z)`, also called swish (Elfwing et al. 2017).
    Silu,
}

/// The function of `activation` at `z`.
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, activation: Activation, z: S::V) -> S::V {
    match activation {
        Activation::Identity => z,
        Activation::Silu => s.mul(z, sigmoid(s, z)),
    }
}

/// Its derivative.
#[inline(always)]
pub(crate) fn slope<S: Simd>(s: S, activation: Activation, z: S::V) -> S::V {
    match activation {
        Activation::Identity => s.splat(1.0),
        Activation::Silu => {
            // 1 − σ as e⁻ᶻ σ, which keeps its digits where σ is nearly 1.
            let one = s.splat(1.0);
            let e = exp(s, s.sub(s.zero(), z));
            let sigma = s.div(one, s.add(one, e));
            s.mul(sigma, s.mul_add(z, s.mul(e, sigma), one))
        }
    }
}
