//! Noise without state: every random number is a function of `(seed, stream, index)`.
//!
//! The generator is Philox4x32-10 \[Salmon11\]: a keyed bijection of 128-bit counters that passes BigCrush.
//! There is nothing to save, nothing to share between threads and no order in which numbers must be drawn: image `k`
//! of a batch and image `k` alone get the same noise.
//!
//! Normals are formed in `f64` with the `libm` crate rather than the platform's mathematics library, so that they have
//! the same bits everywhere.

use std::f64::consts::TAU;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox4x32-10: four random words from a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [high0, low0] = wide_product(MULTIPLIERS[0], counter[0]);
        let [high1, low1] = wide_product(MULTIPLIERS[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The high and low words of a 64-bit product.
fn wide_product(a: u32, b: u32) -> [u32; 2] {
    let [low, high] = words(u64::from(a) * u64::from(b));
    [high, low]
}

/// The low and high words.
fn words(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

/// The block at `index` of a stream: the seed is the key, index and stream are the counter.
fn block(seed: u64, stream: u64, index: u64) -> [u32; 4] {
    let ([i0, i1], [s0, s1]) = (words(index), words(stream));
    philox4x32([i0, i1, s0, s1], words(seed))
}

/// 64 random bits.
pub fn bits(seed: u64, stream: u64, index: u64) -> u64 {
    let [a, b, ..] = block(seed, stream, index);
    u64::from(a) | u64::from(b) << 32
}

/// A uniform number in the open interval (0, 1), one of 2⁵² equally spaced ones.
pub fn uniform(seed: u64, stream: u64, index: u64) -> f64 {
    ((bits(seed, stream, index) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// A uniform integer below `n`; 0 for `n = 0`. The bias is below `n / 2⁶⁴`.
pub fn below(seed: u64, stream: u64, index: u64, n: u64) -> u64 {
    ((u128::from(bits(seed, stream, index)) * u128::from(n)) >> 64) as u64
}

/// Fills `out` with standard normals: elements `start..start + out.len()` of the stream.
///
/// Element `k` depends on `(seed, stream, k)` alone, so a tensor may be filled in any pieces. By Box and Muller's
/// method from 32-bit uniforms, hence bounded by 6.8 [Box58, Eq. 1].
pub fn normal(seed: u64, stream: u64, start: u64, out: &mut [f32]) {
    let (mut index, mut out) = (start, out);
    while !out.is_empty() {
        let skip = (index % 4) as usize;
        let take = (4 - skip).min(out.len());
        let (now, later) = out.split_at_mut(take);
        now.copy_from_slice(&four_normals(block(seed, stream, index / 4))[skip..skip + take]);
        (index, out) = (index + take as u64, later);
    }
}

fn four_normals([a, b, c, d]: [u32; 4]) -> [f32; 4] {
    let ([x, y], [z, w]) = (box_muller(a, b), box_muller(c, d));
    [x, y, z, w]
}

fn box_muller(a: u32, b: u32) -> [f32; 2] {
    let unit = |word: u32| (f64::from(word) + 0.5) / (1u64 << 32) as f64;
    let radius = libm::sqrt(-2.0 * libm::log(unit(a)));
    let (sin, cos) = libm::sincos(TAU * unit(b));
    [(radius * cos) as f32, (radius * sin) as f32]
}

/// The numbers `0..n` in a random order that depends on `(seed, stream)` alone (Fisher and Yates).
pub fn shuffled(seed: u64, stream: u64, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, below(seed, stream, i as u64, i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors for philox4x32 with 10 rounds in Random123's `tests/kat_vectors`.
    #[test]
    fn random123_known_answers() {
        let known = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, words) in known {
            assert_eq!(philox4x32(counter, key), words);
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let mut whole = [0.0; 37];
        normal(7, 3, 0, &mut whole);
        for (start, len) in [(0, 1), (1, 2), (3, 9), (5, 32), (36, 1)] {
            let mut piece = vec![0.0; len];
            normal(7, 3, start as u64, &mut piece);
            assert_eq!(piece, whole[start..start + len]);
        }
    }

    #[test]
    fn streams_and_seeds_differ() {
        let first = |seed, stream| {
            let mut out = [0.0; 4];
            normal(seed, stream, 0, &mut out);
            out
        };
        assert_ne!(first(0, 0), first(0, 1));
        assert_ne!(first(0, 0), first(1, 0));
        assert_ne!(first(0, 0), first(1 << 32, 0));
        assert_ne!(first(0, 0), first(0, 1 << 32));
    }

    /// Mean, variance and fourth moment within five standard errors, and neighbours uncorrelated.
    #[test]
    fn normals_have_normal_moments() {
        let n = 1 << 20;
        let mut z = vec![0.0f32; n];
        normal(42, 0, 0, &mut z);
        let moment = |p: i32| z.iter().map(|z| f64::from(*z).powi(p)).sum::<f64>() / n as f64;
        let error = |variance: f64| 5.0 * (variance / n as f64).sqrt();
        assert!(moment(1).abs() < error(1.0));
        assert!((moment(2) - 1.0).abs() < error(2.0));
        assert!(moment(3).abs() < error(15.0));
        assert!((moment(4) - 3.0).abs() < error(96.0));
        for lag in 1..=4 {
            let together = z.windows(lag + 1).map(|w| f64::from(w[0]) * f64::from(w[lag])).sum::<f64>() / n as f64;
            assert!(together.abs() < error(1.0), "lag {lag}: {together}");
        }
        assert!(z.iter().all(|z| z.abs() < 6.8));
    }

    /// Chi-squared over 64 cells, 63 degrees of freedom: 120 is beyond the 99.99th percentile.
    #[test]
    fn uniforms_and_integers_are_even() {
        let n = 64 * 1000;
        let mut cells = [[0u32; 64]; 2];
        for i in 0..n {
            let u = uniform(1, 2, i);
            assert!(0.0 < u && u < 1.0);
            cells[0][(u * 64.0) as usize] += 1;
            cells[1][below(1, 3, i, 64) as usize] += 1;
        }
        for counts in cells {
            let chi2: f64 = counts.iter().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
            assert!((20.0..120.0).contains(&chi2), "{chi2}");
        }
    }

    #[test]
    fn shuffles_are_permutations_and_even() {
        let n = 257;
        let mut order = shuffled(5, 0, n);
        assert_ne!(order, shuffled(5, 1, n));
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..n));
        assert!(shuffled(5, 0, 0).is_empty());
        // Each of the 6 orders of 3 things about 1000 times in 6000.
        let mut counts = std::collections::HashMap::new();
        (0..6000).for_each(|s| *counts.entry(shuffled(9, s, 3)).or_insert(0) += 1);
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
