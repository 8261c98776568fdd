//! The little linear algebra that the Fréchet distance needs, in f64 by faer.
//!
//! Every product is cut into pieces of a size that the matrices alone decide, each made by one thread, and so are the
//! eigenproblems: the bits of a result do not depend on the number of threads.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::linalg::matmul::matmul;
use faer::prelude::default;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::MetricError;

/// Columns of a product that one thread makes at a time.
pub(crate) const PANEL: usize = 64;

/// `a · b`.
pub(crate) fn product(a: MatRef<f64>, b: MatRef<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    let panels = out.as_mut().par_col_chunks_mut(PANEL).zip(b.par_col_chunks(PANEL));
    panels.for_each(|(out, b)| matmul(out, Accum::Replace, a, b, 1.0, Par::Seq));
    out
}

/// Eigenvalues of a symmetric matrix, ascending; reads the lower triangle.
pub(crate) fn eigenvalues(symmetric: MatRef<f64>) -> Result<Vec<f64>, MetricError> {
    decompose(symmetric, None)
}

/// `U diag(values) Uᵀ` of a symmetric matrix, values ascending; reads the lower triangle.
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Mat<f64>,
}

impl Eigen {
    pub(crate) fn of(symmetric: MatRef<f64>) -> Result<Self, MetricError> {
        let mut vectors = Mat::zeros(symmetric.nrows(), symmetric.nrows());
        Ok(Self { values: decompose(symmetric, Some(vectors.as_mut()))?, vectors })
    }

    /// The place of the first eigenvalue that is no rounding error of zero; all from there on are not.
    pub(crate) fn first_significant(&self) -> usize {
        let largest = self.values.last().copied().unwrap_or(0.0);
        let noise = largest * self.values.len() as f64 * f64::EPSILON;
        self.values.partition_point(|value| *value <= noise)
    }
}

fn decompose(symmetric: MatRef<f64>, vectors: Option<MatMut<f64>>) -> Result<Vec<f64>, MetricError> {
    let n = symmetric.nrows();
    let compute = if vectors.is_some() { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let mut values = Diag::zeros(n);
    let mut memory = MemBuffer::new(evd::self_adjoint_evd_scratch::<f64>(n, compute, Par::Seq, default()));
    let stack = MemStack::new(&mut memory);
    evd::self_adjoint_evd(symmetric, values.as_mut(), vectors, Par::Seq, stack, default())
        .map_err(|_| MetricError::Eigen { dims: n })?;
    Ok(values.column_vector().iter().copied().collect())
}
