//! Convolution of any size as a matrix product over the taps of the filter. The rows of the product's right-hand side
//! are shifted views of the source planes (see [`planes`]), gathered for a few vectors at a time. Lanes are pixels.
//!
//! Both `y` and `dx` are such products. Seen from `x`, outputs step by the stride; seen from `y`, the pixels of `x`
//! fall into `stride²` classes, each of which meets its own taps and is a product of its own.

mod planes;
mod weight;

use super::{Bank, Conv2d, Direction};
use crate::blocks::{Block, ELEMENTWISE, Extent, for_each, planes_per_task, split, steps};
use crate::gemm;
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use planes::Lattice;
use std::ops::Range;
pub(super) use weight::backward_weight;

/// Numbers of the source planes of a task, about: a share of the second-level cache.
const STRIP: usize = 1 << 16;

/// Pixels multiplied at a time, about.
const SPAN: usize = 256;

/// Vectors of pixels gathered at a time.
const GATHERED: usize = 4;

/// A tap of the filter, and what it reads.
#[derive(Clone, Copy, Debug)]
struct Tap {
    /// Its place in the filter.
    index: usize,
    /// The lattice it reads, and from where on.
    lattice: usize,
    row: usize,
    column: usize,
}

/// The outputs of one class.
struct Class {
    taps: Vec<Tap>,
    /// Where they lie in the output image.
    to: Lattice,
}

/// A convolution as matrix products.
struct Plan {
    bank: Bank,
    /// Height and width of source images.
    source: (usize, usize),
    /// Height and width of output images.
    out: (usize, usize),
    /// What the source planes hold.
    lattices: Vec<Lattice>,
    classes: Vec<Class>,
    /// Outputs of a class, across.
    columns: usize,
    /// Rows and columns that source planes have beyond the outputs of a class.
    margin: (usize, usize),
}

impl Plan {
    fn new(shape: &Conv2d, direction: Direction) -> Self {
        let (kh, kw) = shape.kernel;
        let s = shape.stride;
        let [top, left] = [shape.pad[0] as isize, shape.pad[1] as isize];
        let margin = ((kh - 1) / s, (kw - 1) / s);
        let bank = direction.bank(shape);
        let all = |n: usize, m: usize| (0..n).flat_map(move |i| (0..m).map(move |j| (i, j)));
        let class = |(i, j): (usize, usize)| Lattice { step: s, origin: (i as isize - top, j as isize - left) };
        match direction {
            Direction::Forward => {
                let across = s.min(kw);
                let tap =
                    |(i, j)| Tap { index: i * kw + j, lattice: i % s * across + j % s, row: i / s, column: j / s };
                let to = Lattice { step: 1, origin: (0, 0) };
                Plan {
                    bank,
                    source: (shape.h, shape.w),
                    out: (shape.out_h(), shape.out_w()),
                    lattices: all(s.min(kh), across).map(class).collect(),
                    classes: vec![Class { taps: all(kh, kw).map(tap).collect(), to }],
                    columns: shape.out_w(),
                    margin,
                }
            }
            Direction::Data => {
                // Padded row i + s·u of the filter meets outputs u rows above those that row i meets.
                let taps = |(i, j): (usize, usize)| {
                    all(margin.0 + 1, margin.1 + 1)
                        .map(|(u, v)| ((i + s * u, j + s * v), (margin.0 - u, margin.1 - v)))
                        .filter(|((i, j), _)| *i < kh && *j < kw)
                        .map(|((i, j), (row, column))| Tap { index: i * kw + j, lattice: 0, row, column })
                        .collect()
                };
                Plan {
                    bank,
                    source: (shape.out_h(), shape.out_w()),
                    out: (shape.h, shape.w),
                    lattices: vec![Lattice { step: 1, origin: (-(margin.0 as isize), -(margin.1 as isize)) }],
                    classes: all(s, s).map(|at| Class { taps: taps(at), to: class(at) }).collect(),
                    columns: (shape.w + shape.pad[1] - 1) / s + 1,
                    margin,
                }
            }
        }
    }

    /// Columns of a source plane.
    fn pitch(&self) -> usize {
        self.columns + self.margin.1
    }

    /// Numbers of a source image.
    fn source_len(&self) -> usize {
        self.bank.ins * self.source.0 * self.source.1
    }

    /// Rows of the classes that cover the rows `from..to` of the output image.
    fn class_rows(&self, from: usize, to: usize) -> (usize, usize) {
        // The first class has the origin that lies highest.
        let Lattice { step, origin: (origin, _) } = self.classes[0].to;
        let row = |y: usize| (y as isize - origin) as usize / step;
        (row(from), row(to - 1) + 1)
    }

