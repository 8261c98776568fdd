//! Winograd's F(4×4, 3×3) for 3×3 convolutions of stride 1 and padding 1: a quarter of the products, at the price of
//! additions and about one more decimal digit of rounding error (largest error about `1e-5` of the root mean square).
//!
//! An image is cut into tiles of 4×4 outputs. Every tile's 6×6 inputs are transformed to 36 points; at each point the
//! tiles and the transformed filters are two matrices, multiplied; the products are transformed back.
//! A thread works on a strip of tiles at a time, of a size that its caches can hold.

mod tiles;
mod transform;
mod weight;

use super::{Bank, Conv2d, Direction};
use crate::blocks::{Block, ELEMENTWISE, Extent, for_each, planes_per_task, split, steps};
use crate::gemm;
use crate::panel::{load, padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use tiles::{Grid, Layout, POINTS, SIDE, Strip, inputs, outputs};
use transform::{filter, filter_columns};
pub(super) use weight::backward_weight;

/// Panels of output channels multiplied at a time.
const PAIR: usize = 2;

/// Transformed numbers of a strip, about: a share of the second-level cache.
const STRIP: usize = 1 << 17;

/// Whether this algorithm serves a pass over a convolution that transforms `channels` channels of the input: with fewer
/// than 12 too much of its vectors would be padding, and there is less for it to save.
pub(super) fn serves(shape: &Conv2d, channels: usize) -> bool {
    shape.kernel == (3, 3) && shape.stride == 1 && shape.pad == [1; 4] && channels >= 12
}

/// How an image is cut into strips: images, and rows of tiles, of a strip.
fn strip_size(grid: Grid, channels: usize) -> (usize, usize) {
    let tiles = (STRIP / (POINTS * padded(channels))).clamp(16, 64);
    let strips = grid.tiles().div_ceil(tiles).min(grid.down);
    ((tiles / grid.tiles()).max(1), grid.down.div_ceil(strips))
}

/// Writes `y`.
pub(super) fn forward(shape: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    convolve(shape, Direction::Forward, x, weight, bias, y);
}

/// Writes `dx`: a convolution of `dy` with the mirrored filters.
pub(super) fn backward_data(shape: &Conv2d, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    convolve(shape, Direction::Data, dy, weight, None, dx);
}

fn convolve(shape: &Conv2d, direction: Direction, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let Bank { ins: c_in, outs: c_out, .. } = direction.bank(shape);
    let grid = Grid::new(shape.h, shape.w);
    let depth = padded(c_in);
    let pair = PAIR * POINTS * depth;
    let (images, rows) = strip_size(grid, c_in);
    let strips = shape.batch.div_ceil(images) * grid.down.div_ceil(rows);
    let planes = planes_per_task(c_out, strips);
    let blocks = split(y, c_out, grid.pixels(), Extent { images, planes, pixels: rows * SIDE * grid.w });
    // What only one task needs, it transforms itself, a pair of panels at a time, and never leaves its cache.
    let shared = if strips > 1 { panels(c_out) } else { 0 };
    let mut filters = Scratch::new(shared * POINTS * depth);
    for_each(filters.chunks_mut(pair).enumerate(), shared * LANES * c_in * 9 * ELEMENTWISE, |(i, to)| {
        dispatch(Filters { shape, direction, weight, first_panel: i * PAIR, depth, to });
    });
    let filters = (strips > 1).then_some(&*filters);
    for_each(blocks.into_iter(), shape.batch * c_out * c_in * grid.tiles() * POINTS, |block| {
        dispatch(Convolve { shape, direction, grid, x, weight, filters, bias, block });
    });
}

/// Transforms the filters of up to [`PAIR`] panels of output channels: `to` is `[point][panel][depth]`.
struct Filters<'a> {
    shape: &'a Conv2d,
    direction: Direction,
    weight: &'a [f32],
    first_panel: usize,
    depth: usize,
    to: &'a mut [Lanes],
}

impl Kernel for Filters<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, direction, weight, first_panel, depth, to } = self;
        let Bank { outs, out_stride, ins, in_stride } = direction.bank(shape);
        let width = to.len() / (POINTS * depth);
        for panel in 0..width {
            let first = (first_panel + panel) * LANES;
            for c in 0..ins {
                let mut block = [s.zero(); LANES];
                for lane in 0..LANES.min(outs - first) {
                    // Nine are wanted; what follows them is read where there is something, and not used.
                    block[lane] = load(s, &weight[(first + lane) * out_stride + c * in_stride..]);
                }
                let taps = s.transpose(block);
                let mut g = [[s.zero(); 3]; 3];
                for tap in 0..9 {
                    g[tap / 3][tap % 3] = taps[if direction == Direction::Data { 8 - tap } else { tap }];
                }
                let u = filter_columns(s, g);
                for i in 0..6 {
                    let row = filter(s, u[i]);
                    for j in 0..6 {
                        s.store(row[j], &mut to[((6 * i + j) * width + panel) * depth + c]);
                    }
                }
            }
            for point in 0..POINTS {
                to[(point * width + panel) * depth..][ins..depth].fill([0.0; LANES]);
            }
        }
    }
}

/// A block of the outputs of a convolution.
struct Convolve<'a> {
    shape: &'a Conv2d,
    direction: Direction,
    grid: Grid,
    x: &'a [f32],
    weight: &'a [f32],
    /// All filters, transformed, if they are at hand.
    filters: Option<&'a [Lanes]>,
    bias: Option<&'a [f32]>,
    block: Block<'a>,
}

impl Kernel for Convolve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, direction, grid, x, weight, filters, bias, mut block } = self;
        let c_in = direction.bank(shape).ins;
        let strip = Strip::of_pixels(grid, &block.images, &block.pixels);
        let (rows, depth) = (strip.matrix_rows(), padded(c_in));
        let layout = Layout::new(panels(c_in), rows);
        let mut transformed = Scratch::new(layout.len());
        let mut slab = strip.slab(1);
        for panel in 0..panels(c_in) {
            inputs(s, &strip, x, c_in, panel, &mut slab, &mut transformed, layout, panel);
        }
        let products_layout = Layout::new(PAIR, rows);
        let mut products = Scratch::new(products_layout.len());
        let mut slab = Scratch::new(padded(block.pixels.len()));
        let mut own = Scratch::new(if filters.is_none() { PAIR * POINTS * depth } else { 0 });
        for pair in steps(panels(block.planes.len()), PAIR) {
            let (width, first_panel) = (pair.len(), block.planes.start / LANES + pair.start);
            let filters = match filters {
                Some(filters) => &filters[first_panel * POINTS * depth..][..width * POINTS * depth],
                None => {
                    let to = &mut own[..width * POINTS * depth];
                    s.vectorize(Filters { shape, direction, weight, first_panel, depth, to });
                    &own[..width * POINTS * depth]
                }
            };
            for (point, filters) in filters.chunks_exact(width * depth).enumerate() {
                let a = &transformed[layout.of_point(point, panels(c_in))];
                let c = &mut products[products_layout.of_point(point, width)];
                gemm::nn(s, a, filters, c, rows, depth, false);
            }
            for panel in 0..width {
                let channel = (pair.start + panel) * LANES;
                let first = block.planes.start + channel;
                let bias = bias.map_or(s.zero(), |b| s.load_or(&b[first..b.len().min(first + LANES)], 0.0));
                outputs(s, &strip, &products, products_layout, panel, bias, &mut slab, &mut block.parts, channel);
            }
        }
    }
}
