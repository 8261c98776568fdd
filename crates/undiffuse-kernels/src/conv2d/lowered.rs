//! Convolution as a matrix product with the image's shifted copies, `im2col` (Chellapilla et al. 2006).
//!
//! Row `r = (c, i, j)` of the lowered image holds, for every output pixel, the input that tap `(i, j)` of the filter
//! meets in channel `c`. Lanes are pixels, so planes are read and written as they lie in memory. The lowered image
//! exists for a strip of pixels at a time.

use super::Conv2d;
use crate::blocks::{Block, Extent, planes_per_task, split, steps};
use crate::gemm;
use crate::panel::{fill, pack, pack_transposed, padded, panels, store};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::sums::add_in_order;
use rayon::prelude::*;
use std::ops::Range;

/// Numbers of a strip of the lowered image, about: a share of the second-level cache.
const STRIP: usize = 1 << 16;

/// Pixels whose weight gradients are summed in one chain, about.
const CHUNK_PIXELS: usize = 1 << 11;

/// Pixels of a strip.
fn strip_pixels(shape: &Conv2d) -> usize {
    (STRIP / padded(shape.taps())).clamp(2 * LANES, 512) / (2 * LANES) * (2 * LANES)
}

/// `y = W · lowered(x) + b`
pub(super) fn forward(shape: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let (pixels, taps) = (shape.out_pixels(), shape.taps());
    let strip = strip_pixels(shape);
    let images = (strip / padded(pixels)).max(1);
    let planes = planes_per_task(shape.c_out, shape.batch.div_ceil(images) * pixels.div_ceil(strip));
    let rows = planes.next_multiple_of(4);
    let mut packed = Scratch::new(shape.c_out.div_ceil(planes) * panels(taps) * rows);
    packed.par_chunks_mut(panels(taps) * rows).zip(weight.par_chunks(planes * taps)).for_each(|(to, weight)| {
        pack(weight, taps, weight.len() / taps, taps, to, rows);
    });
    let blocks = split(y, shape.c_out, pixels, Extent { images, planes, pixels: strip });
    blocks.into_par_iter().for_each(|block| {
        let weight = &packed[block.planes.start / planes * panels(taps) * rows..][..panels(taps) * rows];
        dispatch(Forward { shape, x, weight, rows, bias, block });
    });
}

/// `dx = raised(Wᵀ · dy)`, where every lowered row is added back to where it came from.
pub(super) fn backward_data(shape: &Conv2d, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let taps = shape.taps();
    let of_plane = taps / shape.c_in;
    let planes = planes_per_task(shape.c_in, shape.batch);
    let rows = (planes * of_plane).next_multiple_of(4);
    let mut packed = Scratch::new(shape.c_in.div_ceil(planes) * panels(shape.c_out) * rows);
    packed.par_chunks_mut(panels(shape.c_out) * rows).enumerate().for_each(|(i, to)| {
        let first = i * planes * of_plane;
        let columns = (planes * of_plane).min(taps - first);
        dispatch(PackTransposed { src: &weight[first..], stride: taps, rows: shape.c_out, columns, to, to_rows: rows });
    });
    let blocks = split(dx, shape.c_in, shape.pixels(), Extent { images: 1, planes, pixels: shape.pixels() });
    blocks.into_par_iter().for_each(|block| {
        let len = panels(shape.c_out) * rows;
        let weight = &packed[block.planes.start / planes * len..][..len];
        dispatch(BackwardData { shape, dy, weight, rows, block });
    });
}

/// `dw = Σ_n dy · lowered(x)ᵀ`
pub(super) fn backward_weight(shape: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let taps = shape.taps();
    let rows = shape.c_out.next_multiple_of(4);
    let images = (CHUNK_PIXELS / shape.out_pixels()).max(1);
    let chunks = shape.batch.div_ceil(images);
    let shares = rayon::current_num_threads().div_ceil(chunks);
    let part = panels(taps).div_ceil(shares) * rows;
    let total = add_in_order(chunks, panels(taps) * rows, part, |chunk, first, to| {
        let images = chunk * images..shape.batch.min((chunk + 1) * images);
        dispatch(BackwardWeight { shape, x, dy, images, first_panel: first / rows, rows, to });
    });
    for (o, dw) in dw.chunks_exact_mut(taps).enumerate() {
        for (p, dw) in dw.chunks_mut(LANES).enumerate() {
            dw.copy_from_slice(&total[p * rows + o].0[..dw.len()]);
        }
    }
}