    /// How the output is cut: images, and rows of an image, of a task.
    fn task_size(&self) -> (usize, usize) {
        let of_row = self.lattices.len() * self.bank.ins * self.pitch();
        let (h, step) = (self.out.0, self.classes[0].to.step);
        let (first, end) = self.class_rows(0, h);
        let all_rows = end - first;
        let rows = (STRIP / of_row).saturating_sub(self.margin.0).max(1);
        let strips = all_rows.div_ceil(rows);
        let images = (STRIP / (of_row * (all_rows + self.margin.0))).max(1);
        (images, (all_rows.div_ceil(strips) * step).min(h))
    }

    /// The planes of a source image for rows `first..end` of the classes, `[lattice][channel][row][column]`.
    #[inline(always)]
    fn planes<'a, S: Simd>(
        &self,
        s: S,
        image: &'a [f32],
        first: usize,
        end: usize,
        copied: &'a mut [Lanes],
    ) -> Planes<'a> {
        let (h, w) = self.source;
        let (rows, pitch) = (end - first + self.margin.0, self.pitch());
        // The image itself serves if no vector of pixels reaches beyond its last row.
        let whole_vectors = w.is_multiple_of(LANES)
            || (end - first <= self.rows_at_once() && ((end - first) * w).is_multiple_of(LANES));
        let as_it_is = self.lattices == [Lattice::WHOLE] && pitch == w && self.margin == (0, 0) && whole_vectors;
        if as_it_is {
            return Planes { numbers: &image[first * w..], span: h * w };
        }
        let span = rows * pitch;
        let copied = copied.as_flattened_mut();
        for (lattice, planes) in self.lattices.iter().zip(copied.chunks_mut(self.bank.ins * span)) {
            let lattice = lattice.at_row(first, 0);
            for (plane, image) in planes.chunks_exact_mut(span).zip(image.chunks_exact(h * w)) {
                lattice.read(s, image, w, plane, pitch, pitch);
            }
        }
        // Vectors that begin at the last pixels reach beyond the last plane.
        copied[self.lattices.len() * self.bank.ins * span..].fill(0.0);
        Planes { numbers: copied, span }
    }

    /// A buffer for [`Self::planes`] of up to `rows` rows.
    fn planes_buffer(&self, rows: usize) -> Scratch {
        let numbers = self.lattices.len() * self.bank.ins * (rows + self.margin.0) * self.pitch();
        Scratch::new(panels(numbers) + 1)
    }

    /// Where each row of a product begins in planes of `span` numbers, filled up to a multiple of sixteen.
    fn offsets(&self, taps: &[Tap], span: usize) -> Vec<usize> {
        let pitch = self.pitch();
        let place = |c: usize, t: &Tap| (t.lattice * self.bank.ins + c) * span + t.row * pitch + t.column;
        let mut offsets: Vec<_> = (0..self.bank.ins).flat_map(|c| taps.iter().map(move |t| place(c, t))).collect();
        // The weights of what is filled up are zero; reading what is read anyway cannot bring in a foreign NaN.
        let first = offsets.first().copied();
        offsets.resize(padded(offsets.len()), first.unwrap_or(0));
        offsets
    }

    /// Rows of a class that are multiplied at a time.
    fn rows_at_once(&self) -> usize {
        (SPAN / self.pitch()).max(1)
    }

    /// Numbers from the first to the last output of some rows of a class.
    fn positions(&self, rows: usize) -> usize {
        rows * self.pitch() - self.margin.1
    }
}

/// Source planes.
struct Planes<'a> {
    numbers: &'a [f32],
    /// From a plane to the next.
    span: usize,
}

/// Writes `y`.
pub(super) fn forward(shape: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    convolve(&Plan::new(shape, Direction::Forward), x, weight, bias, y);
}

/// Writes `dx`.
pub(super) fn backward_data(shape: &Conv2d, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    convolve(&Plan::new(shape, Direction::Data), dy, weight, None, dx);
}

fn convolve(plan: &Plan, source: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let outs = plan.bank.outs;
    let pixels = plan.out.0 * plan.out.1;
    let batch = out.len() / (outs * pixels);
    let (images, out_rows) = plan.task_size();
    let planes = planes_per_task(outs, batch.div_ceil(images) * plan.out.0.div_ceil(out_rows));
    let rows = planes.next_multiple_of(4);
    // [task's planes][class][panel][row]
    let depths: Vec<usize> = plan.classes.iter().map(|c| panels(c.taps.len() * plan.bank.ins)).collect();
    let len = depths.iter().sum::<usize>() * rows;
    let mut packed = Scratch::new(outs.div_ceil(planes) * len);
    for_each(packed.chunks_mut(len).enumerate(), weight.len() * ELEMENTWISE, |(i, to)| {
        let mut rest = to;
        for (class, depth) in plan.classes.iter().zip(&depths) {
            let (to, after) = rest.split_at_mut(depth * rows);
            pack_weights(&plan.bank, &class.taps, weight, i * planes..outs.min((i + 1) * planes), to, rows);
            rest = after;
        }
    });
    let work = out.len() * plan.bank.ins * plan.classes.iter().map(|c| c.taps.len()).sum::<usize>();
    let blocks = split(out, outs, pixels, Extent { images, planes, pixels: out_rows * plan.out.1 });
    for_each(blocks.into_iter(), work, |block| {
        let weight = &packed[block.planes.start / planes * len..][..len];
        dispatch(Convolve { plan, source, weight, rows, bias, block });
    });
}

