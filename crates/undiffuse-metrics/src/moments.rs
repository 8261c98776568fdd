//! Mean and covariance of rows that come bit by bit.

use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use crate::Rows;
use crate::matrix::PANEL;

/// Rows that are added at a time. Blocks are counted from the first row on, so how rows are cut into pushes changes
/// no bit.
const BLOCK: usize = 512;

/// A normal distribution: all that the Fréchet distance sees of a set of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// Rows that it was measured on.
    pub count: usize,
    /// `[dims]`.
    pub mean: Vec<f64>,
    /// `[dims, dims]`, divided by `count − 1`; zero for a single row.
    pub covariance: Vec<f64>,
}

impl Gaussian {
    /// Of all rows.
    pub fn of(rows: Rows) -> Self {
        let mut moments = Moments::new(rows.dims());
        moments.push(rows);
        moments.finish()
    }

    /// Numbers in a row.
    pub fn dims(&self) -> usize {
        self.mean.len()
    }

    pub(crate) fn matrix(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.covariance, self.dims(), self.dims())
    }
}

/// Sums that become a [`Gaussian`]: `Σ(x − m)` is kept as the mean `m`, `Σ(x − m)(x − m)ᵀ` in f64, by the pairwise
/// update \[Chan83\], which loses no digits to a mean that is large beside the spread.
#[derive(Clone, Debug)]
pub struct Moments {
    count: usize,
    mean: Vec<f64>,
    /// The lower triangle of the sum, column by column.
    scatter: Vec<f64>,
    /// Rows that wait until they are a block.
    waiting: Vec<f32>,
}

impl Moments {
    /// Of no rows yet.
    pub fn new(dims: usize) -> Self {
        Self { count: 0, mean: vec![0.0; dims], scatter: vec![0.0; dims * dims], waiting: Vec::new() }
    }

    /// Adds rows.
    ///
    /// # Panics
    /// If they have other dimensions.
    pub fn push(&mut self, rows: Rows) {
        let dims = self.mean.len();
        assert_eq!(rows.dims(), dims, "moments of {dims} dimensions");
        let mut values = rows.values();
        while !values.is_empty() {
            let (now, later) = values.split_at(values.len().min(BLOCK * dims - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            values = later;
            if self.waiting.len() == BLOCK * dims {
                self.add_waiting();
            }
        }
    }

    /// Adds what another one has seen.
    ///
    /// # Panics
    /// If it has other dimensions.
    pub fn merge(&mut self, mut other: Self) {
        assert_eq!(self.mean.len(), other.mean.len(), "moments of other dimensions");
        self.add_waiting();
        other.add_waiting();
        self.scatter.par_iter_mut().zip(&other.scatter).for_each(|(a, b)| *a += b);
        let between = self.move_mean(other.count, &other.mean);
        self.add_products(MatRef::from_column_major_slice(&between, between.len(), 1));
    }

    /// The result.
    pub fn finish(mut self) -> Gaussian {
        self.add_waiting();
        let (dims, divisor) = (self.mean.len(), self.count.saturating_sub(1).max(1) as f64);
        let mut covariance = vec![0.0; dims * dims];
        for column in 0..dims {
            for row in column..dims {
                let value = self.scatter[column * dims + row] / divisor;
                covariance[column * dims + row] = value;
                covariance[row * dims + column] = value;
            }
        }
        Gaussian { count: self.count, mean: self.mean, covariance }
    }

    fn add_waiting(&mut self) {
        let dims = self.mean.len();
        let rows = self.waiting.len() / dims;
        if rows == 0 {
            return;
        }
        let mut mean = vec![0.0; dims];
        for row in self.waiting.chunks_exact(dims) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows as f64);
        let mut centred: Vec<f64> = Vec::with_capacity((rows + 1) * dims);
        for row in self.waiting.chunks_exact(dims) {
            centred.extend(row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m));
        }
        // The means' difference is one more row of the product.
        centred.extend(self.move_mean(rows, &mean));
        self.add_products(MatRef::from_column_major_slice(&centred, dims, rows + 1));
        self.waiting.clear();
    }

