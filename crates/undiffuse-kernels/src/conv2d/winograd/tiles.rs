//! An image as tiles of 4×4 outputs, and the way between planes and tiles.
//!
//! Sixteen channels at a time, planes are turned into a *slab*: pixels in rows, channels in lanes. There every
//! transform works on whole vectors, and the zeros around an image are part of the slab.

use super::transform::{input, input_columns, output, output_columns, output_gradient, output_gradient_columns};
use crate::scratch::Scratch;
use crate::simd::{LANES, Lanes, Simd};
use std::ops::Range;

/// Points that a tile is multiplied at: 6 × 6.
pub(super) const POINTS: usize = 36;

/// Outputs of a tile, down and across.
pub(super) const SIDE: usize = 4;

/// The size of an image, in pixels and tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub h: usize,
    pub w: usize,
    /// Tiles across.
    pub across: usize,
    /// Tiles down.
    pub down: usize,
}

impl Grid {
    pub(super) fn new(h: usize, w: usize) -> Self {
        Self { h, w, across: w.div_ceil(SIDE), down: h.div_ceil(SIDE) }
    }

    pub(super) fn pixels(&self) -> usize {
        self.h * self.w
    }

    pub(super) fn tiles(&self) -> usize {
        self.across * self.down
    }
}

/// Tiles of the same rows of some images.
#[derive(Clone)]
pub(super) struct Strip {
    pub grid: Grid,
    pub images: Range<usize>,
    /// Rows of tiles.
    pub rows: Range<usize>,
}

impl Strip {
    /// The strip of the pixels `pixels` (whole rows) of some images.
    pub(super) fn of_pixels(grid: Grid, images: &Range<usize>, pixels: &Range<usize>) -> Self {
        let rows = pixels.start / grid.w / SIDE..(pixels.end / grid.w).div_ceil(SIDE);
        Self { grid, images: images.clone(), rows }
    }

    /// Tiles of one image.
    fn tiles_of_image(&self) -> usize {
        self.rows.len() * self.grid.across
    }

    /// Rows of a matrix that has one for every tile: a multiple of 4.
    pub(super) fn matrix_rows(&self) -> usize {
        (self.images.len() * self.tiles_of_image()).next_multiple_of(4)
    }

    /// Image rows of the outputs.
    pub(super) fn pixel_rows(&self) -> Range<usize> {
        self.rows.start * SIDE..(self.rows.end * SIDE).min(self.grid.h)
    }

    /// Positions `(first row, first column)` of the tiles of one image, in pixels from the first row of the strip.
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let across = self.grid.across;
        (0..self.rows.len()).flat_map(move |y| (0..across).map(move |x| (y * SIDE, x * SIDE)))
    }

    /// A slab with `halo` pixels around the strip, zero. [`fill_slab`] leaves what is outside of the image as it is.
    pub(super) fn slab(&self, halo: usize) -> Slab {
        let pitch = self.grid.across * SIDE + 2 * halo;
        let lanes = Scratch::zeroed((self.rows.len() * SIDE + 2 * halo) * pitch);
        let pixel_rows = self.pixel_rows();
        let inside = pixel_rows.start.saturating_sub(halo)..(pixel_rows.end + halo).min(self.grid.h);
        let above = inside.start + halo - pixel_rows.start;
        Slab { lanes, pitch, inside, first: above * pitch + halo }
    }
}

/// Pixels in rows, channels in lanes.
pub(super) struct Slab {
    lanes: Scratch,
    /// Lanes from a row to the next.
    pitch: usize,
    /// Image rows that the slab holds.
    inside: Range<usize>,
    /// Where the first pixel of them lies.
    first: usize,
}

/// Fills the slab with sixteen channels, of which `channel` is the first, of an image of `channels` planes.
#[inline(always)]
fn fill_slab<S: Simd>(s: S, grid: &Grid, image: &[f32], channel: usize, slab: &mut Slab) {
    let pixels = grid.pixels();
    let planes = &image[channel * pixels..];
    let channels = LANES.min(planes.len() / pixels);
    let (mut at, mut column) = (slab.first, 0);
    let end = slab.inside.end * grid.w;
    for pixel in (slab.inside.start * grid.w..end).step_by(LANES) {
        let mut block = [s.zero(); LANES];
        for c in 0..channels {
            // What lies beyond the plane is read, where there is something, and not used.
            let from = &planes[c * pixels + pixel..];
            block[c] = match from.first_chunk() {
                Some(whole) => s.load(whole),
                None => s.load_or(from, 0.0),
            };
        }
        let block = s.transpose(block);
        if pixel + LANES <= end && column + LANES <= grid.w {
            // within a row: no index depends on data, so nothing leaves the registers
            let to: &mut [Lanes; LANES] = slab.lanes[at..].first_chunk_mut().expect("a row of the slab");
            for i in 0..LANES {
                s.store(block[i], &mut to[i]);
            }
            at += LANES;
            column += LANES;
        } else {
            for v in &block[..LANES.min(end - pixel)] {
                if column == grid.w {
                    column = 0;
                    at += slab.pitch - grid.w;
                }
                s.store(*v, &mut slab.lanes[at]);
                at += 1;
                column += 1;
            }
        }
        if column == grid.w {
            column = 0;
            at += slab.pitch - grid.w;
        }
    }
}

