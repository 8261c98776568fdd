//! Elementwise non-linearities on vectors.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::elementary::{exp_neg, one_plus_exp_neg};
use crate::panel::{load, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// A non-linearity that a kernel applies while it reads or writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `z`.
    #[default]
    Identity,
    /// `z · σ(z)`, also called swish \[Elfwing17\].
    Silu,
    /// `z · Φ(z)` with the normal distribution function Φ \[Hendrycks16\].
    Gelu,
    /// `max(z, 0)`.
    Relu,
    /// `z · tanh(ln(1 + eᶻ))` \[Misra19\].
    Mish,
    /// [`Gelu`](Self::Gelu) with Φ by a hyperbolic tangent: `z · σ(2u)`, `u = √(2/π) (z + 0.044715 z³)`
    /// \[Hendrycks16\].
    GeluTanh,
    /// `z · σ(1.702 z)`, near [`Gelu`](Self::Gelu) \[Hendrycks16, section 2\].
    QuickGelu,
}

/// Elements given to a thread at a time; without influence on the result.
const CHUNK: usize = 1 << 14;

/// `y = activation(x)`, elementwise. Largest errors, measured over `|x| ≤ 80` at every SIMD level: SiLU `2.4e-7` and
/// Mish `3.5e-7` of the value, GELU `1.6e-7` of `max(|x|, 1)`.
///
/// # Panics
/// If the lengths differ.
pub fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "activation::forward: x and y must have equal lengths");
    for_each(y.chunks_mut(CHUNK).zip(x.chunks(CHUNK)), x.len() * ELEMENTWISE, |(y, x)| {
        dispatch(Forward { activation, x, y });
    });
}

/// `dx = dy · activation'(x)`, elementwise. Largest absolute errors of the slope, measured likewise: SiLU and Mish
/// `2.4e-7`, GELU `3.7e-7`.
///
/// # Panics
/// If the lengths differ.
pub fn backward(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dx.len(), "activation::backward: x and dx must have equal lengths");
    assert_eq!(dy.len(), dx.len(), "activation::backward: dy and dx must have equal lengths");
    let tasks = dx.chunks_mut(CHUNK).zip(x.chunks(CHUNK).zip(dy.chunks(CHUNK)));
    for_each(tasks, x.len() * ELEMENTWISE, |(dx, (x, dy))| dispatch(Backward { activation, x, dy, dx }));
}

struct Forward<'a> {
    activation: Activation,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_mut(LANES).zip(self.x.chunks(LANES)) {
            store(s, value(s, self.activation, load(s, x)), y);
        }
    }
}

struct Backward<'a> {
    activation: Activation,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for ((dx, x), dy) in self.dx.chunks_mut(LANES).zip(self.x.chunks(LANES)).zip(self.dy.chunks(LANES)) {
            store(s, s.mul(load(s, dy), slope(s, self.activation, load(s, x))), dx);
        }
    }
}

/// The function of `activation` at `z`. At 0 it is 0.
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, activation: Activation, z: S::V) -> S::V {
    match activation {
        Activation::Identity => z,
        Activation::Silu => s.div(z, one_plus_exp_neg(s, z)),
        // For z > 0 it is z − z (1 − Φ), for z < 0 it is z (1 − Φ(−z)).
        Activation::Gelu => s.neg_mul_add(magnitude(s, z), normal_tail(s, z), s.max(s.zero(), z)),
        Activation::Relu => s.max(s.zero(), z),
        Activation::Mish => {
            let n = mish_ratio(s, z);
            s.mul(z, s.div(n, s.add(n, s.splat(2.0))))
        }
        Activation::GeluTanh => s.div(z, one_plus_exp_neg(s, gelu_tanh_inner(s, z))),
        Activation::QuickGelu => s.div(z, one_plus_exp_neg(s, s.mul(z, s.splat(QUICK)))),
    }
}

