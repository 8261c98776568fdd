//! A gated activation \[Shazeer20\]: of rows of two halves, the first times the activated second, forward and backward.

use crate::activation::{self, Activation};
use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{load, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Numbers of the output that a thread works on at a time, about; without influence on the result.
const CHUNK: usize = 1 << 14;

/// The size of a gated activation: `x [rows, 2 · width]` to `y [rows, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Numbers of a row of `y`.
    pub width: usize,
    /// What the second half of `x` passes.
    pub activation: Activation,
}

impl Gated {
    fn check(&self, of_x: &[usize], of_y: usize) {
        let len = self.rows * self.width;
        assert!(of_x.iter().all(|n| *n == 2 * len), "gated: lengths {of_x:?} of x or dx for {self:?}");
        assert_eq!(of_y, len, "gated: length of y or dy for {self:?}");
    }

    /// Numbers of `y` in the rows that are worked on at a time.
    fn chunk(&self) -> usize {
        CHUNK.div_ceil(self.width) * self.width
    }
}

/// `y[r, c] = x[r, c] · activation(x[r, width + c])`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Gated, x: &[f32], y: &mut [f32]) {
    shape.check(&[x.len()], y.len());
    if !y.is_empty() {
        let tasks = y.chunks_mut(shape.chunk()).zip(x.chunks(2 * shape.chunk()));
        for_each(tasks, x.len() * ELEMENTWISE, |(y, x)| dispatch(Forward { shape, x, y }));
    }
}

/// Writes `dx` from the gradient `dy` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Gated, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    shape.check(&[x.len(), dx.len()], dy.len());
    if !dy.is_empty() {
        let inputs = x.chunks(2 * shape.chunk()).zip(dy.chunks(shape.chunk()));
        let tasks = dx.chunks_mut(2 * shape.chunk()).zip(inputs);
        for_each(tasks, x.len() * ELEMENTWISE, |(dx, (x, dy))| dispatch(Backward { shape, x, dy, dx }));
    }
}

struct Forward<'a> {
    shape: &'a Gated,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gated { width, activation, .. } = *self.shape;
        for (y, x) in self.y.chunks_mut(width).zip(self.x.chunks(2 * width)) {
            let (a, b) = x.split_at(width);
            for ((y, a), b) in y.chunks_mut(LANES).zip(a.chunks(LANES)).zip(b.chunks(LANES)) {
                store(s, s.mul(load(s, a), activation::value(s, activation, load(s, b))), y);
            }
        }
    }
}

struct Backward<'a> {
    shape: &'a Gated,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gated { width, activation, .. } = *self.shape;
        let inputs = self.x.chunks(2 * width).zip(self.dy.chunks(width));
        for (dx, (x, dy)) in self.dx.chunks_mut(2 * width).zip(inputs) {
            let ((da, db), (a, b)) = (dx.split_at_mut(width), x.split_at(width));
            let halves = da.chunks_mut(LANES).zip(db.chunks_mut(LANES));
            let inputs = a.chunks(LANES).zip(b.chunks(LANES)).zip(dy.chunks(LANES));
            for ((da, db), ((a, b), dy)) in halves.zip(inputs) {
                let (a, b, dy) = (load(s, a), load(s, b), load(s, dy));
                store(s, s.mul(dy, activation::value(s, activation, b)), da);
                store(s, s.mul(s.mul(dy, a), activation::slope(s, activation, b)), db);
            }
        }
    }
}
