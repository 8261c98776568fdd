//! The softmax of rows, forward and backward.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::elementary::exp_neg;
use crate::panel::{load, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Rows given to a thread at a time; without influence on the result.
const ROWS: usize = 16;

/// `y[r, i] = e^(x[r, i] − largest of the row) / Σⱼ e^(x[r, j] − largest)` for rows of `width`. A row of `−∞` alone has
/// no softmax and becomes NaN.
///
/// # Panics
/// If the lengths differ, or are no whole number of rows.
pub fn forward(width: usize, x: &[f32], y: &mut [f32]) {
    check(width, &[x.len(), y.len()]);
    if !x.is_empty() {
        for_each(y.chunks_mut(ROWS * width).zip(x.chunks(ROWS * width)), x.len() * ELEMENTWISE, |(y, x)| {
            dispatch(Forward { width, x, y });
        });
    }
}

/// `dx = y ∘ (dy − Σ y ∘ dy)`, the sum over each row, from the outcome `y` of [`forward`].
///
/// # Panics
/// If the lengths differ, or are no whole number of rows.
pub fn backward(width: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    check(width, &[y.len(), dy.len(), dx.len()]);
    if !y.is_empty() {
        let of = ROWS * width;
        let tasks = dx.chunks_mut(of).zip(y.chunks(of).zip(dy.chunks(of)));
        for_each(tasks, y.len() * ELEMENTWISE, |(dx, (y, dy))| dispatch(Backward { width, y, dy, dx }));
    }
}

fn check(width: usize, lengths: &[usize]) {
    assert!(lengths.iter().all(|n| n == &lengths[0]), "softmax: lengths {lengths:?} differ");
    let rows = lengths[0].checked_div(width).unwrap_or(0);
    assert_eq!(lengths[0], rows * width, "softmax: a whole number of rows of {width}");
}

struct Forward<'a> {
    width: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_mut(self.width).zip(self.x.chunks(self.width)) {
            let mut largest = s.splat(f32::NEG_INFINITY);
            for x in x.chunks(LANES) {
                let x = match x.first_chunk() {
                    Some(whole) => s.load(whole),
                    None => s.load_or(x, f32::NEG_INFINITY),
                };
                largest = s.max(largest, x);
            }
            let largest = s.splat(s.largest(largest));
            let mut sum = s.zero();
            for (y, x) in y.chunks_mut(LANES).zip(x.chunks(LANES)) {
                let x = match x.first_chunk() {
                    Some(whole) => s.load(whole),
                    None => s.load_or(x, f32::NEG_INFINITY),
                };
                // What is beyond the row, and what is below e⁻⁸⁷, adds less than the last digit.
                let e = exp_neg(s, s.sub(largest, x));
                store(s, e, y);
                sum = s.add(sum, load(s, y));
            }
            let inverse = s.splat(1.0 / s.sum(sum));
            for y in y.chunks_mut(LANES) {
                store(s, s.mul(load(s, y), inverse), y);
            }
        }
    }
}

struct Backward<'a> {
    width: usize,
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.y.chunks(self.width).zip(self.dy.chunks(self.width));
        for (dx, (y, dy)) in self.dx.chunks_mut(self.width).zip(rows) {
            let mut sum = s.zero();
            for (y, dy) in y.chunks(LANES).zip(dy.chunks(LANES)) {
                sum = s.mul_add(load(s, y), load(s, dy), sum);
            }
            let sum = s.splat(s.sum(sum));
            for (dx, (y, dy)) in dx.chunks_mut(LANES).zip(y.chunks(LANES).zip(dy.chunks(LANES))) {
                store(s, s.mul(load(s, y), s.sub(load(s, dy), sum)), dx);
            }
        }
    }
}
