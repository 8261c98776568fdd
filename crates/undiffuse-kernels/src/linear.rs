//! The linear map `y = activation(x) · Wᵀ + b` of rows, forward and backward.

use crate::activation::{self, Activation};
use crate::blocks::{ELEMENTWISE, for_each, steps};
use crate::gemm;
use crate::panel::{load, pack, pack_transposed, padded, panels, store, unpack_row};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::tree::{GROUP, Tree, add_lanes};
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

/// Rows that are packed and multiplied at a time, at most; without influence on the result.
const ROWS: usize = 96;

/// Panels of a product that are written at a time, and inner indices of a pass over them: with [`ROWS`] they fit the
/// second-level cache. Without influence on the result.
const WIDTH: usize = 8;
const DEPTH: usize = 384;

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
    // Wᵀ as `c_in × c_out`
    let factor = factor(shape.c_in, shape.c_out, |rows, columns, to| {
        let src = &weight[columns.start * shape.c_in + rows.start..];
        dispatch(PackTransposed { src, stride: shape.c_in, rows: columns.len(), columns: rows.len(), to });
    });
    multiply(shape, Input { x, activation }, &factor, Then { bias, slope: None }, y);
}

/// Packs `depth × columns` numbers as the right-hand side of a product, `[group of columns][pass][panel][row]`, on all threads:
/// `fill(rows, columns, to)` does it for some, `[panel][row]`.
fn factor(depth: usize, columns: usize, fill: impl Fn(Range<usize>, Range<usize>, &mut [Lanes]) + Sync) -> Scratch {
    let mut packed = Scratch::new(panels(columns) * padded(depth));
    let groups = packed.chunks_mut(WIDTH * padded(depth)).zip(steps(columns, WIDTH * LANES));
    for_each(groups, depth * columns * ELEMENTWISE, |(group, columns)| {
        for rows in steps(depth, DEPTH) {
            let width = panels(columns.len());
            let to = &mut group[rows.start * width..][..padded(rows.len()) * width];
            fill(rows, columns.clone(), to);
        }
    });
    packed
}

/// `y = activation(x) · factor`, and what follows: `map` takes rows of `x` to rows of `y`.
fn multiply(map: &Linear, Input { x, activation }: Input, factor: &[Lanes], then: Then, y: &mut [f32]) {
    let Linear { c_in, c_out, .. } = *map;
    let rows = share(map.rows, ROWS, 4);
    for_each(y.chunks_mut(rows * c_out).enumerate(), x.len() * c_out, |(i, y)| {
        let x = &x[i * rows * c_in..][..y.len() / c_out * c_in];
        let then = then.of(i * rows * c_out, y.len());
        dispatch(Multiply { x, c_in, activation, factor, then, y, c_out });
    });
}

