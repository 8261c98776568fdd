//! Two products of panel matrices (see [`crate::panel`]).
//!
//! Every element of a result is one chain of fused multiply-adds, in the order of the inner index, that starts from
//! zero or from what the result held. So its bits depend on nothing but its own row and column: not on the tile it
//! was computed in, and not on how the inner index was cut into passes, or successive calls of [`tn`] or of [`nn`] with `add`.
//!
//! `rows` must be a multiple of 4. Tiles are 12 rows × 2 panels where 24 accumulators fit the registers, 6 × 1
//! elsewhere; what remains is done in tiles of two thirds or a third of the rows.

use crate::blocks::steps;
use crate::panel::{padded, panels};
use crate::simd::{Kernel, LANES, Lanes, Simd};

/// Rows of B that one pass over the result meets: with a tile of A they leave room in a first-level cache of 32 KiB.
const DEPTH: usize = 256;

/// `C = A · B`, or `C += A · B` with `add`.
///
/// `a`: `rows × depth`, `b`: `depth × n`, `c`: `rows × n`, all in panels, those of `b` padded to a multiple of 16 rows, of
/// which the last are not read; `n` follows from the length of `c`.
#[inline(always)]
pub(crate) fn nn<S: Simd>(s: S, a: &[Lanes], b: &[Lanes], c: &mut [Lanes], rows: usize, depth: usize, add: bool) {
    // As a kernel of its own it is compiled once a level, not once a caller.
    s.vectorize(Nn { a, b, c, rows, depth, add });
}

struct Nn<'a> {
    a: &'a [Lanes],
    b: &'a [Lanes],
    c: &'a mut [Lanes],
    rows: usize,
    depth: usize,
    add: bool,
}

impl Kernel for Nn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, c, rows, depth, add } = self;
        let width = if S::WIDE { 2 } else { 1 };
        let of_panel = padded(depth);
        for (b, c) in b.chunks(width * of_panel).zip(c.chunks_mut(width * rows)) {
            for inner in steps(depth, DEPTH / width) {
                let add = add || inner.start > 0;
                let a = &a[inner.start / LANES * rows..panels(inner.end) * rows];
                let (inner, depth) = (inner.start..padded(inner.end), inner.len());
                if S::WIDE && c.len() == 2 * rows {
                    nn_strip(s, a, [&b[inner.clone()], &b[of_panel..][inner]], c, rows, depth, add);
                } else {
                    nn_strip(s, a, [&b[inner]], c, rows, depth, add);
                }
            }
        }
    }
}

/// All rows of `NV` panels of the result.
#[inline(always)]
fn nn_strip<S: Simd, const NV: usize>(
    s: S,
    a: &[Lanes],
    b: [&[Lanes]; NV],
    c: &mut [Lanes],
    rows: usize,
    depth: usize,
    add: bool,
) {
    let mut row = 0;
    while row < rows {
        let left = rows - row;
        row += match (S::WIDE, left) {
            (true, 12..) => nn_tile::<S, 12, NV>(s, a, b, c, [rows, row, depth], add),
            (true, 8..) => nn_tile::<S, 8, NV>(s, a, b, c, [rows, row, depth], add),
            (true, _) => nn_tile::<S, 4, NV>(s, a, b, c, [rows, row, depth], add),
            (false, 6..) => nn_tile::<S, 6, NV>(s, a, b, c, [rows, row, depth], add),
            (false, 4..) => nn_tile::<S, 4, NV>(s, a, b, c, [rows, row, depth], add),
            (false, _) => nn_tile::<S, 2, NV>(s, a, b, c, [rows, row, depth], add),
        };
    }
}

/// `MR` rows of `NV` panels of the result, in registers. Returns `MR`.
#[inline(always)]
fn nn_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    a: &[Lanes],
    b: [&[Lanes]; NV],
    c: &mut [Lanes],
    [rows, row, depth]: [usize; 3],
    add: bool,
) -> usize {
    let mut acc = [[s.zero(); NV]; MR];
    if add {
        load_tile(s, &mut acc, c, rows, row);
    }
    for (p, panel) in a.chunks_exact(rows).enumerate() {
        let a: &[Lanes; MR] = panel[row..].first_chunk().expect("rows are a multiple of the smallest tile");
        let mut blocks = [&[[0.0; LANES]; LANES]; NV];
        for j in 0..NV {
            blocks[j] = b[j][p * LANES..].first_chunk().expect("panels are padded");
        }
        for k in 0..LANES.min(depth - p * LANES) {
            let mut bv = [s.zero(); NV];
            for j in 0..NV {
                bv[j] = s.load(&blocks[j][k]);
            }
            for i in 0..MR {
                let x = s.splat(a[i][k]);
                for j in 0..NV {
                    acc[i][j] = s.mul_add(x, bv[j], acc[i][j]);
                }
            }
        }
    }
    store_tile(s, &acc, c, rows, row);
    MR
}

