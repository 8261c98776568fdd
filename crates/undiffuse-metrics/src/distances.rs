//! Squared distances and products of many rows with many rows, in blocks of matrix products.
//!
//! `‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b` makes a table of distances a matrix product, which is fast and, in f32, loses digits
//! where the rows are near each other beside their lengths. Two things are done about it. All rows are first moved by
//! one common shift, which changes no distance and makes lengths as small as the data's spread; and every number comes
//! with a bound of its error ([`Distances::slack`]), so that whoever compares one with a threshold can ask for the
//! [`exact`](Distances::exact) one where the bound leaves a doubt. What is decided that way is decided as in f64.

use std::ops::Range;

use rayon::prelude::*;
use undiffuse_kernels::linear::{self, Linear};

use crate::Rows;
use crate::neighbours::distance;

/// Rows of a block that [`tiles`] proposes: large enough for fast products, small enough for memory (4 MB).
const BLOCK: usize = 1024;

/// Two sets of rows that are compared with each other.
pub(crate) struct Distances<'a> {
    left: Side<'a>,
    right: Side<'a>,
    shift: Vec<f32>,
}

/// Rows and what is kept of each one.
struct Side<'a> {
    rows: Rows<'a>,
    /// Squared lengths after the shift.
    squares: Vec<f64>,
    /// `x·s + ½ s·s` of shifted rows `x` and the shift `s`: what the shift takes from a product.
    along: Vec<f64>,
}

impl<'a> Distances<'a> {
    /// # Panics
    /// If their dimensions differ.
    pub(crate) fn new(left: Rows<'a>, right: Rows<'a>) -> Self {
        assert_eq!(left.dims(), right.dims(), "rows of different dimensions");
        let shift = mean(right);
        let own: f64 = shift.iter().map(|s| f64::from(*s).powi(2)).sum();
        let side = |rows: Rows<'a>| Side {
            rows,
            squares: sums(rows, &shift, |x, _| x * x),
            along: sums(rows, &shift, |x, s| x * s).iter().map(|along| along + own / 2.0).collect(),
        };
        Self { left: side(left), right: side(right), shift }
    }

    /// Products of some rows of the left with some of the right, both shifted: `[left.len(), right.len()]`; for
    /// [`dot`](Self::dot).
    pub(crate) fn products(&self, left: Range<usize>, right: Range<usize>) -> Vec<f32> {
        let shape = Linear { rows: left.len(), c_in: self.shift.len(), c_out: right.len() };
        let (x, w) = (shifted(self.left.rows, left, &self.shift), shifted(self.right.rows, right, &self.shift));
        let mut y = vec![0.0; shape.rows * shape.c_out];
        linear::forward(&shape, &x, &w, None, &mut y);
        y
    }

    /// `a·b` of two rows from the product of the shifted ones.
    pub(crate) fn dot(&self, product: f32, left: usize, right: usize) -> f64 {
        f64::from(product) + self.left.along[left] + self.right.along[right]
    }

    /// `a·a` of every row of the left, and of the right.
    pub(crate) fn squared_lengths(&self) -> [Vec<f64>; 2] {
        [&self.left, &self.right].map(|side| side.squares.iter().zip(&side.along).map(|(x, a)| x + 2.0 * a).collect())
    }

    /// Squared distances of some rows of the left to some of the right: `[left.len(), right.len()]`.
    pub(crate) fn block(&self, left: Range<usize>, right: Range<usize>) -> Vec<f32> {
        let mut out = self.products(left.clone(), right.clone());
        let squares = &self.right.squares[right];
        out.par_chunks_mut(squares.len().max(1)).zip(&self.left.squares[left]).for_each(|(row, a)| {
            for (x, b) in row.iter_mut().zip(squares) {
                *x = (a + b - 2.0 * f64::from(*x)).max(0.0) as f32;
            }
        });
        out
    }

    /// How far a number of [`block`](Self::block) may be from the exact one, at most: rounding of a sum of `dims`
    /// products in any order, of the shift, and of the result.
    pub(crate) fn slack(&self, left: usize, right: usize) -> f64 {
        let unit = f64::from(f32::EPSILON) / 2.0;
        let terms = (self.left.rows.dims() + 16) as f64;
        terms * unit * (self.left.squares[left] + self.right.squares[right]) * 1.01
    }

    /// The distance (not squared) of two rows in f64, the same bits as a [`Neighbour`](crate::neighbours::Neighbour)'s.
    pub(crate) fn exact(&self, left: usize, right: usize) -> f64 {
        distance(self.left.rows.row(left), self.right.rows.row(right))
    }
}

/// `0..n` in pieces of [`BLOCK`].
pub(crate) fn tiles(n: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..n).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(n))
}

/// The rows' mean, rounded.
fn mean(rows: Rows) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows.dims()];
    for row in rows.iter() {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.iter().map(|sum| (sum / rows.len().max(1) as f64) as f32).collect()
}

/// `Σ term(x − s, s)` of every row.
fn sums(rows: Rows, shift: &[f32], term: impl Fn(f64, f64) -> f64 + Sync) -> Vec<f64> {
    let sum = |row: &[f32]| row.iter().zip(shift).map(|(x, s)| term(f64::from(x - s), f64::from(*s))).sum();
    rows.values().par_chunks_exact(rows.dims()).map(sum).collect()
}

fn shifted(rows: Rows, range: Range<usize>, shift: &[f32]) -> Vec<f32> {
    let dims = rows.dims();
    let mut out = rows.values()[range.start * dims..range.end * dims].to_vec();
    out.par_chunks_mut(dims).for_each(|row| row.iter_mut().zip(shift).for_each(|(x, s)| *x -= s));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse_math::noise;

    /// Every number of a block lies within its slack of the exact one, far from the origin and for duplicates too, and
    /// the slack is small beside the distances.
    #[test]
    fn within_their_slack() {
        let (n, dims) = (60, 300);
        let mut values = vec![0.0f32; 2 * n * dims];
        noise::normal(3, 0, 0, &mut values);
        values.iter_mut().for_each(|x| *x += 50.0);
        let (left, right) = values.split_at_mut(n * dims);
        right[..dims].copy_from_slice(&left[..dims]);
        let pair = Distances::new(Rows::new(left, dims), Rows::new(right, dims));
        let block = pair.block(2..n, 0..n - 3);
        for (at, found) in block.iter().enumerate() {
            let (i, j) = (2 + at / (n - 3), at % (n - 3));
            assert!((f64::from(*found) - pair.exact(i, j).powi(2)).abs() <= pair.slack(i, j), "{i}, {j}");
            assert!(pair.slack(i, j) < 1e-4 * pair.exact(i, j).powi(2));
        }
        assert!(f64::from(pair.block(0..1, 0..1)[0]) <= pair.slack(0, 0));

        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let found = pair.dot(pair.products(3..4, 5..6)[0], 3, 5);
        let (a, b) = (&left[3 * dims..4 * dims], &right[5 * dims..6 * dims]);
        assert!((found / dot(a, b) - 1.0).abs() < 1e-6);
        assert!((pair.squared_lengths()[1][5] / dot(b, b) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn tiles_cover_once() {
        for n in [0, 1, BLOCK, BLOCK + 1] {
            assert!(tiles(n).flatten().eq(0..n));
        }
    }
}
