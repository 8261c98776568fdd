//! The gradient of the filters: `dg = Gᵀ [Σ (Bᵀ d B) ⊙ (A dy Aᵀ)] G`, where the sum runs over tiles. At each of the 36
//! points the sum is the product of two matrices, transformed inputs and transformed gradients.

use super::tiles::{Grid, Layout, POINTS, Strip, inputs, output_gradients};
use super::transform::{filter_gradient, filter_gradient_columns};
use super::{Conv2d, PAIR, Source, strip_size};
use crate::blocks::{ELEMENTWISE, for_each, steps};
use crate::gemm;
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::tree::{GROUP, sum_groups};
use std::ops::Range;

/// Numbers of a filter.
const TAPS: usize = 9;

/// Writes `dw`, summed over pictures along the [`tree`](crate::tree).
pub(in super::super) fn backward_weight(shape: &Conv2d, x: &Source, dy: &Source, dw: &mut [f32]) {
    let grid = Grid::new(shape.image_h(), shape.image_w());
    let c_in = shape.all_in();
    let m = padded(c_in);
    let pair = PAIR * TAPS * m;
    let work = shape.batch * grid.tiles() * POINTS * c_in * shape.c_out;
    let total = sum_groups(shape.batch, panels(shape.c_out) * TAPS * m, pair, work, |images, first, to| {
        dispatch(Group { shape, grid, x, dy, images, first_panel: first / pair * PAIR, to });
    });
    let work = dw.len() * ELEMENTWISE;
    for_each(dw.chunks_mut(PAIR * LANES * c_in * TAPS).zip(total.chunks(pair)), work, |(dw, from)| {
        dispatch(Filters { c_in, from, dw });
    });
}

/// Writes the gradient of the filters from the images of a group to `to`: `[pair][tap][panel][c_in]`, lanes are output
/// channels.
struct Group<'a> {
    shape: &'a Conv2d,
    grid: Grid,
    x: &'a Source<'a>,
    dy: &'a Source<'a>,
    images: Range<usize>,
    /// The panel of output channels that `to` begins with.
    first_panel: usize,
    to: &'a mut [Lanes],
}

impl Kernel for Group<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, grid, x, dy, images, first_panel, to } = self;
        let c_in = shape.all_in();
        let m = padded(c_in);
        let (at_once, strip_rows) = strip_size(grid, c_in);
        // Strips of a group are of one size.
        let at_once = 1 << at_once.min(GROUP).ilog2();
        let pair = PAIR * POINTS * m;
        let mut sums = Scratch::new(to.len() / TAPS * POINTS); // [pair][point][panel][c_in]
        for group in steps(images.len(), at_once) {
            let group = images.start + group.start..images.start + group.end;
            for rows in steps(grid.down, strip_rows) {
                let begun = group.start > images.start || rows.start > 0;
                let strip = Strip { grid, images: group.clone(), rows };
                let rows = strip.matrix_rows();
                let layout = Layout::new(panels(c_in), rows);
                let mut transformed = Scratch::new(layout.len());
                let mut slab = strip.slab(1);
                for panel in 0..panels(c_in) {
                    inputs(s, &strip, x, panel, &mut slab, &mut transformed, layout, panel);
                }
                let d_layout = Layout::new(PAIR, rows);
                let mut d_transformed = Scratch::new(d_layout.len());
                let mut slab = strip.slab(0);
                for (i, sums) in sums.chunks_mut(pair).enumerate() {
                    let width = sums.len() / (POINTS * m);
                    for panel in 0..width {
                        let from = first_panel + i * PAIR + panel;
                        output_gradients(s, &strip, dy, from, &mut slab, &mut d_transformed, d_layout, panel);
                    }
                    for (point, sums) in sums.chunks_exact_mut(width * m).enumerate() {
                        let a = &transformed[layout.of_point(point, panels(c_in))];
                        let b = &d_transformed[d_layout.of_point(point, width)];
                        gemm::tn(s, a, b, sums, rows, m, begun);
                    }
                }
            }
        }
        for (to, sums) in to.chunks_mut(PAIR * TAPS * m).zip(sums.chunks(pair)) {
            to_taps(s, sums, to);
        }
    }
}

/// Transforms the sums of one pair of panels, `[point][panel][c_in]`, to `[tap][panel][c_in]`.
#[inline(always)]
fn to_taps<S: Simd>(s: S, sums: &[Lanes], to: &mut [Lanes]) {
    let lanes = to.len() / TAPS; // of the panels of a tap
    for c in 0..lanes {
        let mut u = [[s.zero(); 6]; 6];
        for i in 0..6 {
            for j in 0..6 {
                u[i][j] = s.load(&sums[(6 * i + j) * lanes + c]);
            }
        }
        let u = filter_gradient_columns(s, u);
        for i in 0..3 {
            let row = filter_gradient(s, u[i]);
            for j in 0..3 {
                s.store(row[j], &mut to[(3 * i + j) * lanes + c]);
            }
        }
    }
}

/// Writes the filters of one pair of panels from `[tap][panel][c_in]`.
struct Filters<'a> {
    c_in: usize,
    from: &'a [Lanes],
    dw: &'a mut [f32],
}

impl Kernel for Filters<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c_in, from, dw } = self;
        let (m, lanes) = (padded(c_in), from.len() / TAPS);
        for (panel, dw) in dw.chunks_mut(LANES * c_in * TAPS).enumerate() {
            for c in 0..c_in {
                let mut taps = [s.zero(); LANES];
                for tap in 0..TAPS {
                    taps[tap] = s.load(&from[tap * lanes + panel * m + c]);
                }
                let of_outputs = s.transpose(taps);
                for (dw, v) in dw.chunks_exact_mut(c_in * TAPS).zip(of_outputs) {
                    s.store_some(v, &mut dw[c * TAPS..(c + 1) * TAPS]);
                }
            }
        }
    }
}
