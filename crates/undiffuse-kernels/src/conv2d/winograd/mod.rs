//! Winograd's F(4×4, 3×3) for 3×3 convolutions of stride 1 and padding 1: a quarter of the products, at the price of
//! additions and about one more decimal digit of rounding error (largest error about `1e-5` of the root mean square).
//!
//! An image is cut into tiles of 4×4 outputs. Every tile's 6×6 inputs are transformed to 36 points; at each point the
//! tiles and the transformed filters are two matrices, multiplied; the products are transformed back.
//! A thread works on a strip of tiles at a time, of a size that its caches can hold.

mod tiles;
mod transform;
mod weight;

use super::source::Source;
use super::{Bank, Conv2d, Direction, Epilogue};
use crate::blocks::{Block, ELEMENTWISE, Extent, for_each, panels_per_task, split, steps};
use crate::gemm;
use crate::panel::{load, padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use std::ops::Range;
use tiles::{Grid, Layout, POINTS, SIDE, Strip, Target, inputs, outputs};
use transform::{filter, filter_columns};
pub(super) use weight::backward_weight;

/// Panels of output channels multiplied at a time, at least.
const PAIR: usize = 2;

/// The same where the inputs of a strip are far larger than the second-level cache, and are read again for every time.
const WIDE: usize = 4;

/// Input channels whose filters a task transforms and multiplies at a time, where it does so for itself: with their share of
/// the inputs they fit the second-level cache. A multiple of sixteen; without influence on the result.
const OWN: usize = 64;

/// Input channels from which on a strip has [`TILES`] tiles: filters that fit no cache are read again for every strip.
const MANY: usize = 256;
const TILES: usize = 64;

/// Numbers of transformed filters from which on no cache holds them all: every task transforms those that it multiplies for
/// itself, and a strip has [`MORE_TILES`] tiles.
const LARGE: usize = 1 << 23;
const MORE_TILES: usize = 128;

/// Lanes of the transformed filters of so many panels, for each of so many input channels: `[point][panel][depth]`.
fn group_len(width: usize, depth: usize) -> usize {
    POINTS * point_len(width, depth)
}

/// Lanes from a point of the transformed filters to the next: one more than needed, as in [`Layout::new`].
fn point_len(width: usize, depth: usize) -> usize {
    width * depth + 1
}

/// Transformed numbers of a strip, about: a share of the second-level cache.
const STRIP: usize = 1 << 17;

/// Whether this algorithm serves a pass over a convolution that transforms `channels` channels of the input: with fewer
/// than 12 too much of its vectors would be padding, and there is less for it to save.
pub(super) fn serves(shape: &Conv2d, channels: usize) -> bool {
    shape.kernel == (3, 3) && shape.stride == 1 && shape.pad == [1; 4] && channels >= 12
}

/// How an image is cut into strips: images, and rows of tiles, of a strip.
fn strip_size(grid: Grid, channels: usize) -> (usize, usize) {
    strip_of(grid, (STRIP / (POINTS * padded(channels))).clamp(16, TILES))
}

/// The same for about so many tiles.
fn strip_of(grid: Grid, tiles: usize) -> (usize, usize) {
    let strips = grid.tiles().div_ceil(tiles).min(grid.down);
    ((tiles / grid.tiles()).max(1), grid.down.div_ceil(strips))
}

/// Writes `y`, or `dx`: a convolution of `dy` with the mirrored filters.
pub(super) fn convolve(
    shape: &Conv2d,
    direction: Direction,
    source: &Source,
    weight: &[f32],
    epilogue: &Epilogue,
    out: [&mut [Lanes]; 2],
) {
    let Bank { ins, outs, .. } = direction.bank(shape);
    let grid = Grid::new(shape.image_h(), shape.image_w());
    let halved = direction == Direction::Data && shape.upsample;
    let of_maps = match direction {
        Direction::Forward => [panels(outs), 0],
        Direction::Data => shape.c_in.map(panels),
    };
    let (map_w, map_pixels) = if halved { (shape.w, shape.h * shape.w) } else { (grid.w, grid.h * grid.w) };
    let depth = padded(ins);
    let large = POINTS * depth * padded(outs) > LARGE;
    let (images, rows) = match large {
        true => strip_of(grid, MORE_TILES),
        false if ins < MANY => strip_size(grid, ins),
        false => strip_of(grid, TILES),
    };
    let strips = shape.batch.div_ceil(images) * grid.down.div_ceil(rows);
    let own = large || strips == 1;
    let inputs = POINTS * images.min(shape.batch) * rows * grid.across * depth;
    let few = STRIP * if own { 16 } else { 2 };
    let width = if inputs > few { WIDE } else { PAIR };
    let group = group_len(width, depth);
    let of_task = panels_per_task(panels(outs), strips).next_multiple_of(width);
    let pixels = ((rows * SIDE) >> usize::from(halved)) * map_w;
    let blocks = split(out, of_maps, map_pixels, Extent { images, panels: of_task, pixels });
    // What a task transforms itself, a few panels and channels at a time, never leaves its cache.
    let shared = if own { 0 } else { panels(outs).div_ceil(width) };
    let mut filters = Scratch::new(shared * group);
    for_each(filters.chunks_mut(group).enumerate(), shared * width * LANES * ins * 9 * ELEMENTWISE, |(i, to)| {
        dispatch(Filters { shape, direction, weight, first_panel: i * width, width, channels: 0..ins, to });
    });
    let filters = (!own).then_some(&*filters);
    for_each(blocks.into_iter(), shape.batch * outs * ins * grid.tiles() * POINTS, |block| {
        let row = |pixel: usize| (pixel / map_w) << usize::from(halved);
        let rows = row(block.pixels.start) / SIDE..row(block.pixels.end).div_ceil(SIDE);
        let strip = Strip { grid, images: block.images.clone(), rows };
        dispatch(Convolve { shape, direction, strip, source, weight, width, filters, epilogue, halved, block });
    });
}

/// Transforms the filters of up to `width` panels of output channels, and of some input channels from a multiple of sixteen on.
struct Filters<'a> {
    shape: &'a Conv2d,
    direction: Direction,
    weight: &'a [f32],
    first_panel: usize,
    width: usize,
    channels: Range<usize>,
    to: &'a mut [Lanes],
}