/// `C = Aᵀ · B`, or `C += Aᵀ · B` with `add`.
///
/// `a`: `rows × m`, `b`: `rows × n`, `c`: `m × n`, all in panels; `m` a multiple of 16; `n` follows from the length
/// of `c`.
#[inline(always)]
pub(crate) fn tn<S: Simd>(s: S, a: &[Lanes], b: &[Lanes], c: &mut [Lanes], rows: usize, m: usize, add: bool) {
    s.vectorize(Tn { a, b, c, rows, m, add });
}

struct Tn<'a> {
    a: &'a [Lanes],
    b: &'a [Lanes],
    c: &'a mut [Lanes],
    rows: usize,
    m: usize,
    add: bool,
}

impl Kernel for Tn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, c, rows, m, add } = self;
        let width = if S::WIDE { 2 } else { 1 };
        for (b, c) in b.chunks(width * rows).zip(c.chunks_mut(width * m)) {
            for (p, a) in a[..rows * (m / LANES)].chunks_exact(rows).enumerate() {
                if !S::WIDE {
                    tn_tile::<S, 6, 1>(s, a, 0, b, c, m, p * LANES, add);
                    tn_tile::<S, 6, 1>(s, a, 6, b, c, m, p * LANES + 6, add);
                    tn_tile::<S, 4, 1>(s, a, 12, b, c, m, p * LANES + 12, add);
                } else if c.len() == 2 * m {
                    tn_tile::<S, 8, 2>(s, a, 0, b, c, m, p * LANES, add);
                    tn_tile::<S, 8, 2>(s, a, 8, b, c, m, p * LANES + 8, add);
                } else {
                    tn_tile::<S, 8, 1>(s, a, 0, b, c, m, p * LANES, add);
                    tn_tile::<S, 8, 1>(s, a, 8, b, c, m, p * LANES + 8, add);
                }
            }
        }
    }
}

/// `MR` rows (columns `lane..lane + MR` of one panel of A) of `NV` panels of the result, in registers.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn tn_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    a: &[Lanes],
    lane: usize,
    b: &[Lanes],
    c: &mut [Lanes],
    m: usize,
    row: usize,
    add: bool,
) {
    let rows = a.len();
    let mut acc = [[s.zero(); NV]; MR];
    if add {
        load_tile(s, &mut acc, c, m, row);
    }
    let mut b_panels = [&b[..0]; NV];
    for (j, panel) in b_panels.iter_mut().enumerate() {
        *panel = &b[j * rows..][..rows];
    }
    for (r, a) in a.iter().enumerate() {
        let a: &[f32; MR] = a[lane..].first_chunk().expect("tiles lie within a panel");
        let mut bv = [s.zero(); NV];
        for j in 0..NV {
            bv[j] = s.load(&b_panels[j][r]);
        }
        for i in 0..MR {
            let x = s.splat(a[i]);
            for j in 0..NV {
                acc[i][j] = s.mul_add(x, bv[j], acc[i][j]);
            }
        }
    }
    store_tile(s, &acc, c, m, row);
}

#[inline(always)]
fn load_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut [[S::V; NV]; MR],
    c: &[Lanes],
    rows: usize,
    row: usize,
) {
    for j in 0..NV {
        let c: &[Lanes; MR] = c[j * rows + row..].first_chunk().expect("tiles lie within the result");
        for i in 0..MR {
            acc[i][j] = s.load(&c[i]);
        }
    }
}

#[inline(always)]
fn store_tile<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &[[S::V; NV]; MR],
    c: &mut [Lanes],
    rows: usize,
    row: usize,
) {
    for j in 0..NV {
        let c: &mut [Lanes; MR] = c[j * rows + row..].first_chunk_mut().expect("tiles lie within the result");
        for i in 0..MR {
            s.store(acc[i][j], &mut c[i]);
        }
    }
}
