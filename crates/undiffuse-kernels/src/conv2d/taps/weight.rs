//! The gradient of the weights: `dw[o, r] = Σ dy[o, pixel] · view[r, pixel]`, where `view[r]` is the shifted source plane
//! that row `r` (a channel and a tap) of the forward product reads.

use super::planes::{Lattice, Size};
use super::{Conv2d, Direction, Plan};
use crate::blocks::steps;
use crate::gemm;
use crate::panel::{fill, padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch, flat_mut};
use crate::sums::add_in_order;
use std::ops::Range;

/// Pixels that are summed in one chain, about.
const CHUNK_PIXELS: usize = 1 << 11;

/// Writes `dw`.
pub(in super::super) fn backward_weight(shape: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let plan = Plan::new(shape, Direction::Forward);
    let taps = shape.taps();
    let rows = shape.c_out.next_multiple_of(4);
    let images = (CHUNK_PIXELS / shape.out_pixels()).max(1);
    let chunks = shape.batch.div_ceil(images);
    let shares = rayon::current_num_threads().div_ceil(chunks);
    let part = panels(taps).div_ceil(shares) * rows;
    let total = add_in_order(chunks, panels(taps) * rows, part, |chunk, first, to| {
        let images = chunk * images..shape.batch.min((chunk + 1) * images);
        dispatch(Accumulate { plan: &plan, x, dy, images, first_panel: first / rows, rows, to });
    });
    for (o, dw) in dw.chunks_exact_mut(taps).enumerate() {
        for (p, dw) in dw.chunks_mut(LANES).enumerate() {
            dw.copy_from_slice(&total[p * rows + o].0[..dw.len()]);
        }
    }
}

/// Adds the products of some images to `to`: `[panel of taps][output]`.
struct Accumulate<'a> {
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    images: Range<usize>,
    /// The panel of taps that `to` begins with.
    first_panel: usize,
    /// Rows of `to`: outputs.
    rows: usize,
    to: &'a mut [Lanes],
}

impl Kernel for Accumulate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, x, dy, images, first_panel, rows, to } = self;
        let (h, w) = plan.out;
        let outs = plan.bank.outs;
        let (at_once, strip) = plan.task_size();
        let taps = &plan.classes[0].taps;
        for group in steps(images.len(), at_once) {
            let group = images.start + group.start..images.start + group.end;
            let x = &x[group.start * plan.source_len()..group.end * plan.source_len()];
            let dy = &dy[group.start * outs * h * w..group.end * outs * h * w];
            for span in steps(h, strip) {
                let (planes, size) = plan.planes(x, group.len(), span.start, span.end);
                let offsets = plan.offsets(taps, size);
                let depth = padded(plan.positions(size, span.len()));
                let gradients = pack_gradients(dy, outs, (h, w), &span, size, rows, depth);
                let mut views = Scratch::new(to.len() / rows * depth);
                for (view, offsets) in views.chunks_exact_mut(depth).zip(offsets.chunks(LANES).skip(first_panel)) {
                    transpose_views(s, planes.numbers(), offsets, view);
                }
                gemm::nn(s, &gradients, &views, to, rows, depth, true);
            }
        }
    }
}

/// The rows `span` of gradients as `rows × depth`, in the places that their outputs have in the source planes, and zeros
/// elsewhere.
#[inline(always)]
fn pack_gradients(
    dy: &[f32],
    outs: usize,
    (h, w): (usize, usize),
    span: &Range<usize>,
    size: Size,
    rows: usize,
    depth: usize,
) -> Scratch {
    let whole = Lattice { step: 1, origin: (0, 0) };
    let of_image = size.rows * size.pitch;
    let mut line = Scratch::new(panels(size.images * of_image));
    let mut to = Scratch::zeroed(panels(depth) * rows);
    for o in 0..outs {
        let numbers = &mut flat_mut(&mut line)[..size.images * of_image];
        for (n, numbers) in numbers.chunks_exact_mut(of_image).enumerate() {
            let plane = &dy[(n * outs + o) * h * w..][span.start * w..span.end * w];
            whole.read(plane, w, numbers, size.pitch, w);
        }
        for (p, chunk) in numbers.chunks(LANES).take(panels(depth)).enumerate() {
            fill(&mut to[p * rows + o], chunk);
        }
    }
    to
}

/// Sixteen rows of the product's right-hand side as columns.
#[inline(always)]
fn transpose_views<S: Simd>(s: S, numbers: &[f32], offsets: &[usize], view: &mut [Lanes]) {
    for (block, at) in view.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
        let mut v = [s.zero(); LANES];
        for (v, offset) in v.iter_mut().zip(offsets) {
            *v = s.load(numbers[offset + at..].first_chunk().expect("planes end with a spare vector"));
        }
        for (to, v) in block.iter_mut().zip(s.transpose(v)) {
            s.store(v, &mut to.0);
        }
    }
}
