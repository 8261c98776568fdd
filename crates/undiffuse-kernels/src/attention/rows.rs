//! The softmax of blocks of scores, and its gradient.
//!
//! Scores are in units of `ln 2`: a probability is `2^(score − largest)`, divided by the sum of its row.

use std::f32::consts::LOG2_E;

use crate::simd::{LANES, Lanes, POW2, Simd};

/// Queries at a time. The order of sums over queries does not depend on it.
pub(super) const BLOCK: usize = 3 * LANES;

/// A number for every query of a block.
pub(super) type Rows = [Lanes; BLOCK / LANES];

/// Multiplies every row by its factor.
#[inline(always)]
pub(super) fn multiply_rows<S: Simd>(s: S, x: &mut [Lanes], rows: usize, factors: &Rows) {
    for x in x.chunks_exact_mut(rows) {
        for (x, factor) in x.iter_mut().zip(factors.as_flattened()) {
            s.store(s.mul(s.load(x), s.splat(*factor)), x);
        }
    }
}

/// Makes the scores of columns beyond the last key the least of all.
#[inline(always)]
pub(super) fn hide<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, keys: usize) {
    if !keys.is_multiple_of(LANES) {
        let mut least = [0.0; LANES];
        least[keys % LANES..].fill(f32::NEG_INFINITY);
        let least = s.load(&least);
        for row in &mut scores[keys / LANES * rows..] {
            s.store(s.add(s.load(row), least), row);
        }
    }
}

/// Adds a number to the scores of every key, at least `least`; the scores beyond the last key become the least of all.
#[inline(always)]
pub(super) fn lift<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, bias: &[f32], least: f32) {
    for (panel, bias) in scores.chunks_exact_mut(rows).zip(bias.chunks(LANES)) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for (lane, &bias) in lanes.iter_mut().zip(bias) {
            *lane = if bias < least { least } else { bias } * LOG2_E;
        }
        let lanes = s.load(&lanes);
        for row in panel {
            s.store(s.add(s.load(row), lanes), row);
        }
    }
}

