//! The gradient of the weights: `dw[o, r] = Σ dy[o, pixel] · view[r, pixel]`, where `view[r]` is the shifted source plane
//! that row `r` (a channel and a tap) of the forward product reads.

use super::planes::Lattice;
use super::{Conv2d, Direction, Plan};
use crate::blocks::steps;
use crate::gemm;
use crate::panel::{fill, padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
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
    let work = dy.len() * taps;
    let total = add_in_order(chunks, panels(taps) * rows, part, work, |chunk, first, to| {
        let images = chunk * images..shape.batch.min((chunk + 1) * images);
        dispatch(Accumulate { plan: &plan, x, dy, images, first_panel: first / rows, rows, to });
    });
    for (o, dw) in dw.chunks_exact_mut(taps).enumerate() {
        for (p, dw) in dw.chunks_mut(LANES).enumerate() {
            dw.copy_from_slice(&total[p * rows + o][..dw.len()]);
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
        let ((h, w), outs) = (plan.out, plan.bank.outs);
        let (at_once, strip) = plan.task_size();
        let most = padded(plan.positions(strip));
        let mut buffer = plan.planes_buffer(strip);
        let mut line = Scratch::new(panels(most + plan.margin.1));
        let mut gradients = Scratch::zeroed(at_once * panels(most) * rows);
        let mut views = Scratch::new(to.len() / rows * at_once * most);
        for group in steps(images.len(), at_once) {
            for span in steps(h, strip) {
                // The images of a group follow each other along the inner index.
                let of_image = padded(plan.positions(span.len()));
                let depth = group.len() * of_image;
                for (i, image) in (images.start + group.start..images.start + group.end).enumerate() {
                    let x = &x[image * plan.source_len()..][..plan.source_len()];
                    let planes = plan.planes(s, x, span.start, span.end, &mut buffer);
                    let offsets = plan.offsets(&plan.classes[0].taps, planes.span);
                    let panel_offsets = offsets.chunks(LANES).skip(first_panel);
                    for (view, offsets) in views.chunks_exact_mut(depth).zip(panel_offsets).take(to.len() / rows) {
                        transpose_views(s, planes.numbers, offsets, &mut view[i * of_image..][..of_image]);
                    }
                    let to = &mut gradients[panels(i * of_image) * rows..][..panels(of_image) * rows];
                    let line = &mut line.as_flattened_mut()[..span.len() * plan.pitch()];
                    for o in 0..outs {
                        let plane = &dy[(image * outs + o) * h * w..][span.start * w..span.end * w];
                        Lattice::WHOLE.read(s, plane, w, line, plan.pitch(), w);
                        for (to, chunk) in to.chunks_exact_mut(rows).zip(line.chunks(LANES)) {
                            fill(&mut to[o], chunk);
                        }
                    }
                }
                gemm::nn(s, &gradients, &views[..to.len() / rows * depth], to, rows, depth, true);
            }
        }
    }
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
            s.store(v, to);
        }
    }
}