    /// Moves count and mean by `count` rows of mean `mean`; returns the row whose square the scatter grows by.
    fn move_mean(&mut self, count: usize, mean: &[f64]) -> Vec<f64> {
        let (before, now) = (self.count as f64, count as f64);
        self.count += count;
        let total = (self.count as f64).max(1.0);
        let weight = (before * now / total).sqrt();
        let shift = |(m, new): (&mut f64, &f64)| {
            let delta = new - *m;
            *m += delta * now / total;
            weight * delta
        };
        self.mean.iter_mut().zip(mean).map(shift).collect()
    }

    /// `scatter += x · xᵀ` in its lower triangle.
    fn add_products(&mut self, x: MatRef<f64>) {
        let dims = self.mean.len();
        self.scatter.par_chunks_mut(PANEL * dims).enumerate().for_each(|(panel, scatter)| {
            let (first, width) = (panel * PANEL, scatter.len() / dims);
            let scatter = faer::MatMut::from_column_major_slice_mut(scatter, dims, width);
            let (_, below) = scatter.split_at_row_mut(first);
            let x = x.subrows(first, dims - first);
            let whole = BlockStructure::Rectangular;
            let (corner, rest) = below.split_at_row_mut(width);
            let columns = x.subrows(0, width).transpose();
            let lower = BlockStructure::TriangularLower;
            matmul(corner, lower, Accum::Add, x.subrows(0, width), whole, columns, whole, 1.0, Par::Seq);
            let x = x.subrows(width, x.nrows() - width);
            matmul(rest, whole, Accum::Add, x, whole, columns, whole, 1.0, Par::Seq);
        });
    }
}

/// Rows of `rows` less `mean`, as the columns of a matrix.
pub(crate) fn centred(rows: Rows, mean: &[f64]) -> Mat<f64> {
    Mat::from_fn(rows.dims(), rows.len(), |i, j| f64::from(rows.row(j)[i]) - mean[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse_math::noise;

    fn sample(n: usize, dims: usize, offset: f32) -> Vec<f32> {
        let mut values = vec![0.0; n * dims];
        noise::normal(11, 0, 0, &mut values);
        for row in values.chunks_exact_mut(dims) {
            (1..dims).for_each(|i| row[i] += 0.7 * row[i - 1]);
            row.iter_mut().for_each(|x| *x += offset);
        }
        values
    }

    /// The definition, in two passes.
    fn naive(rows: Rows) -> (Vec<f64>, Vec<f64>) {
        let (n, dims) = (rows.len() as f64, rows.dims());
        let mean: Vec<f64> = (0..dims).map(|i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / n).collect();
        let entry = |at: usize| {
            let of = |row: &[f32], i: usize| f64::from(row[i]) - mean[i];
            rows.iter().map(|row| of(row, at / dims) * of(row, at % dims)).sum::<f64>() / (n - 1.0)
        };
        let covariance = (0..dims * dims).map(entry).collect();
        (mean, covariance)
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= tolerance, "{a} {b}"));
    }

    /// Several blocks, an odd rest, more panels than one, and a mean a thousand times the spread.
    #[test]
    fn as_defined() {
        for (n, dims, offset) in [(1300, 70, 1000.0), (5, 130, 0.0), (2, 1, 0.0)] {
            let values = sample(n, dims, offset);
            let rows = Rows::new(&values, dims);
            let (found, (mean, covariance)) = (Gaussian::of(rows), naive(rows));
            assert_eq!(found.count, n);
            close(&found.mean, &mean, 1e-9);
            close(&found.covariance, &covariance, 1e-9);
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let (n, dims) = (1500, 20);
        let values = sample(n, dims, 3.0);
        let rows = Rows::new(&values, dims);
        let whole = Gaussian::of(rows);
        let mut moments = Moments::new(dims);
        for piece in values.chunks(7 * dims) {
            moments.push(Rows::new(piece, dims));
        }
        assert_eq!(moments.finish(), whole, "the same bits however rows come");

        let mut merged = Moments::new(dims);
        for piece in values.chunks(611 * dims) {
            let mut part = Moments::new(dims);
            part.push(Rows::new(piece, dims));
            merged.merge(part);
        }
        merged.merge(Moments::new(dims));
        let merged = merged.finish();
        assert_eq!(merged.count, n);
        close(&merged.mean, &whole.mean, 1e-12);
        close(&merged.covariance, &whole.covariance, 1e-12);
    }

    #[test]
    fn threads_change_no_bit() {
        let values = sample(1100, 150, 0.0);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Gaussian::of(Rows::new(&values, 150)))
        };
        assert_eq!(on(1), on(3));
    }
}
