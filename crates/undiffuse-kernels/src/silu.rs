//! SiLU, `x · σ(x)`, also called swish (Elfwing et al. 2017).

use crate::blocks::{ELEMENTWISE, for_each};
use crate::elementary::{exp, sigmoid};
use crate::panel::{load, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Elements given to a thread at a time; without influence on the result.
const CHUNK: usize = 1 << 14;

/// `y = x · σ(x)`, elementwise. The error of `σ` is at most `2.5e-7`, relative.
///
/// # Panics
/// If the lengths differ.
pub fn forward(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "silu::forward: x and y must have equal lengths");
    for_each(y.chunks_mut(CHUNK).zip(x.chunks(CHUNK)), x.len() * ELEMENTWISE, |(y, x)| dispatch(Forward { x, y }));
}

/// `dx = dy · σ(x) · (1 + x · (1 − σ(x)))`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dx.len(), "silu::backward: x and dx must have equal lengths");
    assert_eq!(dy.len(), dx.len(), "silu::backward: dy and dx must have equal lengths");
    let tasks = dx.chunks_mut(CHUNK).zip(x.chunks(CHUNK).zip(dy.chunks(CHUNK)));
    for_each(tasks, x.len() * ELEMENTWISE, |(dx, (x, dy))| dispatch(Backward { x, dy, dx }));
}

/// `x · σ(x)`
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(x, sigmoid(s, x))
}

/// The derivative of [`value`].
#[inline(always)]
pub(crate) fn slope<S: Simd>(s: S, x: S::V) -> S::V {
    // 1 − σ as e⁻ˣ σ, which keeps its digits where σ is nearly 1.
    let one = s.splat(1.0);
    let e = exp(s, s.sub(s.zero(), x));
    let sigma = s.div(one, s.add(one, e));
    s.mul(sigma, s.mul_add(x, s.mul(e, sigma), one))
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_mut(LANES).zip(self.x.chunks(LANES)) {
            store(s, value(s, load(s, x)), y);
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for ((dx, x), dy) in self.dx.chunks_mut(LANES).zip(self.x.chunks(LANES)).zip(self.dy.chunks(LANES)) {
            store(s, s.mul(load(s, dy), slope(s, load(s, x))), dx);
        }
    }
}
