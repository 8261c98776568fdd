//! The linear map `y = activation(x) · Wᵀ + b` of rows, forward and backward.

use crate::activation::{self, Activation};
use crate::blocks::{ELEMENTWISE, for_each, steps};
use crate::gemm;
use crate::panel::{load, pack, pack_transposed, padded, panels, store, unpack_row};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::tree::{GROUP, Tree, add_lanes, sum_groups};
use std::ops::Range;

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

/// Numbers of a weight gradient that a task sums, about; without influence on the result.
const SUMS: usize = 1 << 17;

/// Rows of which a weight gradient is summed at a time; without influence on the result.
const CHUNK: usize = 128;

/// What is mapped: `activation(x)`, `x [rows, c_in]`.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// `[rows, c_in]`.
    pub x: &'a [f32],
    /// Applied first.
    pub activation: Activation,
}

impl<'a> From<&'a [f32]> for Input<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self { x, activation: Activation::Identity }
    }
}

impl<'a> From<&'a Vec<f32>> for Input<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        x.as_slice().into()
    }
}

/// `y[r, o] = Σᵢ activation(x[r, i]) · weight[o, i] + bias[o]`: `weight [c_out, c_in]`, `y [rows, c_out]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward<'a>(shape: &Linear, input: impl Into<Input<'a>>, weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let Input { x, activation } = input.into();
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
    let then = Then { bias, slope: None };
    let (c_in, c_out) = (shape.c_in, shape.c_out);
    for_each(y.chunks_mut(ROWS * c_out).enumerate(), x.len() * c_out, |(i, y)| {
        let x = &x[i * ROWS * c_in..][..y.len() / c_out * c_in];
        dispatch(Multiply { x, c_in, activation, b: &packed, then, y, c_out });
    });
}

/// `dx[r, i] = activation'(x[r, i]) Σₒ dy[r, o] · weight[o, i]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_data<'a>(shape: &Linear, input: impl Into<Input<'a>>, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let input = input.into();
    shape.check(dx.len(), weight.len(), dy.len(), None);
    shape.check(input.x.len(), weight.len(), dy.len(), None);
    if shape.is_empty() {
        dx.fill(0.0);
        return;
    }
    let depth = padded(shape.c_out);
    let mut packed = Scratch::new(panels(shape.c_in) * depth);
    pack(weight, shape.c_in, shape.c_out, shape.c_in, &mut packed, depth);
    let then = Then { bias: None, slope: (input.activation != Activation::Identity).then_some(input) };
    let (c_in, c_out) = (shape.c_in, shape.c_out);
    for_each(dx.chunks_mut(ROWS * c_in).enumerate(), dy.len() * c_in, |(i, dx)| {
        let dy = &dy[i * ROWS * c_out..][..dx.len() / c_in * c_out];
        let then = then.of(i * ROWS * c_in, dx.len());
        dispatch(Multiply {
            x: dy,
            c_in: c_out,
            activation: Activation::Identity,
            b: &packed,
            then,
            y: dx,
            c_out: c_in,
        });
    });
}

/// `dw[o, i] = Σᵣ dy[r, o] · activation(x[r, i])` and `db[o] = Σᵣ dy[r, o]`, where every `of_picture` rows belong to a picture: in row
/// order within a group of pictures, then along the [`tree`](crate::tree).
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_weight<'a>(
    shape: &Linear,
    of_picture: usize,
    input: impl Into<Input<'a>>,
    dy: &[f32],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let Input { x, activation } = input.into();
    shape.check(x.len(), dw.len(), dy.len(), db.as_ref().map(|b| b.len()));
    if shape.is_empty() {
        dw.fill(0.0);
        if let Some(db) = db {
            db.fill(0.0);
        }
        return;
    }
    let of_group = GROUP * of_picture;
    if let Some(db) = db {
        let batch = shape.rows.div_ceil(of_picture);
        let sums = sum_groups(batch, panels(shape.c_out), 1, dy.len() * ELEMENTWISE / 4, |pictures, first, to| {
            let rows = pictures.start * of_picture..shape.rows.min(pictures.end * of_picture);
            let dy = &dy[rows.start * shape.c_out..rows.end * shape.c_out];
            dispatch(SumRows { dy, c_out: shape.c_out, first: first * LANES, to });
        });
        db.copy_from_slice(&sums.as_flattened()[..shape.c_out]);
    }
    // All of `x`, by the chunks of rows that are multiplied at a time; each task owns some outputs and walks them.
    let chunks: Vec<Range<usize>> = steps(shape.rows, of_group)
        .flat_map(|group| steps(group.len(), CHUNK).map(move |c| group.start + c.start..group.start + c.end))
        .collect();
    let (c_in, width) = (shape.c_in, panels(shape.c_in));
    let mut packed = Scratch::new(shape.rows * width);
    let mut rest = &mut *packed;
    let tasks = chunks.iter().map(|rows| {
        let (to, later) = std::mem::take(&mut rest).split_at_mut(rows.len() * width);
        rest = later;
        (&x[rows.start * c_in..rows.end * c_in], to)
    });
    for_each(tasks, x.len() * ELEMENTWISE, |(x, to)| dispatch(PackActivated { x, c_in, activation, to }));
    // Few enough that their sums stay in a core's cache.
    let cached = (SUMS / c_in).max(1);
    let outputs = shape.c_out.div_ceil(rayon::current_num_threads()).min(cached).next_multiple_of(LANES);
    for_each(dw.chunks_mut(outputs * c_in).enumerate(), x.len() * shape.c_out, |(i, dw)| {
        dispatch(WeightGradient { shape, of_group, chunks: &chunks, packed: &packed, dy, first: i * outputs, dw });
    });
}