impl Kernel for Filters<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, direction, weight, first_panel, width, channels: all, to } = self;
        let Bank { outs, out_stride, ins, in_stride } = direction.bank(shape);
        let depth = padded(all.len());
        let point_len = point_len(width, depth);
        let width = width.min(panels(outs) - first_panel);
        let mut taps = [[0.0; LANES]; 9 * LANES];
        for panel in 0..width {
            let first = (first_panel + panel) * LANES;
            let lanes = LANES.min(outs - first);
            for channels in steps(all.len(), LANES).map(|c| all.start + c.start..all.start + c.end) {
                match direction {
                    // The nine taps of sixteen channels follow each other: nine blocks of 16 × 16 to turn.
                    Direction::Forward => {
                        for (i, taps) in taps.chunks_exact_mut(LANES).enumerate() {
                            let at = channels.start * 9 + i * LANES;
                            let width = (ins * 9).saturating_sub(at).min(LANES);
                            if width == 0 {
                                break;
                            }
                            let mut block = [s.zero(); LANES];
                            for lane in 0..lanes {
                                block[lane] = load(s, &weight[(first + lane) * out_stride + at..][..width]);
                            }
                            for (to, v) in taps.iter_mut().zip(s.transpose(block)) {
                                s.store(v, to);
                            }
                        }
                    }
                    Direction::Data => {
                        for (c, taps) in channels.clone().zip(taps.chunks_exact_mut(9)) {
                            let mut block = [s.zero(); LANES];
                            for lane in 0..lanes {
                                // Nine are wanted; what follows them is read where there is something, and not used.
                                block[lane] = load(s, &weight[(first + lane) * out_stride + c * in_stride..]);
                            }
                            // The mirrored filter.
                            for (to, v) in taps.iter_mut().rev().zip(s.transpose(block)) {
                                s.store(v, to);
                            }
                        }
                    }
                }
                for (c, taps) in channels.zip(taps.chunks_exact(9)) {
                    let mut g = [[s.zero(); 3]; 3];
                    for tap in 0..9 {
                        g[tap / 3][tap % 3] = s.load(&taps[tap]);
                    }
                    let u = filter_columns(s, g);
                    for i in 0..6 {
                        let row = filter(s, u[i]);
                        for j in 0..6 {
                            s.store(row[j], &mut to[(6 * i + j) * point_len + panel * depth + c - all.start]);
                        }
                    }
                }
            }
            for point in 0..POINTS {
                to[point * point_len + panel * depth..][all.len()..depth].fill([0.0; LANES]);
            }
        }
    }
}

/// A block of the outputs of a convolution.
struct Convolve<'a> {
    shape: &'a Conv2d,
    direction: Direction,
    strip: Strip,
    source: &'a Source<'a>,
    weight: &'a [f32],
    /// Panels of output channels that are multiplied at a time.
    width: usize,
    /// All filters, transformed, if they are at hand.
    filters: Option<&'a [Lanes]>,
    epilogue: &'a Epilogue<'a>,
    halved: bool,
    block: Block<'a>,
}

impl Kernel for Convolve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, direction, strip, source, weight, width, filters, epilogue, halved, mut block } = self;
        let ins = direction.bank(shape).ins;
        let (rows, depth) = (strip.matrix_rows(), padded(ins));
        let layout = Layout::new(panels(ins), rows);
        let mut transformed = Scratch::new(layout.len());
        let mut slab = strip.slab(1);
        for panel in 0..panels(ins) {
            inputs(s, &strip, source, panel, &mut slab, &mut transformed, layout, panel);
        }
        let products_layout = Layout::new(width, rows);
        let mut products = Scratch::new(products_layout.len());
        let channels_at_once = if filters.is_some() { depth } else { OWN };
        let group_len = group_len(width, depth.min(channels_at_once));
        let mut own = Scratch::new(if filters.is_none() { group_len } else { 0 });
        for group in steps(block.panels.len(), width) {
            let first_panel = block.panels.start + group.start;
            for channels in steps(ins, channels_at_once) {
                let depth = padded(channels.len());
                let filters = match filters {
                    Some(filters) => &filters[first_panel / width * group_len..][..group_len],
                    None => {
                        let (channels, to) = (channels.clone(), &mut own[..]);
                        s.vectorize(Filters { shape, direction, weight, first_panel, width, channels, to });
                        &own
                    }
                };
                for (point, filters) in filters.chunks_exact(point_len(width, depth)).take(POINTS).enumerate() {
                    let a = &transformed[layout.of_point(point, panels(ins))][channels.start / LANES * rows..];
                    let c = &mut products[products_layout.of_point(point, group.len())];
                    let filters = &filters[..group.len() * depth];
                    gemm::nn(s, &a[..depth / LANES * rows], filters, c, rows, depth, channels.start > 0);
                }
            }
            let width = group.len();
            for panel in 0..width {
                let step = block.panels.len();
                let parts = &mut block.parts[group.start + panel..];
                let target = Target { parts, step, panel: first_panel + panel, halved };
                outputs(s, &strip, &products, products_layout, panel, epilogue, target);
            }
        }
    }
}
