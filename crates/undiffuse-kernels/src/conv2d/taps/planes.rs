//! Source planes, laid out so that what a tap of the filter meets is a shifted copy of a plane.
//!
//! With stride `s`, tap `(i, j)` meets the pixels whose padded row is `i` and column `j` modulo `s`. Those pixels are
//! collected in a plane of their own; the tap then reads it from `(i / s, j / s)` on, for all outputs at once.

use crate::scratch::Scratch;
use crate::simd::{LANES, flat, flat_mut};
use std::ops::Range;

/// Which pixels of an image a plane holds: `(r, q)` of the plane is `(r · step + origin.0, q · step + origin.1)` of
/// the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lattice {
    pub step: usize,
    pub origin: (isize, isize),
}

/// Those of the first `count` points of a lattice that lie in `0..n`, and where the first of them lies.
#[inline(always)]
fn inside(step: usize, origin: isize, count: usize, n: usize) -> (Range<usize>, usize) {
    let first = if origin < 0 { origin.unsigned_abs().div_ceil(step) } else { 0 };
    let at = (origin + (first * step) as isize) as usize;
    let end = if at < n { first + (n - at).div_ceil(step) } else { first };
    (first.min(count)..end.min(count), at)
}

impl Lattice {
    /// The lattice that begins `rows` of its own rows and `skip` rows of the image later.
    pub(super) fn at_row(self, rows: usize, skip: usize) -> Self {
        let down = (rows * self.step) as isize - skip as isize;
        Self { origin: (self.origin.0 + down, self.origin.1), ..self }
    }

    /// Reads a plane of `columns` (of `pitch`) out of an image of width `w`, zeros where there is no image.
    #[inline(always)]
    pub(super) fn read(&self, image: &[f32], w: usize, plane: &mut [f32], pitch: usize, columns: usize) {
        plane.fill(0.0);
        let (rows, mut y) = inside(self.step, self.origin.0, plane.len() / pitch, image.len() / w);
        let (columns, x) = inside(self.step, self.origin.1, columns, w);
        if columns.is_empty() {
            return;
        }
        for r in rows {
            let to = &mut plane[r * pitch..][columns.clone()];
            let from = &image[y * w + x..(y + 1) * w];
            if self.step == 1 {
                to.copy_from_slice(&from[..to.len()]);
            } else {
                to.iter_mut().zip(from.iter().step_by(self.step)).for_each(|(to, from)| *to = *from);
            }
            y += self.step;
        }
    }

    /// Writes a plane of `columns` (of `pitch`) into an image of width `w`.
    #[inline(always)]
    pub(super) fn write(&self, plane: &[f32], pitch: usize, columns: usize, image: &mut [f32], w: usize) {
        let (rows, mut y) = inside(self.step, self.origin.0, plane.len() / pitch, image.len() / w);
        let (columns, x) = inside(self.step, self.origin.1, columns, w);
        if columns.is_empty() {
            return;
        }
        for r in rows {
            let from = &plane[r * pitch..][columns.clone()];
            let to = &mut image[y * w + x..(y + 1) * w];
            if self.step == 1 {
                to[..from.len()].copy_from_slice(from);
            } else {
                to.iter_mut().step_by(self.step).zip(from).for_each(|(to, from)| *to = *from);
            }
            y += self.step;
        }
    }
}

/// The size of planes: `images` blocks of `rows × pitch` follow each other in each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub images: usize,
    pub rows: usize,
    pub pitch: usize,
}

impl Size {
    /// From a plane to the next.
    pub(super) fn span(&self) -> usize {
        self.images * self.rows * self.pitch
    }
}

/// Planes `[lattice][channel][image][row][column]`, or an image that can be read as it is.
pub(super) enum Planes<'a> {
    Copied(Scratch),
    Direct(&'a [f32]),
}

impl Planes<'_> {
    pub(super) fn numbers(&self) -> &[f32] {
        match self {
            Planes::Copied(scratch) => flat(scratch),
            Planes::Direct(image) => image,
        }
    }
}

/// Copies planes out of `source`, which is `[images][channels][h][w]`.
#[inline(always)]
pub(super) fn copy(source: &[f32], channels: usize, w: usize, lattices: &[Lattice], size: Size) -> Planes<'static> {
    let span = size.span();
    let len = lattices.len() * channels * span;
    // Vectors that begin at the last pixels reach beyond the last plane.
    let mut scratch = Scratch::new((len + LANES).div_ceil(LANES));
    let to = flat_mut(&mut scratch);
    to[len..].fill(0.0);
    let plane = source.len() / (size.images * channels);
    for (lattice, to) in lattices.iter().zip(to.chunks_exact_mut(channels * span)) {
        for (c, to) in to.chunks_exact_mut(span).enumerate() {
            for (n, to) in to.chunks_exact_mut(size.rows * size.pitch).enumerate() {
                lattice.read(&source[(n * channels + c) * plane..][..plane], w, to, size.pitch, size.pitch);
            }
        }
    }
    Planes::Copied(scratch)
}