struct PackTransposed<'a> {
    src: &'a [f32],
    stride: usize,
    rows: usize,
    columns: usize,
    to: &'a mut [Lanes],
    to_rows: usize,
}

impl Kernel for PackTransposed<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack_transposed(s, self.src, self.stride, self.rows, self.columns, self.to, self.to_rows);
    }
}

struct Forward<'a> {
    shape: &'a Conv2d,
    x: &'a [f32],
    /// The block's planes of the weights: `rows × taps`.
    weight: &'a [Lanes],
    rows: usize,
    bias: Option<&'a [f32]>,
    block: Block<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, weight, rows, bias, mut block } = self;
        let taps = shape.taps();
        let (depth, strip) = (padded(taps), panels(block.pixels.len()));
        let mut lowered = Scratch::new(block.images.len() * strip * depth);
        let mut line = vec![0.0; block.pixels.len()];
        for (image, to) in block.images.clone().zip(lowered.chunks_exact_mut(strip * depth)) {
            for tap in 0..taps {
                lower(shape, x, image, tap, &block.pixels, &mut line);
                for (panel, chunk) in to.chunks_exact_mut(depth).zip(line.chunks(LANES)) {
                    fill(&mut panel[tap], chunk);
                }
            }
            for panel in to.chunks_exact_mut(depth) {
                panel[taps..].fill(Lanes::default());
            }
        }
        let mut product = Scratch::new(block.images.len() * strip * rows);
        gemm::nn(s, weight, &lowered, &mut product, rows, depth, false);
        let planes = block.planes.len();
        for (i, part) in block.parts.iter_mut().enumerate() {
            let (image, plane) = (i / planes, i % planes);
            let bias = s.splat(bias.map_or(0.0, |b| b[block.planes.start + plane]));
            for (p, to) in part.chunks_mut(LANES).enumerate() {
                let v = s.load(&product[(image * strip + p) * rows + plane].0);
                store(s, s.add(v, bias), to);
            }
        }
    }
}

struct BackwardData<'a> {
    shape: &'a Conv2d,
    dy: &'a [f32],
    /// The block's taps of the transposed weights: `rows × c_out`.
    weight: &'a [Lanes],
    rows: usize,
    block: Block<'a>,
}

impl Kernel for BackwardData<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, dy, weight, rows, mut block } = self;
        let (pixels, depth) = (shape.out_pixels(), padded(shape.c_out));
        let of_plane = shape.taps() / shape.c_in;
        let strip = strip_pixels(shape);
        let mut dy_p = Scratch::new(panels(strip) * depth);
        let mut lowered = Scratch::new(panels(strip) * rows);
        let mut line = vec![0.0; strip];
        let dy = &dy[block.images.start * shape.c_out * pixels..][..shape.c_out * pixels];
        block.parts.iter_mut().for_each(|part| part.fill(0.0));
        for span in steps(pixels, strip) {
            let width = panels(span.len());
            pack_pixels(dy, pixels, &span, &mut dy_p, depth);
            gemm::nn(s, weight, &dy_p[..width * depth], &mut lowered[..width * rows], rows, depth, false);
            for (plane, part) in block.parts.iter_mut().enumerate() {
                for tap in 0..of_plane {
                    let row = plane * of_plane + tap;
                    for (p, chunk) in line[..span.len()].chunks_mut(LANES).enumerate() {
                        store(s, s.load(&lowered[p * rows + row].0), chunk);
                    }
                    raise(shape, tap, &span, &line, part);
                }
            }
        }
    }
}

struct BackwardWeight<'a> {
    shape: &'a Conv2d,
    x: &'a [f32],
    dy: &'a [f32],
    images: Range<usize>,
    /// The panel of taps that `to` begins with.
    first_panel: usize,
    /// Rows of `to`: outputs.
    rows: usize,
    to: &'a mut [Lanes],
}

impl Kernel for BackwardWeight<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, dy, images, first_panel, rows, to } = self;
        let (pixels, taps) = (shape.out_pixels(), shape.taps());
        let strip = strip_pixels(shape);
        let mut dy_p = Scratch::new(panels(strip) * rows);
        let mut lowered = Scratch::new(to.len() / rows * strip);
        let mut lines = vec![0.0; LANES * strip];
        for image in images {
            let dy = &dy[image * shape.c_out * pixels..][..shape.c_out * pixels];
            for span in steps(pixels, strip) {
                let depth = padded(span.len());
                pack_pixels(dy, pixels, &span, &mut dy_p, rows);
                let lowered = &mut lowered[..to.len() / rows * depth];
                for (p, panel) in lowered.chunks_exact_mut(depth).enumerate() {
                    let first = (first_panel + p) * LANES;
                    let lanes = LANES.min(taps - first);
                    for (tap, line) in (first..first + lanes).zip(lines.chunks_exact_mut(strip)) {
                        lower(shape, x, image, tap, &span, &mut line[..span.len()]);
                    }
                    pack_transposed(s, &lines, strip, lanes, span.len(), panel, depth);
                }
                gemm::nn(s, &dy_p, lowered, to, rows, depth, true);
            }
        }
    }
}

