//! Elementary functions on vectors.

use crate::simd::{POW2, Simd};

/// `e⁻ˣ` for `x` in `[−88.02, 87.33]`; beyond, the value at the nearer end. Largest relative error `2e-7`.
#[inline(always)]
pub(crate) fn exp_neg<S: Simd>(s: S, x: S::V) -> S::V {
    let [p, pow2] = factors(s, x);
    s.mul(p, pow2)
}

/// `1 + e⁻ˣ`, whose inverse is the logistic function; its range and relative error are those of [`exp_neg`].
#[inline(always)]
pub(crate) fn one_plus_exp_neg<S: Simd>(s: S, x: S::V) -> S::V {
    let [p, pow2] = factors(s, x);
    s.mul_add(p, pow2, s.splat(1.0))
}

/// `e⁻ˣ` as `[e⁻ʳ, 2ⁿ]`, where `x = r − n ln 2` with whole `n` and `|r| ≤ ln 2 / 2`. For `e⁻ʳ`, the polynomial of
/// degree 5 with the smallest relative error, `9.2e-8`, of those that are 1 at 0.
#[inline(always)]
fn factors<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
    // As the second argument of `min` and `max`, a NaN passes through.
    let x = s.min(s.splat(87.33), s.max(s.splat(-88.02), x));
    let rounded = s.neg_mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(POW2));
    let n = s.sub(rounded, s.splat(POW2));
    // ln 2 in two parts, the first short enough for an exact product.
    let r = s.mul_add(n, s.splat(0.693_359_4), x);
    let r = s.mul_add(n, s.splat(-2.121_944_4e-4), r);
    let mut p = s.splat(-8.290_27e-3);
    for c in [4.189_816e-2, -0.166_676_38, 0.499_991_48, -0.999_999_7, 1.0] {
        p = s.mul_add(p, r, s.splat(c));
    }
    [p, s.pow2(rounded)]
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
            s.lanes(exp_neg(s, s.load(self.0)))
        }
    }

    #[test]
    fn exp_is_within_its_stated_error() {
        let mut worst = 0.0f64;
        for block in 0..200_000 {
            let mut x = [0.0; LANES];
            for (lane, x) in x.iter_mut().enumerate() {
                *x = -88.02 + 175.35 * ((block * LANES + lane) as f32 / (200_000.0 * 16.0));
            }
            for (x, y) in x.iter().zip(dispatch(Apply(&x))) {
                let exact = f64::from(-*x).exp();
                worst = worst.max((f64::from(y) / exact - 1.0).abs());
            }
        }
        assert!(worst < 2e-7, "worst relative error {worst:e}");
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        let mut x = [f32::INFINITY; LANES];
        x[1] = f32::NEG_INFINITY;
        x[2] = f32::NAN;
        let y = dispatch(Apply(&x));
        assert!(y[0] > 0.0 && y[0] < 1.3e-38);
        assert!(y[1] > 1e38 && y[1].is_finite());
        assert!(y[2].is_nan());
    }
}
