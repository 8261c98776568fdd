//! The gradient of the weights: the left-hand side of the forward product, transposed, times the gradients.

use super::super::source::Source;
use super::super::{Conv2d, Direction};
use super::{Class, Plan, gather};
use crate::blocks::steps;
use crate::gemm;
use crate::panel::panels;
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::sums::add_in_order;
use std::ops::Range;

/// Pixels that are summed in one chain, about.
const CHUNK_PIXELS: usize = 1 << 11;

/// Writes `dw`.
pub(in super::super) fn backward_weight(shape: &Conv2d, x: &Source, dy: &[Lanes], dw: &mut [f32]) {
    let plan = Plan::new(shape, Direction::Forward);
    let class = &plan.classes[0];
    let depth = plan.depth_panels(class) * LANES;
    let outs = panels(shape.c_out);
    let images = (CHUNK_PIXELS / shape.out_pixels()).max(1);
    let chunks = shape.batch.div_ceil(images);
    let shares = rayon::current_num_threads().div_ceil(chunks);
    let part = outs.div_ceil(shares) * depth;
    let work = shape.batch * shape.out_pixels() * shape.c_out * shape.taps();
    let total = add_in_order(chunks, outs * depth, part, work, |chunk, first, to| {
        let images = chunk * images..shape.batch.min((chunk + 1) * images);
        dispatch(Accumulate { plan: &plan, class, x, dy, outs, images, first_panel: first / depth, depth, to });
    });
    let taps = class.taps.len();
    for (o, dw) in dw.chunks_exact_mut(shape.taps()).enumerate() {
        let from = &total[o / LANES * depth..][..depth];
        for (c, dw) in dw.chunks_exact_mut(taps).enumerate() {
            for (t, dw) in dw.iter_mut().enumerate() {
                *dw = from[plan.place(class, t, c)][o % LANES];
            }
        }
    }
}

/// Adds the products of some images to `to`: `[panel of outputs][depth]`.
struct Accumulate<'a> {
    plan: &'a Plan,
    class: &'a Class,
    x: &'a Source<'a>,
    dy: &'a [Lanes],
    /// Panels of `dy`.
    outs: usize,
    images: Range<usize>,
    /// The panel of outputs that `to` begins with.
    first_panel: usize,
    depth: usize,
    to: &'a mut [Lanes],
}

impl Kernel for Accumulate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, class, x, dy, outs, images, first_panel, depth, to } = self;
        let (h, w) = plan.out;
        let of_task = to.len() / depth;
        for image in images {
            for rows in steps(h, plan.rows_at_once()) {
                let pixels = rows.len() * w;
                let a_rows = pixels.next_multiple_of(4);
                let mut a = Scratch::new(depth / LANES * a_rows);
                gather(s, plan, class, x, image, &rows, &(0..w), &mut a, a_rows);
                let mut b = Scratch::new(of_task * a_rows);
                for (panel, b) in b.chunks_exact_mut(a_rows).enumerate() {
                    let from = &dy[(image * outs + first_panel + panel) * h * w..][rows.start * w..rows.end * w];
                    b[..pixels].copy_from_slice(from);
                    b[pixels..].fill([0.0; LANES]);
                }
                gemm::tn(s, &a, &b, to, a_rows, depth);
            }
        }
    }
}
