//! Elementary functions on vectors.

use crate::simd::Simd;

/// `eˣ` for `x` in `[−87.33, 88.02]`; beyond, the value at the nearer end. Largest relative error `1.2e-7`.
///
/// `x = n ln 2 + r` with whole `n` and `|r| ≤ ln 2 / 2`, then `eˣ = 2ⁿ eʳ` with the polynomial of Cephes' `expf`
/// [Moshier, Cephes Math Library 2.2].
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // As the second argument of `min` and `max`, a NaN passes through.
    let x = s.min(s.splat(88.02), s.max(s.splat(-87.33), x));
    // Adding 1.5 · 2²³ leaves no bits for a fraction: rounding to the nearest whole number.
    let round = s.splat(12_582_912.0);
    let n = s.sub(s.mul_add(x, s.splat(std::f32::consts::LOG2_E), round), round);
    // ln 2 in two parts, the first short enough for an exact product.
    let r = s.neg_mul_add(n, s.splat(0.693_359_4), x);
    let r = s.neg_mul_add(n, s.splat(-2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.mul_add(p, r, s.splat(c));
    }
    let e = s.mul_add(s.mul(r, r), p, s.add(r, s.splat(1.0)));
    s.mul(e, s.pow2(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, LANES, dispatch};

    struct Apply<'a>(&'a [f32; LANES]);

    impl Kernel for Apply<'_> {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            s.lanes(exp(s, s.load(self.0)))
        }
    }

    #[test]
    fn exp_is_within_its_stated_error() {
        let mut worst = 0.0f64;
        for block in 0..200_000 {
            let mut x = [0.0; LANES];
            for (lane, x) in x.iter_mut().enumerate() {
                *x = -87.33 + 175.35 * ((block * LANES + lane) as f32 / (200_000.0 * 16.0));
            }
            for (x, y) in x.iter().zip(dispatch(Apply(&x))) {
                let exact = f64::from(*x).exp();
                worst = worst.max((f64::from(y) / exact - 1.0).abs());
            }
        }
        assert!(worst < 1.2e-7, "worst relative error {worst:e}");
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        let mut x = [f32::NEG_INFINITY; LANES];
        x[1] = f32::INFINITY;
        x[2] = f32::NAN;
        let y = dispatch(Apply(&x));
        assert!(y[0] > 0.0 && y[0] < 1.3e-38);
        assert!(y[1] > 1e38 && y[1].is_finite());
        assert!(y[2].is_nan());
    }
}