/// Packs the weights of some outputs and taps: `to` is `rows × (channel, tap)`.
fn pack_weights(bank: &Bank, taps: &[Tap], weight: &[f32], outs: Range<usize>, to: &mut [Lanes], rows: usize) {
    to.fill([0.0; LANES]);
    for (row, out) in outs.enumerate() {
        for c in 0..bank.ins {
            let from = &weight[out * bank.out_stride + c * bank.in_stride..];
            for (t, tap) in taps.iter().enumerate() {
                let r = c * taps.len() + t;
                to[r / LANES * rows + row][r % LANES] = from[tap.index];
            }
        }
    }
}

/// A block of the outputs of a convolution.
struct Convolve<'a> {
    plan: &'a Plan,
    source: &'a [f32],
    /// The block's weights, class after class, each `rows × taps`.
    weight: &'a [Lanes],
    rows: usize,
    bias: Option<&'a [f32]>,
    block: Block<'a>,
}

impl Kernel for Convolve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, source, weight, rows, bias, mut block } = self;
        let w = plan.out.1;
        let y = block.pixels.start / w;
        let (first, end) = plan.class_rows(y, block.pixels.end / w);
        let depth = plan.classes.iter().map(|c| padded(c.taps.len() * plan.bank.ins)).max().unwrap_or(0);
        let positions = plan.positions(plan.rows_at_once().min(end - first));
        let mut buffer = plan.planes_buffer(end - first);
        let mut gathered = Scratch::new(GATHERED * depth);
        let mut product = Scratch::new(panels(positions) * rows);
        let mut line = Scratch::new(panels(positions));
        for (image, parts) in block.images.zip(block.parts.chunks_mut(block.planes.len())) {
            let source = &source[image * plan.source_len()..][..plan.source_len()];
            let planes = plan.planes(s, source, first, end, &mut buffer);
            let mut weight = weight;
            for class in &plan.classes {
                let offsets = plan.offsets(&class.taps, planes.span);
                let (of_class, after) = weight.split_at(offsets.len() / LANES * rows);
                weight = after;
                for span in steps(end - first, plan.rows_at_once()) {
                    let from = &planes.numbers[span.start * plan.pitch()..];
                    let positions = plan.positions(span.len());
                    let product = &mut product[..panels(positions) * rows];
                    multiply(s, of_class, from, &offsets, &mut gathered, product, rows);
                    let to = class.to.at_row(first + span.start, y);
                    for (plane, part) in parts.iter_mut().enumerate() {
                        let bias = bias.map_or(0.0, |b| b[block.planes.start + plane]);
                        for (line, column) in line.iter_mut().zip(product.chunks_exact(rows)) {
                            *line = column[plane];
                        }
                        let line = &line.as_flattened()[..positions];
                        to.write(s, line, plan.pitch(), plan.columns, bias, part, w);
                    }
                }
            }
        }
    }
}

/// `product = weight · views`, where row `r` of the views is `from` from `offsets[r]` on.
#[inline(always)]
fn multiply<S: Simd>(
    s: S,
    weight: &[Lanes],
    from: &[f32],
    offsets: &[usize],
    gathered: &mut [Lanes],
    product: &mut [Lanes],
    rows: usize,
) {
    if offsets.is_empty() {
        product.fill([0.0; LANES]);
        return;
    }
    let depth = offsets.len();
    for (i, product) in product.chunks_mut(GATHERED * rows).enumerate() {
        let gathered = &mut gathered[..product.len() / rows * depth];
        let from = &from[i * GATHERED * LANES..];
        // Row by row, so that memory is read in runs.
        for (r, offset) in offsets.iter().enumerate() {
            let row = &from[*offset..];
            for (j, to) in gathered[r..].iter_mut().step_by(depth).enumerate() {
                *to = *row[j * LANES..].first_chunk().expect("planes end with a spare vector");
            }
        }
        gemm::nn(s, weight, gathered, product, rows, depth, false);
    }
}
