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
use crate::sums::add_in_order;
use std::ops::Range;

/// Tiles that are summed in one chain, about.
const CHUNK_TILES: usize = 512;

/// Writes `dw`.
pub(in super::super) fn backward_weight(shape: &Conv2d, x: &Source, dy: &Source, dw: &mut [f32]) {
    let grid = Grid::new(shape.image_h(), shape.image_w());
    let c_in = shape.all_in();
    let rows = padded(c_in);
    let pair = PAIR * POINTS * rows;
    // At least two chunks, so that two threads need not both transform all inputs.
    let images = (CHUNK_TILES / grid.tiles()).clamp(1, shape.batch.div_ceil(2));
    let chunks = shape.batch.div_ceil(images);
    let pairs = panels(shape.c_out).div_ceil(PAIR);
    let shares = rayon::current_num_threads().div_ceil(chunks);
    let part = pairs.div_ceil(shares) * pair;
    let work = shape.batch * grid.tiles() * POINTS * c_in * shape.c_out;
    let total = add_in_order(chunks, panels(shape.c_out) * POINTS * rows, part, work, |chunk, first, to| {
        let images = chunk * images..shape.batch.min((chunk + 1) * images);
        dispatch(Accumulate { shape, grid, x, dy, images, first_panel: first / pair * PAIR, to });
    });
    let work = dw.len() * ELEMENTWISE;
    for_each(dw.chunks_mut(PAIR * LANES * c_in * 9).zip(total.chunks(pair)), work, |(dw, from)| {
        dispatch(Finish { c_in, from, dw });
    });
}

/// Adds the products of some images' tiles to `to`: `[pair][point][panel][c_in]`, lanes are output channels.
struct Accumulate<'a> {
    shape: &'a Conv2d,
    grid: Grid,
    x: &'a Source<'a>,
    dy: &'a Source<'a>,
    images: Range<usize>,
    /// The panel of output channels that `to` begins with.
    first_panel: usize,
    to: &'a mut [Lanes],
}

impl Kernel for Accumulate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, grid, x, dy, images, first_panel, to } = self;
        let c_in = shape.all_in();
        let m = padded(c_in);
        let (at_once, strip_rows) = strip_size(grid, c_in);
        for group in steps(images.len(), at_once) {
            let group = images.start + group.start..images.start + group.end;
            for rows in steps(grid.down, strip_rows) {
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
                for (pair, to) in to.chunks_mut(PAIR * POINTS * m).enumerate() {
                    let width = to.len() / (POINTS * m);
                    for panel in 0..width {
                        let from = first_panel + pair * PAIR + panel;
                        output_gradients(s, &strip, dy, from, &mut slab, &mut d_transformed, d_layout, panel);
                    }
                    for (point, to) in to.chunks_exact_mut(width * m).enumerate() {
                        let a = &transformed[layout.of_point(point, panels(c_in))];
                        let b = &d_transformed[d_layout.of_point(point, width)];
                        gemm::tn(s, a, b, to, rows, m);
                    }
                }
            }
        }
    }
}

/// Transforms the sums of one pair of panels back to taps.
struct Finish<'a> {
    c_in: usize,
    from: &'a [Lanes],
    dw: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c_in, from, dw } = self;
        let m = padded(c_in);
        let width = from.len() / (POINTS * m);
        for (panel, dw) in dw.chunks_mut(LANES * c_in * 9).enumerate() {
            for c in 0..c_in {
                let mut u = [[s.zero(); 6]; 6];
                for i in 0..6 {
                    for j in 0..6 {
                        u[i][j] = s.load(&from[((6 * i + j) * width + panel) * m + c]);
                    }
                }
                let u = filter_gradient_columns(s, u);
                let mut taps = [s.zero(); LANES];
                for i in 0..3 {
                    let row = filter_gradient(s, u[i]);
                    for j in 0..3 {
                        taps[3 * i + j] = row[j];
                    }
                }
                let of_outputs = s.transpose(taps);
                for (dw, v) in dw.chunks_exact_mut(c_in * 9).zip(of_outputs) {
                    s.store_some(v, &mut dw[c * 9..(c + 1) * 9]);
                }
            }
        }
    }
}