/// Packs the pixels `span` of all planes: planes are rows, pixels are columns.
#[inline(always)]
fn pack_pixels(image: &[f32], pixels: usize, span: &Range<usize>, to: &mut [Lanes], to_rows: usize) {
    pack(&image[span.start..], pixels, image.len() / pixels, span.len(), to, to_rows);
}

/// Where output row `p` of tap `(i, j)` lies in the input: the first input pixel's index, as if the row were long
/// enough, and the columns that are inside of the image.
#[inline(always)]
fn source(shape: &Conv2d, tap: usize, out_row: usize, out_w: usize) -> Option<(usize, Range<usize>)> {
    let (i, j) = (tap / shape.kernel.1, tap % shape.kernel.1);
    let row = (out_row * shape.stride + i).checked_sub(shape.pad[0]).filter(|row| *row < shape.h)?;
    // columns q with 0 ≤ q·stride + j − left < w
    let first = shape.pad[1].saturating_sub(j).div_ceil(shape.stride);
    let end = (shape.w + shape.pad[1]).saturating_sub(j).div_ceil(shape.stride).min(out_w);
    if first >= end {
        return None;
    }
    Some((row * shape.w + first * shape.stride + j - shape.pad[1], first..end))
}

/// Calls `visit(out_row, columns, offset)` for the part of every output row that lies in the pixels `span`; `offset`
/// is where it begins in the span.
macro_rules! for_rows {
    ($span:expr, $out_w:expr, |$row:ident, $columns:ident, $offset:ident| $body:expr) => {
        let mut at = $span.start;
        while at < $span.end {
            let $row = at / $out_w;
            let end = $span.end.min(($row + 1) * $out_w);
            let $columns = at - $row * $out_w..end - $row * $out_w;
            let $offset = at - $span.start;
            $body;
            at = end;
        }
    };
}

/// Writes the pixels `span` of row `tap` of the lowered image.
#[inline(always)]
fn lower(shape: &Conv2d, x: &[f32], image: usize, tap: usize, span: &Range<usize>, line: &mut [f32]) {
    let of_plane = shape.kernel.0 * shape.kernel.1;
    let plane = &x[(image * shape.c_in + tap / of_plane) * shape.pixels()..][..shape.pixels()];
    let out_w = shape.out_w();
    if of_plane == 1 && shape.stride == 1 && shape.pad == [0; 4] {
        line.copy_from_slice(&plane[span.clone()]);
        return;
    }
    line.fill(0.0);
    for_rows!(span, out_w, |row, columns, offset| {
        if let Some((start, inside)) = source(shape, tap % of_plane, row, out_w) {
            let (first, end) = (columns.start.max(inside.start), columns.end.min(inside.end));
            if first < end {
                let from = &plane[start + (first - inside.start) * shape.stride..];
                let to = &mut line[offset + first - columns.start..][..end - first];
                if shape.stride == 1 {
                    to.copy_from_slice(&from[..end - first]);
                } else {
                    to.iter_mut().zip(from.iter().step_by(shape.stride)).for_each(|(to, from)| *to = *from);
                }
            }
        }
    });
}

/// Adds the pixels `span` of a lowered row back to the input plane they were read from.
#[inline(always)]
fn raise(shape: &Conv2d, tap: usize, span: &Range<usize>, line: &[f32], plane: &mut [f32]) {
    let out_w = shape.out_w();
    for_rows!(span, out_w, |row, columns, offset| {
        if let Some((start, inside)) = source(shape, tap, row, out_w) {
            let (first, end) = (columns.start.max(inside.start), columns.end.min(inside.end));
            if first < end {
                let to = &mut plane[start + (first - inside.start) * shape.stride..];
                let from = &line[offset + first - columns.start..][..end - first];
                to.iter_mut().step_by(shape.stride).zip(from).for_each(|(to, from)| *to += from);
            }
        }
    });
}