/// Makes the scores of keys after their query the least of all.
#[inline(always)]
pub(super) fn hide_later(scores: &mut [Lanes], rows: usize, first_query: usize, first_key: usize) {
    for (p, panel) in scores.chunks_exact_mut(rows).enumerate() {
        for (r, row) in panel.iter_mut().enumerate() {
            let seen = (first_query + r + 1).saturating_sub(first_key + p * LANES);
            if let Some(later) = row.get_mut(seen..) {
                later.fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// Rows that are worked on side by side.
const TILE: usize = 4;

/// The largest score of every row.
#[inline(always)]
pub(super) fn largest<S: Simd>(s: S, scores: &[Lanes], rows: usize) -> Rows {
    let mut out = [[0.0; LANES]; BLOCK / LANES];
    for r in (0..rows).step_by(TILE) {
        let mut largest = [s.splat(f32::NEG_INFINITY); TILE];
        for panel in scores.chunks_exact(rows) {
            let tile: &[Lanes; TILE] = panel[r..].first_chunk().expect("rows are a multiple of the tile");
            for i in 0..TILE {
                largest[i] = s.max(s.load(&tile[i]), largest[i]);
            }
        }
        for i in 0..TILE {
            out.as_flattened_mut()[r + i] = s.largest(largest[i]);
        }
    }
    out
}

/// The larger of two, elementwise.
#[inline(always)]
pub(super) fn larger<S: Simd>(s: S, a: &Rows, b: &Rows) -> Rows {
    let mut out = *a;
    for (out, b) in out.iter_mut().zip(b) {
        s.store(s.max(s.load(out), s.load(b)), out);
    }
    out
}

/// The largest score of rows has risen `from` one number `to` another: shrinks what was summed, the rows of `x` and
/// `sums`, and returns those with `more` added.
#[inline(always)]
pub(super) fn shrink<S: Simd>(
    s: S,
    [from, to]: [&Rows; 2],
    x: &mut [Lanes],
    rows: usize,
    sums: &Rows,
    more: &Rows,
) -> Rows {
    let (mut factors, mut out) = (*from, *more);
    for (factor, to) in factors.iter_mut().zip(to) {
        s.store(power_of_two(s, s.sub(s.load(factor), s.load(to))), factor);
    }
    multiply_rows(s, x, rows, &factors);
    for ((out, sums), factor) in out.iter_mut().zip(sums).zip(&factors) {
        s.store(s.mul_add(s.load(sums), s.load(factor), s.load(out)), out);
    }
    out
}

/// `1 / x`, elementwise.
#[inline(always)]
pub(super) fn inverses<S: Simd>(s: S, x: &Rows) -> Rows {
    x.map(|x| s.lanes(s.div(s.splat(1.0), s.load(&x))))
}

/// `a · b`, elementwise.
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, a: &Rows, b: &Rows) -> Rows {
    let mut out = *a;
    for (out, b) in out.iter_mut().zip(b) {
        s.store(s.mul(s.load(out), s.load(b)), out);
    }
    out
}

/// Turns scores into `2^(score − largest)` and returns the sum of every row.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, largest: &Rows) -> Rows {
    let mut sums = [[0.0; LANES]; BLOCK / LANES];
    for r in (0..rows).step_by(TILE) {
        let largest = tile_of(s, largest, r);
        let mut sum = [s.zero(); TILE];
        for panel in scores.chunks_exact_mut(rows) {
            let tile: &mut [Lanes; TILE] = panel[r..].first_chunk_mut().expect("rows are a multiple of the tile");
            for i in 0..TILE {
                let e = power_of_two(s, s.sub(s.load(&tile[i]), largest[i]));
                sum[i] = s.add(sum[i], e);
                s.store(e, &mut tile[i]);
            }
        }
        for i in 0..TILE {
            sums.as_flattened_mut()[r + i] = s.sum(sum[i]);
        }
    }
    sums
}

/// As [`exponentials`], and returns the sum of their products with `d` too.
#[inline(always)]
pub(super) fn exponentials_and_products<S: Simd>(
    s: S,
    scores: &mut [Lanes],
    d: &[Lanes],
    rows: usize,
    largest: &Rows,
) -> [Rows; 2] {
    let [mut sums, mut products] = [[[0.0; LANES]; BLOCK / LANES]; 2];
    for r in (0..rows).step_by(TILE) {
        let largest = tile_of(s, largest, r);
        let (mut sum, mut product) = ([s.zero(); TILE], [s.zero(); TILE]);
        for (panel, d) in scores.chunks_exact_mut(rows).zip(d.chunks_exact(rows)) {
            let tile: &mut [Lanes; TILE] = panel[r..].first_chunk_mut().expect("rows are a multiple of the tile");
            let d: &[Lanes; TILE] = d[r..].first_chunk().expect("as many rows");
            for i in 0..TILE {
                let e = power_of_two(s, s.sub(s.load(&tile[i]), largest[i]));
                sum[i] = s.add(sum[i], e);
                product[i] = s.mul_add(e, s.load(&d[i]), product[i]);
                s.store(e, &mut tile[i]);
            }
        }
        for i in 0..TILE {
            sums.as_flattened_mut()[r + i] = s.sum(sum[i]);
            products.as_flattened_mut()[r + i] = s.sum(product[i]);
        }
    }
    [sums, products]
}

/// Turns `d` into `e · inverse · (d − mean)`.
#[inline(always)]
pub(super) fn score_gradients<S: Simd>(s: S, e: &[Lanes], d: &mut [Lanes], rows: usize, [inverse, mean]: [&Rows; 2]) {
    for r in (0..rows).step_by(TILE) {
        let (inverse, mean) = (tile_of(s, inverse, r), tile_of(s, mean, r));
        for (e, d) in e.chunks_exact(rows).zip(d.chunks_exact_mut(rows)) {
            let e: &[Lanes; TILE] = e[r..].first_chunk().expect("rows are a multiple of the tile");
            let d: &mut [Lanes; TILE] = d[r..].first_chunk_mut().expect("as many rows");
            for i in 0..TILE {
                let p = s.mul(s.load(&e[i]), inverse[i]);
                s.store(s.mul(p, s.sub(s.load(&d[i]), mean[i])), &mut d[i]);
            }
        }
    }
}

/// The numbers of the rows of a tile, each in all lanes.
#[inline(always)]
fn tile_of<S: Simd>(s: S, rows: &Rows, first: usize) -> [S::V; TILE] {
    let mut out = [s.zero(); TILE];
    for i in 0..TILE {
        out[i] = s.splat(rows[(first + i) / LANES][(first + i) % LANES]);
    }
    out
}

/// `2ˣ` for `x` in `[−87, 0]`; below, the value at `−87`. Largest relative error `2e-7`.
///
/// With `x = n + r`, whole `n` and `|r| ≤ 1/2`, it is `2ⁿ` times the polynomial of Cephes' `exp2f` [Moshier, Cephes
/// Math Library 2.2].
#[inline(always)]
fn power_of_two<S: Simd>(s: S, x: S::V) -> S::V {
    // Nothing below is left beside a sum of at least 1; stopping there also keeps the products that follow away from
    // denormal numbers, which are slow. As the second argument of `max`, a NaN passes through.
    let x = s.max(s.splat(-87.0), x);
    let rounded = s.add(x, s.splat(POW2));
    let r = s.sub(x, s.sub(rounded, s.splat(POW2)));
    let mut p = s.splat(1.535_336_2e-4);
    for c in [1.339_887_4e-3, 9.618_437e-3, 5.550_332_4e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0] {
        p = s.mul_add(p, r, s.splat(c));
    }
    s.mul(p, s.pow2(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, dispatch};

    struct Apply<'a>(&'a Lanes);

    impl Kernel for Apply<'_> {
        type Output = Lanes;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Lanes {
            s.lanes(power_of_two(s, s.load(self.0)))
        }
    }

    #[test]
    fn powers_of_two_are_within_their_stated_error() {
        let mut worst = 0.0f64;
        for block in 0..100_000 {
            let mut x = [0.0; LANES];
            for (lane, x) in x.iter_mut().enumerate() {
                *x = -87.0 * ((block * LANES + lane) as f32 / 1_600_000.0);
            }
            for (x, y) in x.iter().zip(dispatch(Apply(&x))) {
                worst = worst.max((f64::from(y) / f64::from(*x).exp2() - 1.0).abs());
            }
        }
        assert!(worst < 2e-7, "worst relative error {worst:e}");
    }

    #[test]
    fn powers_of_two_stop_at_the_bottom_and_keep_nan() {
        let mut x = [f32::NEG_INFINITY; LANES];
        x[1] = f32::NAN;
        let y = dispatch(Apply(&x));
        assert_eq!(y[0], (-87.0f32).exp2());
        assert!(y[1].is_nan());
    }
}
