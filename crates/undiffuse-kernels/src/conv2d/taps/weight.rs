//! The gradient of the weights: the left-hand side of the forward product, transposed, times the gradients.

use super::super::source::Source;
use super::super::{Conv2d, Direction};
use super::{Class, Plan, gather};
use crate::blocks::steps;
use crate::gemm;
use crate::panel::panels;
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::tree::sum_groups;
use std::ops::Range;

/// Writes `dw`, summed over pictures along the [`tree`](crate::tree).
pub(in super::super) fn backward_weight(shape: &Conv2d, x: &Source, dy: &[Lanes], dw: &mut [f32]) {
    let plan = Plan::new(shape, Direction::Forward);
    let class = &plan.classes[0];
    let depth = plan.depth_panels(class) * LANES;
    let outs = panels(shape.c_out);
    let work = shape.batch * shape.out_pixels() * shape.c_out * shape.taps();
    let total = sum_groups(shape.batch, outs * depth, depth, work, |images, first, to| {
        dispatch(Group { plan: &plan, class, x, dy, outs, images, first_panel: first / depth, depth, to });
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

/// Writes the products of the images of a group to `to`: `[panel of outputs][depth]`.
struct Group<'a> {
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

impl Kernel for Group<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, class, x, dy, outs, images, first_panel, depth, to } = self;
        let (h, w) = plan.out;
        let of_task = to.len() / depth;
        let first = images.start;
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
                let begun = image > first || rows.start > 0;
                gemm::tn(s, &a, &b, to, a_rows, depth, begun);
            }
        }
    }
}
