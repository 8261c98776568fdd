//! Source planes, laid out so that what a tap of the filter meets is a shifted copy of a plane.
//!
//! With stride `s`, tap `(i, j)` meets the pixels whose padded row is `i` and column `j` modulo `s`. Those pixels are
//! collected in a plane of their own; the tap then reads it from `(i / s, j / s)` on, for all outputs at once.

use crate::panel::copy;
use crate::simd::Simd;
use std::ops::Range;

/// Which pixels of an image a plane holds: `(r, q)` of the plane is `(r · step + origin.0, q · step + origin.1)` of
/// the image.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// The image itself.
    pub(super) const WHOLE: Self = Self { step: 1, origin: (0, 0) };

    /// The lattice that begins `rows` of its own rows later, seen from `skip` rows further down the image.
    pub(super) fn at_row(self, rows: usize, skip: usize) -> Self {
        let down = (rows * self.step) as isize - skip as isize;
        Self { origin: (self.origin.0 + down, self.origin.1), ..self }
    }

    /// Reads a plane of `columns` (of `pitch`) out of an image of width `w`, zeros where there is no image.
    #[inline(always)]
    pub(super) fn read<S: Simd>(&self, s: S, image: &[f32], w: usize, plane: &mut [f32], pitch: usize, columns: usize) {
        plane.fill(0.0);
        let (rows, mut y) = inside(self.step, self.origin.0, plane.len() / pitch, image.len() / w);
        let (columns, x) = inside(self.step, self.origin.1, columns, w);
        if columns.is_empty() {
            return;
        }
        for r in rows {
            let to = &mut plane[r * pitch..][columns.clone()];
            let from = &image[y * w + x..(y + 1) * w];
            match self.step {
                1 => copy(s, from, 0.0, to),
                // of constant width, so that it becomes shuffles
                2 => {
                    let (last, to) = to.split_last_mut().expect("not empty");
                    *last = from[2 * to.len()];
                    to.iter_mut().zip(from.as_chunks::<2>().0).for_each(|(to, from)| *to = from[0]);
                }
                step => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
            }
            y += self.step;
        }
    }

    /// Writes a plane of `columns` (of `pitch`), plus `bias`, into an image of width `w`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write<S: Simd>(
        &self,
        s: S,
        plane: &[f32],
        pitch: usize,
        columns: usize,
        bias: f32,
        image: &mut [f32],
        w: usize,
    ) {
        let (rows, mut y) = inside(self.step, self.origin.0, plane.len().div_ceil(pitch), image.len() / w);
        let (columns, x) = inside(self.step, self.origin.1, columns, w);
        if columns.is_empty() {
            return;
        }
        for r in rows {
            let from = &plane[r * pitch..][columns.clone()];
            let to = &mut image[y * w + x..(y + 1) * w];
            if self.step == 1 {
                copy(s, from, bias, &mut to[..from.len()]);
            } else {
                to.iter_mut().step_by(self.step).zip(from).for_each(|(to, from)| *to = *from + bias);
            }
            y += self.step;
        }
    }
}