/// Its derivative.
#[inline(always)]
pub(crate) fn slope<S: Simd>(s: S, activation: Activation, z: S::V) -> S::V {
    let one = s.splat(1.0);
    match activation {
        Activation::Identity => one,
        Activation::Silu => silu_slope(s, z),
        // Of silu(1.702 z) / 1.702. Beyond 88 the slope is 0 or 1.
        Activation::QuickGelu => silu_slope(s, s.min(s.splat(88.0), s.max(s.splat(-88.0), s.mul(z, s.splat(QUICK))))),
        Activation::Gelu => {
            // Φ(z) + z φ(z), with Φ = ½ + sign (½ − tail).
            let half = s.splat(0.5);
            let cdf = s.mul_add(sign(s, z), s.sub(half, normal_tail(s, z)), half);
            let density = s.mul(s.splat(0.398_942_3), exp_neg(s, s.mul(s.mul(z, z), s.splat(0.5))));
            s.mul_add(z, density, cdf)
        }
        Activation::Relu => s.max(s.zero(), sign(s, z)),
        Activation::Mish => {
            // w + z (1 − w²) σ(z) with w = n / (n + 2).
            let n = mish_ratio(s, z);
            let inverse = s.div(one, s.add(n, s.splat(2.0)));
            let w = s.mul(n, inverse);
            let rest = s.mul(s.mul(s.splat(4.0), s.add(n, one)), s.mul(inverse, inverse));
            let sigma = s.div(one, one_plus_exp_neg(s, z));
            s.mul_add(s.mul(z, rest), sigma, w)
        }
        Activation::GeluTanh => {
            // σ (1 + z (1 − σ) 2u'). Beyond 20, where the slope is 0 or 1, z² need not grow.
            let z = s.min(s.splat(20.0), s.max(s.splat(-20.0), z));
            let e = exp_neg(s, gelu_tanh_inner(s, z));
            let sigma = s.div(one, s.add(one, e));
            let steep = s.mul_add(s.mul(z, z), s.splat(3.0 * GELU_TANH[1]), s.splat(GELU_TANH[0]));
            s.mul(sigma, s.mul_add(s.mul(z, steep), s.mul(e, sigma), one))
        }
    }
}

/// `σ(z) (1 + z (1 − σ(z)))`, with 1 − σ as e⁻ᶻ σ, which keeps its digits where σ is nearly 1.
#[inline(always)]
fn silu_slope<S: Simd>(s: S, z: S::V) -> S::V {
    let one = s.splat(1.0);
    let e = exp_neg(s, z);
    let sigma = s.div(one, s.add(one, e));
    s.mul(sigma, s.mul_add(z, s.mul(e, sigma), one))
}

/// The slope inside [`Activation::QuickGelu`].
const QUICK: f32 = 1.702;

/// `2 √(2/π)`, and the same times 0.044715.
const GELU_TANH: [f32; 2] = [1.595_769, 0.071_354_814];

/// `2 √(2/π) (z + 0.044715 z³)`
#[inline(always)]
fn gelu_tanh_inner<S: Simd>(s: S, z: S::V) -> S::V {
    s.mul(z, s.mul_add(s.mul(z, z), s.splat(GELU_TANH[1]), s.splat(GELU_TANH[0])))
}

/// `|z|`
#[inline(always)]
fn magnitude<S: Simd>(s: S, z: S::V) -> S::V {
    s.max(z, s.sub(s.zero(), z))
}

/// −1, 0 or 1; in between for numbers below `1e-30`.
#[inline(always)]
fn sign<S: Simd>(s: S, z: S::V) -> S::V {
    s.max(s.splat(-1.0), s.min(s.splat(1.0), s.mul(z, s.splat(1e30))))
}

/// `1 − Φ(|z|)` by [Abramowitz64, 7.1.26], whose own error is at most `7.5e-8`; rounding adds up to `3e-7`
/// near 0, where [`value`] multiplies it by little.
#[inline(always)]
fn normal_tail<S: Simd>(s: S, z: S::V) -> S::V {
    let u = s.mul(magnitude(s, z), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = s.div(s.splat(1.0), s.mul_add(u, s.splat(0.327_591_1), s.splat(1.0)));
    let mut p = s.splat(1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.mul_add(p, t, s.splat(c));
    }
    s.mul(s.mul(s.mul(p, t), s.splat(0.5)), exp_neg(s, s.mul(u, u)))
}

/// `e (e + 2)` with `e = eᶻ`: then `tanh(ln(1 + eᶻ))` is `n / (n + 2)`. Beyond 20 that is 1.
#[inline(always)]
fn mish_ratio<S: Simd>(s: S, z: S::V) -> S::V {
    let e = exp_neg(s, s.max(s.splat(-20.0), s.sub(s.zero(), z)));
    s.mul(e, s.add(e, s.splat(2.0)))
}