/// Where a matrix of tiles is kept: `[point][panel][tile]`.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Lanes from a point to the next.
    pub point: usize,
    /// Rows (tiles, with padding) of a panel.
    pub rows: usize,
}

impl Layout {
    pub(super) fn new(panels: usize, rows: usize) -> Self {
        // One line more than needed, so that the 36 points of a tile do not all compete for the same places of a
        // cache when `panels * rows` is a power of two.
        Self { point: panels * rows + 1, rows }
    }

    /// Lanes of all points.
    pub(super) fn len(&self) -> usize {
        POINTS * self.point
    }

    /// One panel's tiles at one point.
    fn at(&self, point: usize, panel: usize) -> usize {
        point * self.point + panel * self.rows
    }

    /// All panels at one point.
    pub(super) fn of_point(&self, point: usize, panels: usize) -> Range<usize> {
        point * self.point..point * self.point + panels * self.rows
    }
}

/// Defines the function that reads tiles of `$side × $side` pixels from planes and writes them transformed.
macro_rules! tiles_from_planes {
    ($(#[$doc:meta])* $name:ident, $columns:ident, $rows:ident, $side:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name<S: Simd>(
            s: S,
            strip: &Strip,
            x: &[f32],
            channels: usize,
            panel: usize,
            slab: &mut Slab,
            to: &mut [Lanes],
            layout: Layout,
            to_panel: usize,
        ) {
            let len = channels * strip.grid.pixels();
            let mut tile = 0;
            for image in strip.images.clone() {
                fill_slab(s, &strip.grid, &x[image * len..][..len], panel * LANES, slab);
                for (row, column) in strip.positions() {
                    let mut d = [[s.zero(); $side]; $side];
                    for i in 0..$side {
                        let from = &slab.lanes[(row + i) * slab.pitch + column..][..$side];
                        for j in 0..$side {
                            d[i][j] = s.load(&from[j]);
                        }
                    }
                    let d = $columns(s, d);
                    for i in 0..6 {
                        let row = $rows(s, d[i]);
                        for j in 0..6 {
                            s.store(row[j], &mut to[layout.at(6 * i + j, to_panel) + tile]);
                        }
                    }
                    tile += 1;
                }
            }
            // rows that only fill the last tile of registers
            for point in 0..POINTS {
                to[layout.at(point, to_panel)..][tile..layout.rows].fill([0.0; LANES]);
            }
        }
    };
}

tiles_from_planes!(
    /// Sixteen channels of inputs (panel `panel` of `x`, of `channels` planes), transformed.
    inputs, input_columns, input, 6
);
tiles_from_planes!(
    /// Sixteen channels of gradients of outputs, transformed.
    output_gradients, output_gradient_columns, output_gradient, 4
);

/// Transforms products back and writes up to sixteen channels of outputs: `parts` is `[images][channels]`, of which
/// those from `channel` on are written.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn outputs<S: Simd>(
    s: S,
    strip: &Strip,
    products: &[Lanes],
    layout: Layout,
    from_panel: usize,
    bias: S::V,
    slab: &mut [Lanes],
    parts: &mut [&mut [f32]],
    channel: usize,
) {
    let w = strip.grid.w;
    let pixel_rows = strip.pixel_rows().len();
    let channels = parts.len() / strip.images.len();
    let mut tile = layout.at(0, from_panel);
    for parts in parts.chunks_exact_mut(channels) {
        for (row, column) in strip.positions() {
            let mut m = [[s.zero(); 6]; 6];
            for i in 0..6 {
                for j in 0..6 {
                    m[i][j] = s.load(&products[(6 * i + j) * layout.point + tile]);
                }
            }
            let m = output_columns(s, m);
            let columns = SIDE.min(w - column);
            for i in 0..SIDE.min(pixel_rows - row) {
                let y = output(s, m[i]);
                let to = &mut slab[(row + i) * w + column..][..columns];
                for j in 0..SIDE {
                    if j < columns {
                        s.store(s.add(y[j], bias), &mut to[j]);
                    }
                }
            }
            tile += 1;
        }
        for (block, pixel) in slab.chunks_exact(LANES).zip((0..).step_by(LANES)) {
            let mut v = [s.zero(); LANES];
            for i in 0..LANES {
                v[i] = s.load(&block[i]);
            }
            let v = s.transpose(v);
            for i in 0..LANES {
                if let Some(part) = parts.get_mut(channel + i) {
                    let to = &mut part[pixel..];
                    match to.first_chunk_mut() {
                        Some(whole) => s.store(v[i], whole),
                        None => s.store_some(v[i], to),
                    }
                }
            }
        }
    }
}
