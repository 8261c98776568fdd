//! The linear map `y = x · Wᵀ + b` of rows, forward and backward.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::gemm;
use crate::panel::{pack, pack_transposed, padded, panels, unpack_row};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::sums::add;

/// The size of a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Columns of `x`.
    pub c_in: usize,
    /// Columns of `y`.
    pub c_out: usize,
}

impl Linear {
    fn check(&self, x: usize, weight: usize, y: usize, bias: Option<usize>) {
        assert_eq!(x, self.rows * self.c_in, "linear: length of x or dx for {self:?}");
        assert_eq!(weight, self.c_out * self.c_in, "linear: length of weight or dw for {self:?}");
        assert_eq!(y, self.rows * self.c_out, "linear: length of y or dy for {self:?}");
        if let Some(bias) = bias {
            assert_eq!(bias, self.c_out, "linear: length of bias or db for {self:?}");
        }
    }

    fn is_empty(&self) -> bool {
        self.rows == 0 || self.c_in == 0 || self.c_out == 0
    }
}

/// Rows that are packed and multiplied at a time; without influence on the result.
const ROWS: usize = 96;

/// Rows whose weight gradients are summed in one chain: shorter chains lose fewer digits.
const CHUNK_ROWS: usize = 10 * ROWS;

/// `y[r, o] = Σᵢ x[r, i] · weight[o, i] + bias[o]`: `x [rows, c_in]`, `weight [c_out, c_in]`, `y [rows, c_out]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Linear, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x.len(), weight.len(), y.len(), bias.map(<[f32]>::len));
    if shape.is_empty() {
        add_bias_only(shape, bias, y);
        return;
    }
    let depth = padded(shape.c_in);
    let mut packed = Scratch::new(panels(shape.c_out) * depth);
    // Wᵀ as `c_in × c_out`
    for_each(packed.chunks_mut(depth).enumerate(), weight.len() * ELEMENTWISE, |(p, panel)| {
        let rows = LANES.min(shape.c_out - p * LANES);
        let src = &weight[p * LANES * shape.c_in..][..rows * shape.c_in];
        dispatch(PackTransposed { src, rows, columns: shape.c_in, to: panel });
    });
    multiply_rows(x, shape.c_in, &packed, bias, y, shape.c_out);
}

/// `dx[r, i] = Σₒ dy[r, o] · weight[o, i]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_data(shape: &Linear, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), weight.len(), dy.len(), None);
    if shape.is_empty() {
        dx.fill(0.0);
        return;
    }
    let depth = padded(shape.c_out);
    let mut packed = Scratch::new(panels(shape.c_in) * depth);
    pack(weight, shape.c_in, shape.c_out, shape.c_in, &mut packed, depth);
    multiply_rows(dy, shape.c_out, &packed, None, dx, shape.c_in);
}

/// `dw[o, i] = Σᵣ dy[r, o] · x[r, i]` and `db[o] = Σᵣ dy[r, o]`, in row order; the former by chunks of 960 rows.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_weight(shape: &Linear, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    shape.check(x.len(), dw.len(), dy.len(), db.as_ref().map(|b| b.len()));
    if shape.is_empty() {
        dw.fill(0.0);
        if let Some(db) = db {
            db.fill(0.0);
        }
        return;
    }
    if let Some(db) = db {
        sum_rows(dy, db);
    }
    // Each task owns some outputs, and walks all rows for them.
    let outputs = shape.c_out.div_ceil(rayon::current_num_threads()).next_multiple_of(LANES);
    for_each(dw.chunks_mut(outputs * shape.c_in).enumerate(), x.len() * shape.c_out, |(i, dw)| {
        dispatch(WeightGradient { shape, x, dy, first: i * outputs, dw });
    });
}

/// `sums[c] = Σᵣ rows[r, c]`, in row order.
fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

fn add_bias_only(shape: &Linear, bias: Option<&[f32]>, y: &mut [f32]) {
    y.fill(0.0);
    if let (Some(bias), true) = (bias, shape.c_out > 0) {
        y.chunks_exact_mut(shape.c_out).for_each(|row| row.copy_from_slice(bias));
    }
}

/// `y = x · B + bias` for the packed matrix `b`.
fn multiply_rows(x: &[f32], c_in: usize, b: &[Lanes], bias: Option<&[f32]>, y: &mut [f32], c_out: usize) {
    let work = x.len() * c_out;
    for_each(y.chunks_mut(ROWS * c_out).zip(x.chunks(ROWS * c_in)), work, |(y, x)| {
        dispatch(Multiply { x, c_in, b, bias, y, c_out });
    });
}

struct PackTransposed<'a> {
    src: &'a [f32],
    rows: usize,
    columns: usize,
    to: &'a mut [Lanes],
}

impl Kernel for PackTransposed<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let to_rows = self.to.len();
        pack_transposed(s, self.src, self.columns, self.rows, self.columns, self.to, to_rows);
    }
}

/// Some rows of a product.
struct Multiply<'a> {
    x: &'a [f32],
    c_in: usize,
    b: &'a [Lanes],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    c_out: usize,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, c_in, b, bias, y, c_out } = self;
        let rows = x.len() / c_in;
        let to_rows = rows.next_multiple_of(4);
        let mut a = Scratch::new(panels(c_in) * to_rows);
        let mut c = Scratch::new(panels(c_out) * to_rows);
        pack(x, c_in, rows, c_in, &mut a, to_rows);
        gemm::nn(s, &a, b, &mut c, to_rows, padded(c_in), false);
        for (r, y) in y.chunks_exact_mut(c_out).enumerate() {
            unpack_row(s, &c, to_rows, r, y, 1.0);
            if let Some(bias) = bias {
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    }
}

/// The gradient of the weights of some outputs: `dw` is `[outputs, c_in]`.
struct WeightGradient<'a> {
    shape: &'a Linear,
    x: &'a [f32],
    dy: &'a [f32],
    first: usize,
    dw: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, dy, first, dw } = self;
        let (c_in, c_out) = (shape.c_in, shape.c_out);
        let outputs = dw.len() / c_in;
        let m = padded(outputs);
        let mut a = Scratch::new(panels(outputs) * ROWS);
        let mut b = Scratch::new(panels(c_in) * ROWS);
        let mut chunk = Scratch::new(panels(c_in) * m);
        let mut total = Scratch::zeroed(panels(c_in) * m);
        for (x, dy) in x.chunks(CHUNK_ROWS * c_in).zip(dy.chunks(CHUNK_ROWS * c_out)) {
            chunk.fill([0.0; LANES]);
            for (x, dy) in x.chunks(ROWS * c_in).zip(dy.chunks(ROWS * c_out)) {
                let rows = x.len() / c_in;
                pack(&dy[first..], c_out, rows, outputs, &mut a, rows);
                pack(x, c_in, rows, c_in, &mut b, rows);
                gemm::tn(s, &a[..panels(outputs) * rows], &b[..panels(c_in) * rows], &mut chunk, rows, m);
            }
            add(&mut total, &chunk);
        }
        for (o, dw) in dw.chunks_exact_mut(c_in).enumerate() {
            unpack_row(s, &total, m, o, dw, 1.0);
        }
    }
}
