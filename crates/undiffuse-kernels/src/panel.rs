//! The one layout of matrices: columns in panels of sixteen.
//!
//! A matrix of `rows × columns` is stored as `[columns / 16][rows][16]`: element `(r, c)` is lane `c % 16` of
//! `panels[(c / 16) * rows + r]`. Columns are padded with zeros to a multiple of 16. The number of `rows` of a buffer
//! may exceed those of the matrix; the rows beyond are zeros.

use crate::simd::{LANES, Lanes, Simd};

/// The number of panels for `columns`.
#[inline(always)]
pub(crate) fn panels(columns: usize) -> usize {
    columns.div_ceil(LANES)
}

/// `n` rounded up to a multiple of sixteen.
#[inline(always)]
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Copies up to sixteen numbers into `to`; the lanes beyond become zero.
#[inline(always)]
pub(crate) fn fill(to: &mut Lanes, from: &[f32]) {
    if let Some(whole) = from.first_chunk() {
        *to = *whole;
    } else {
        *to = [0.0; LANES];
        to[..from.len()].copy_from_slice(from);
    }
}

/// Copies the first lanes, up to sixteen, to `to`.
#[inline(always)]
pub(crate) fn spill(from: &Lanes, to: &mut [f32]) {
    if let Some(whole) = to.first_chunk_mut() {
        *whole = *from;
    } else {
        to.copy_from_slice(&from[..to.len()]);
    }
}

/// The sum of every lane, in an order that the length alone decides.
#[inline(always)]
pub(crate) fn sum<S: Simd>(s: S, x: &[Lanes]) -> S::V {
    let mut acc = [s.zero(); 4];
    for block in x.chunks(4) {
        for (acc, x) in acc.iter_mut().zip(block) {
            *acc = s.add(*acc, s.load(x));
        }
    }
    s.add(s.add(acc[0], acc[1]), s.add(acc[2], acc[3]))
}

/// Packs a row-major matrix: row `r` is `src[r * stride..][..columns]`. `to` has `to_rows ≥ rows` rows a panel.
#[inline(always)]
pub(crate) fn pack(src: &[f32], stride: usize, rows: usize, columns: usize, to: &mut [Lanes], to_rows: usize) {
    for r in 0..rows {
        let row = &src[r * stride..][..columns];
        for (p, chunk) in row.chunks(LANES).enumerate() {
            fill(&mut to[p * to_rows + r], chunk);
        }
    }
    for panel in to[..panels(columns) * to_rows].chunks_exact_mut(to_rows) {
        panel[rows..].fill([0.0; LANES]);
    }
}

/// Packs the transpose of a row-major matrix: row `r` of `src` becomes column `r`, which is lane `r % 16` of panel
/// `r / 16`. `to` has `to_rows ≥ columns` rows a panel.
#[inline(always)]
pub(crate) fn pack_transposed<S: Simd>(
    s: S,
    src: &[f32],
    stride: usize,
    rows: usize,
    columns: usize,
    to: &mut [Lanes],
    to_rows: usize,
) {
    for (p, panel) in to[..panels(rows) * to_rows].chunks_exact_mut(to_rows).enumerate() {
        let lanes = LANES.min(rows - p * LANES);
        for c in (0..columns).step_by(LANES) {
            let width = LANES.min(columns - c);
            let mut block = [s.zero(); LANES];
            for (lane, v) in block.iter_mut().enumerate().take(lanes) {
                let from = &src[(p * LANES + lane) * stride + c..][..width];
                *v = load(s, from);
            }
            let block = s.transpose(block);
            for (to, v) in panel[c..c + width].iter_mut().zip(block) {
                s.store(v, to);
            }
        }
        panel[columns..].fill([0.0; LANES]);
    }
}

/// Reads up to sixteen numbers; missing lanes are zero.
#[inline(always)]
pub(crate) fn load<S: Simd>(s: S, from: &[f32]) -> S::V {
    match from.first_chunk() {
        Some(whole) => s.load(whole),
        None => s.load_some(from),
    }
}

/// Writes up to sixteen numbers.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, v: S::V, to: &mut [f32]) {
    match to.first_chunk_mut() {
        Some(whole) => s.store(v, whole),
        None => s.store_some(v, to),
    }
}

/// Writes row `row` of a panel matrix to the row-major slice `to`, through `f(column, value)` for each sixteen.
#[inline(always)]
pub(crate) fn unpack_row<S: Simd>(s: S, from: &[Lanes], from_rows: usize, row: usize, to: &mut [f32], scale: f32) {
    let scale = s.splat(scale);
    for (p, chunk) in to.chunks_mut(LANES).enumerate() {
        let v = s.mul(s.load(&from[p * from_rows + row]), scale);
        store(s, v, chunk);
    }
}