/// A multiple of `unit`, not much above `most`, of which every thread takes about as many out of `all`.
fn share(all: usize, most: usize, unit: usize) -> usize {
    let of_thread = all.div_ceil(rayon::current_num_threads());
    of_thread.div_ceil(of_thread.div_ceil(most)).next_multiple_of(unit)
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
    let factor = factor(shape.c_out, shape.c_in, |rows, columns, to| {
        let src = &weight[rows.start * shape.c_in + columns.start..];
        pack(src, shape.c_in, rows.len(), columns.len(), to, padded(rows.len()));
    });
    let then = Then { bias: None, slope: (input.activation != Activation::Identity).then_some(input) };
    let back = Linear { rows: shape.rows, c_in: shape.c_out, c_out: shape.c_in };
    multiply(&back, dy.into(), &factor, then, dx);
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
    let outputs = share(shape.c_out, (SUMS / c_in).max(1), LANES);
    let mut sums = Scratch::new(panels(shape.c_out));
    let tasks = dw.chunks_mut(outputs * c_in).zip(sums.chunks_mut(outputs / LANES)).enumerate();
    for_each(tasks, x.len() * shape.c_out, |(i, (dw, sums))| {
        dispatch(WeightGradient {
            shape,
            of_group,
            chunks: &chunks,
            packed: &packed,
            dy,
            first: i * outputs,
            dw,
            sums,
        });
    });
    if let Some(db) = db {
        db.copy_from_slice(&sums.as_flattened()[..shape.c_out]);
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
    stride: usize,
    rows: usize,
    columns: usize,
    to: &'a mut [Lanes],
}

impl Kernel for PackTransposed<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { src, stride, rows, columns, to } = self;
        pack_transposed(s, src, stride, rows, columns, to, padded(columns));
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
    /// See [`factor`].
    factor: &'a [Lanes],
    then: Then<'a>,
    y: &'a mut [f32],
    c_out: usize,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, c_in, activation, factor, then, y, c_out } = self;
        let rows = x.len() / c_in;
        let (to_rows, depth) = (rows.next_multiple_of(4), padded(c_in));
        let mut a = Scratch::new(panels(c_in) * to_rows);
        let mut c = Scratch::new(panels(c_out).min(WIDTH) * to_rows);
        pack(x, c_in, rows, c_in, &mut a, to_rows);
        activate(s, activation, &mut a);
        for (columns, group) in steps(c_out, WIDTH * LANES).zip(factor.chunks(WIDTH * depth)) {
            let width = panels(columns.len());
            let c = &mut c[..width * to_rows];
            for inner in steps(depth, DEPTH) {
                let a = &a[inner.start / LANES * to_rows..inner.end / LANES * to_rows];
                let b = &group[inner.start * width..inner.end * width];
                gemm::nn(s, a, b, c, to_rows, inner.len(), inner.start > 0);
            }
            for (r, y) in y.chunks_exact_mut(c_out).enumerate() {
                let y = &mut y[columns.clone()];
                unpack_row(s, c, to_rows, r, y, 1.0);
                if let Some(bias) = then.bias {
                    y.iter_mut().zip(&bias[columns.clone()]).for_each(|(y, b)| *y += b);
                }
                if let Some(Input { x, activation }) = then.slope {
                    let x = &x[r * c_out..][columns.clone()];
                    for (y, x) in y.chunks_mut(LANES).zip(x.chunks(LANES)) {
                        store(s, s.mul(load(s, y), activation::slope(s, activation, load(s, x))), y);
                    }
                }
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
    /// The sums of `dy`, an output a lane.
    sums: &'a mut [Lanes],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Linear { c_in, c_out, .. }, of_group, chunks, packed, dy, first, dw, sums } = self;
        let (outputs, width) = (dw.len() / c_in, panels(c_in));
        let m = padded(outputs);
        let mut a = Scratch::new(panels(outputs) * CHUNK);
        let mut tree = Tree::default();
        for group in chunks.chunk_by(|a, b| a.start / of_group == b.start / of_group) {
            // Behind the products, the sums of `dy`.
            let mut sum = Scratch::new(width * m + panels(outputs));
            let (products, of_rows) = sum.split_at_mut(width * m);
            of_rows.fill([0.0; LANES]);
            for (i, rows) in group.iter().enumerate() {
                let a = &mut a[..panels(outputs) * rows.len()];
                pack(&dy[rows.start * c_out + first..], c_out, rows.len(), outputs, a, rows.len());
                gemm::tn(s, a, &packed[rows.start * width..rows.end * width], products, rows.len(), m, i > 0);
                for (sum, panel) in of_rows.iter_mut().zip(a.chunks_exact(rows.len())) {
                    let mut all = s.load(sum);
                    for dy in panel {
                        all = s.add(all, s.load(dy));
                    }
                    s.store(all, sum);
                }
            }
            tree.push(sum, |a: &mut Scratch, b| add_lanes(a, &b));
        }
        let total = tree.total(|a, b| add_lanes(a, &b)).expect("there are rows");
        for (o, dw) in dw.chunks_exact_mut(c_in).enumerate() {
            unpack_row(s, &total, m, o, dw, 1.0);
        }
        sums.copy_from_slice(&total[width * m..]);
    }
}
