//! An image as tiles of 4×4 outputs, and the way between maps and tiles.
//!
//! Sixteen channels at a time, the pixels of a strip are copied to a *slab*, normalised and activated on the way. The
//! zeros around an image are part of the slab.

use super::transform::{input, input_columns, output, output_columns, output_gradient, output_gradient_columns};
use crate::clamp::clamp;
use crate::conv2d::Epilogue;
use crate::conv2d::source::Source;
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

/// Fills the slab with one panel of one image.
#[inline(always)]
fn fill_slab<S: Simd>(s: S, grid: &Grid, source: &Source, image: usize, panel: usize, slab: &mut Slab) {
    let from = source.panel(s, image, panel);
    let mut at = slab.first;
    for row in slab.inside.clone() {
        from.row(s, row, &mut slab.lanes[at..at + grid.w]);
        at += slab.pitch;
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

/// Defines the function that reads tiles of `$side × $side` pixels and writes them transformed.
macro_rules! tiles_of {
    ($(#[$doc:meta])* $name:ident, $columns:ident, $rows:ident, $side:literal) => {
        $(#[$doc])*
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name<S: Simd>(
            s: S,
            strip: &Strip,
            source: &Source,
            panel: usize,
            slab: &mut Slab,
            to: &mut [Lanes],
            layout: Layout,
            to_panel: usize,
        ) {
            let mut tile = 0;
            for image in strip.images.clone() {
                fill_slab(s, &strip.grid, source, image, panel, slab);
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

tiles_of!(
    /// One panel of inputs, transformed.
    inputs, input_columns, input, 6
);
tiles_of!(
    /// One panel of gradients of outputs, transformed.
    output_gradients, output_gradient_columns, output_gradient, 4
);

/// Where [`outputs`] writes.
pub(super) struct Target<'a, 'b> {
    /// The strip of one panel, of every image of the strip.
    pub parts: &'a mut [&'b mut [Lanes]],
    /// From a part of an image to that of the next.
    pub step: usize,
    /// The panel, counted in the output.
    pub panel: usize,
    /// Whether four outputs are added to one pixel: the gradient of a doubled image.
    pub halved: bool,
}

/// Transforms products back and writes outputs.
#[inline(always)]
pub(super) fn outputs<S: Simd>(
    s: S,
    strip: &Strip,
    products: &[Lanes],
    layout: Layout,
    from_panel: usize,
    epilogue: &Epilogue,
    target: Target<'_, '_>,
) {
    let w = strip.grid.w;
    let pixel_rows = strip.pixel_rows();
    let mut tile = layout.at(0, from_panel);
    let ends = epilogue.then.ends(s);
    for (image, part) in strip.images.clone().zip(target.parts.iter_mut().step_by(target.step)) {
        let offset = s.load(epilogue.offset(image, target.panel));
        let residual = epilogue.residual(image, target.panel).map(|r| &r[pixel_rows.start * w..]);
        for (row, column) in strip.positions() {
            let mut m = [[s.zero(); 6]; 6];
            for i in 0..6 {
                for j in 0..6 {
                    m[i][j] = s.load(&products[(6 * i + j) * layout.point + tile]);
                }
            }
            tile += 1;
            let m = output_columns(s, m);
            let (rows, columns) = (SIDE.min(pixel_rows.len() - row), SIDE.min(w - column));
            if target.halved {
                for i in (0..rows).step_by(2) {
                    let (above, below) = (output(s, m[i]), output(s, m[i + 1]));
                    let to = &mut part[(row + i) / 2 * (w / 2) + column / 2..][..columns / 2];
                    for j in 0..SIDE / 2 {
                        if j < to.len() {
                            let above = s.add(above[2 * j], above[2 * j + 1]);
                            s.store(s.add(above, s.add(below[2 * j], below[2 * j + 1])), &mut to[j]);
                        }
                    }
                }
                continue;
            }
            for i in 0..SIDE {
                if i >= rows {
                    break;
                }
                let y = output(s, m[i]);
                let at = (row + i) * w + column;
                let to = &mut part[at..][..columns];
                for j in 0..SIDE {
                    if j < columns {
                        let y = s.add(y[j], offset);
                        let y = if let Some(r) = residual { s.add(y, s.load(&r[at + j])) } else { y };
                        s.store(clamp(s, ends, y), &mut to[j]);
                    }
                }
            }
        }
    }
}