/// The sums of some columns over rows, in row order.
struct SumRows<'a> {
    dy: &'a [f32],
    c_out: usize,
    /// The first column.
    first: usize,
    to: &'a mut [Lanes],
}

impl Kernel for SumRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { dy, c_out, first, to } = self;
        to.fill([0.0; LANES]);
        let columns = first..c_out.min(first + to.len() * LANES);
        for dy in dy.chunks_exact(c_out) {
            for (to, dy) in to.iter_mut().zip(dy[columns.clone()].chunks(LANES)) {
                s.store(s.add(s.load(to), load(s, dy)), to);
            }
        }
    }
}

fn add_bias_only(shape: &Linear, bias: Option<&[f32]>, y: &mut [f32]) {
    y.fill(0.0);
    if let (Some(bias), true) = (bias, shape.c_out > 0) {
        y.chunks_exact_mut(shape.c_out).for_each(|row| row.copy_from_slice(bias));
    }
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

/// What becomes of a product.
#[derive(Clone, Copy)]
struct Then<'a> {
    /// Added to every row.
    bias: Option<&'a [f32]>,
    /// Whose slope multiplies it, element by element.
    slope: Option<Input<'a>>,
}

impl Then<'_> {
    /// For some elements of the product.
    fn of(self, first: usize, len: usize) -> Self {
        let slope = self.slope.map(|input| Input { x: &input.x[first..first + len], ..input });
        Self { slope, ..self }
    }
}

/// Some rows of a product.
struct Multiply<'a> {
    x: &'a [f32],
    c_in: usize,
    activation: Activation,
    b: &'a [Lanes],
    then: Then<'a>,
    y: &'a mut [f32],
    c_out: usize,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, c_in, activation, b, then, y, c_out } = self;
        let rows = x.len() / c_in;
        let to_rows = rows.next_multiple_of(4);
        let mut a = Scratch::new(panels(c_in) * to_rows);
        let mut c = Scratch::new(panels(c_out) * to_rows);
        pack(x, c_in, rows, c_in, &mut a, to_rows);
        activate(s, activation, &mut a);
        gemm::nn(s, &a, b, &mut c, to_rows, padded(c_in), false);
        for (r, y) in y.chunks_exact_mut(c_out).enumerate() {
            unpack_row(s, &c, to_rows, r, y, 1.0);
            if let Some(bias) = then.bias {
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        if let Some(Input { x, activation }) = then.slope {
            for (y, x) in y.chunks_mut(LANES).zip(x.chunks(LANES)) {
                store(s, s.mul(load(s, y), activation::slope(s, activation, load(s, x))), y);
            }
        }
    }
}

/// Activates packed numbers; padding stays zero.
#[inline(always)]
fn activate<S: Simd>(s: S, activation: Activation, x: &mut [Lanes]) {
    if activation != Activation::Identity {
        for x in x {
            s.store(activation::value(s, activation, s.load(x)), x);
        }
    }
}

/// Packs rows of the input of a linear map, activated.
struct PackActivated<'a> {
    x: &'a [f32],
    c_in: usize,
    activation: Activation,
    to: &'a mut [Lanes],
}

impl Kernel for PackActivated<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, c_in, activation, to } = self;
        let rows = x.len() / c_in;
        pack(x, c_in, rows, c_in, to, rows);
        activate(s, activation, to);
    }
}

/// The gradient of the weights of some outputs: `dw` is `[outputs, c_in]`.
struct WeightGradient<'a> {
    shape: &'a Linear,
    /// Rows of a group of pictures.
    of_group: usize,
    /// Rows that are multiplied at a time.
    chunks: &'a [Range<usize>],
    /// The input, packed by chunks.
    packed: &'a [Lanes],
    dy: &'a [f32],
    first: usize,
    dw: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Linear { c_in, c_out, .. }, of_group, chunks, packed, dy, first, dw } = self;
        let (outputs, width) = (dw.len() / c_in, panels(c_in));
        let m = padded(outputs);
        let mut a = Scratch::new(panels(outputs) * CHUNK);
        let mut tree = Tree::default();
        for group in chunks.chunk_by(|a, b| a.start / of_group == b.start / of_group) {
            let mut sum = Scratch::new(width * m);
            for (i, rows) in group.iter().enumerate() {
                let a = &mut a[..panels(outputs) * rows.len()];
                pack(&dy[rows.start * c_out + first..], c_out, rows.len(), outputs, a, rows.len());
                gemm::tn(s, a, &packed[rows.start * width..rows.end * width], &mut sum, rows.len(), m, i > 0);
            }
            tree.push(sum, |a: &mut Scratch, b| add_lanes(a, &b));
        }
        let total = tree.total(|a, b| add_lanes(a, &b)).expect("there are rows");
        for (o, dw) in dw.chunks_exact_mut(c_in).enumerate() {
            unpack_row(s, &total, m, o, dw, 1.0);
        }
    }
}
