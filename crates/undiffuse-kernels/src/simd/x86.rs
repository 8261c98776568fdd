//! AVX2 + FMA and AVX-512F.
//!
//! # Safety
//!
//! Every intrinsic here needs only the instructions named by its token. The tokens [`Avx2`] and [`Avx512`] are built
//! by `detect` alone, after asking the CPU, so whoever holds one may use them. Loads and stores go through
//! `&[f32; 16]`, which is as many bytes as they touch, and need no alignment.

use super::{Kernel, LANES, Simd};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Proof that the CPU has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx2 {
    /// Asks the CPU.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl Avx512 {
    /// Asks the CPU.
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

/// Defines a method as one intrinsic on the whole vector (AVX-512).
macro_rules! whole {
    ($($name:ident($($arg:ident),*) = $intrinsic:ident;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> Self::V {
            // SAFETY: `self` proves AVX-512F.
            unsafe { $intrinsic($($arg),*) }
        }
    )* };
}

/// Defines a method as one intrinsic on each half of the vector (AVX2).
macro_rules! halves {
    ($($name:ident($($arg:ident),*) = $intrinsic:ident;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> Self::V {
            // SAFETY: `self` proves AVX2 and FMA.
            unsafe { [$intrinsic($($arg[0]),*), $intrinsic($($arg[1]),*)] }
        }
    )* };
}

impl Simd for Avx512 {
    type V = __m512;
    const WIDE: bool = true;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f")]
        fn compiled<K: Kernel>(s: Avx512, kernel: K) -> K::Output {
            kernel.run(s)
        }
        // SAFETY: `self` proves AVX-512F.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        // SAFETY: `self` proves AVX-512F; the array holds the 64 bytes that are read.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX-512F; the array holds the 64 bytes that are written.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::V {
        // SAFETY: `self` proves AVX-512F; only the lanes of the mask are read, which `from` holds.
        unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    fn store_some(self, v: Self::V, to: &mut [f32]) {
        // SAFETY: `self` proves AVX-512F; only the lanes of the mask are written, which `to` holds.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
            sum8(_mm256_add_ps(_mm512_castps512_ps256(v), high))
        }
    }

    whole! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        mul_add(a, b, c) = _mm512_fmadd_ps;
        neg_mul_add(a, b, c) = _mm512_fnmadd_ps;
    }

    #[inline(always)]
    fn pow2(self, rounded: Self::V) -> Self::V {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(rounded))) }
    }

    #[inline(always)]
    fn transpose(self, r: [Self::V; LANES]) -> [Self::V; LANES] {
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let mut pairs = r;
            let mut quads = r;
            let mut out = r;
            // within each 128-bit part: 4×4 transposes of rows 4i..4i+4
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
                quads[4 * i] = _mm512_shuffle_ps::<0x44>(a, c);
                quads[4 * i + 1] = _mm512_shuffle_ps::<0xEE>(a, c);
                quads[4 * i + 2] = _mm512_shuffle_ps::<0x44>(b, d);
                quads[4 * i + 3] = _mm512_shuffle_ps::<0xEE>(b, d);
            }
            // then a 4×4 transpose of the parts themselves
            for j in 0..4 {
                let (q0, q1) = (quads[j], quads[4 + j]);
                let (q2, q3) = (quads[8 + j], quads[12 + j]);
                let even01 = _mm512_shuffle_f32x4::<0x88>(q0, q1);
                let odd01 = _mm512_shuffle_f32x4::<0xDD>(q0, q1);
                let even23 = _mm512_shuffle_f32x4::<0x88>(q2, q3);
                let odd23 = _mm512_shuffle_f32x4::<0xDD>(q2, q3);
                out[j] = _mm512_shuffle_f32x4::<0x88>(even01, even23);
                out[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd01, odd23);
                out[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even01, even23);
                out[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd01, odd23);
            }
            out
        }
    }
}

/// The mask of the first `n` (at most sixteen) lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    assert!(n <= LANES);
    ((1u32 << n) - 1) as __mmask16
}

/// The sum of eight lanes, halves added to halves.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn sum8(v: __m256) -> f32 {
    // SAFETY: the caller promises AVX2.
    unsafe {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
    }
}

/// Transposes 8×8.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller promises AVX2.
    unsafe {
        let mut pairs = r;
        let mut quads = r;
        let mut out = r;
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..2 {
            let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
            quads[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
            quads[4 * i + 1] = _mm256_shuffle_ps::<0xEE>(a, c);
            quads[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
            quads[4 * i + 3] = _mm256_shuffle_ps::<0xEE>(b, d);
        }
        for j in 0..4 {
            out[j] = _mm256_permute2f128_ps::<0x20>(quads[j], quads[4 + j]);
            out[4 + j] = _mm256_permute2f128_ps::<0x31>(quads[j], quads[4 + j]);
        }
        out
    }
}

impl Simd for Avx2 {
    type V = [__m256; 2];
    const WIDE: bool = false;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
            kernel.run(s)
        }
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        // SAFETY: `self` proves AVX2; the array holds the twice 32 bytes that are read.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX2; the array holds the twice 32 bytes that are written.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v[1]);
        }
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        // SAFETY: `self` proves AVX2.
        unsafe { sum8(_mm256_add_ps(v[0], v[1])) }
    }

    halves! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
        mul_add(a, b, c) = _mm256_fmadd_ps;
        neg_mul_add(a, b, c) = _mm256_fnmadd_ps;
    }

    #[inline(always)]
    fn pow2(self, rounded: Self::V) -> Self::V {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let [a, b] = [_mm256_castps_si256(rounded[0]), _mm256_castps_si256(rounded[1])];
            [_mm256_castsi256_ps(_mm256_slli_epi32::<23>(a)), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(b))]
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut out = rows;
        for rows_half in 0..2 {
            for lanes_half in 0..2 {
                let mut block = [rows[0][0]; 8];
                for (i, row) in block.iter_mut().enumerate() {
                    *row = rows[8 * rows_half + i][lanes_half];
                }
                // SAFETY: `self` proves AVX2.
                let block = unsafe { transpose8(block) };
                for (i, row) in block.iter().enumerate() {
                    out[8 * lanes_half + i][rows_half] = *row;
                }
            }
        }
        out
    }
}
