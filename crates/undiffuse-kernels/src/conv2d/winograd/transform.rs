//! The transforms of Winograd's F(4×4, 3×3) \[Lavin16\]: polynomials are multiplied by
//! their values at the points 0, ±a, ±b and ∞.
//!
//! In one dimension, four outputs of a three-tap filter are `y = Aᵀ (G g ⊙ Bᵀ d)` for six inputs `d`: six products in
//! place of twelve. In two dimensions every transform is applied to columns and then to rows, and 36 products replace
//! 144. Each function below is one of the matrices, spelled out with the terms that rows share computed once.
//!
//! The usual points ±1, ±2 make for short constants and large errors. With `a = 5/8` and `b = 3/2` the points lie
//! evenly around 1 (`a b ≈ 1`), every constant of `A` and `B` is exact, and the largest error is four times smaller.

use crate::simd::Simd;

/// The points ±a and ±b.
const A: f64 = 0.625;
const B: f64 = 1.5;
const A2: f64 = A * A;
const B2: f64 = B * B;

/// The constants `of` the points, in single precision.
macro_rules! constants {
    ($s:ident: $($name:ident = $value:expr),* $(,)?) => { $(let $name = $s.splat(($value) as f32);)* };
}

/// `Bᵀ d`: six inputs. The rows are the coefficients of the polynomials that vanish at all points but one.
#[inline(always)]
pub(super) fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
    constants!(s: a = A, b = B, a2 = A2, b2 = B2, product = A2 * B2, sum = A2 + B2);
    let even_a = s.neg_mul_add(b2, d[2], d[4]);
    let odd_a = s.neg_mul_add(b2, d[1], d[3]);
    let even_b = s.neg_mul_add(a2, d[2], d[4]);
    let odd_b = s.neg_mul_add(a2, d[1], d[3]);
    [
        s.mul_add(product, d[0], s.neg_mul_add(sum, d[2], d[4])),
        s.mul_add(a, odd_a, even_a),
        s.neg_mul_add(a, odd_a, even_a),
        s.mul_add(b, odd_b, even_b),
        s.neg_mul_add(b, odd_b, even_b),
        s.mul_add(product, d[1], s.neg_mul_add(sum, d[3], d[5])),
    ]
}

/// `Aᵀ m`: four outputs. Row `i` holds the `i`-th powers of the points.
#[inline(always)]
pub(super) fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
    constants!(s: a = A, b = B, a2 = A2, b2 = B2, a3 = A2 * A, b3 = B2 * B);
    let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(s.add(m[0], sum_a), sum_b),
        s.mul_add(a, difference_a, s.mul(b, difference_b)),
        s.mul_add(a2, sum_a, s.mul(b2, sum_b)),
        s.mul_add(a3, difference_a, s.mul_add(b3, difference_b, m[5])),
    ]
}

/// `A y`: the transpose of [`output`], for gradients of outputs.
#[inline(always)]
pub(super) fn output_gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
    constants!(s: a = A, b = B, a2 = A2, b2 = B2);
    let (even_a, odd_a) = (s.mul_add(a2, y[2], y[0]), s.mul_add(a2, y[3], y[1]));
    let (even_b, odd_b) = (s.mul_add(b2, y[2], y[0]), s.mul_add(b2, y[3], y[1]));
    [
        y[0],
        s.mul_add(a, odd_a, even_a),
        s.neg_mul_add(a, odd_a, even_a),
        s.mul_add(b, odd_b, even_b),
        s.neg_mul_add(b, odd_b, even_b),
        y[3],
    ]
}

/// What the values of a filter at 0, ±a and ±b are divided by: the product of the distances to the other points.
const DIVISOR_0: f64 = A2 * B2;
const DIVISOR_A: f64 = 2.0 * A2 * (A2 - B2);
const DIVISOR_B: f64 = 2.0 * B2 * (B2 - A2);

/// `G g`: a filter of three taps.
#[inline(always)]
pub(super) fn filter<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 6] {
    constants!(s:
        at_0 = 1.0 / DIVISOR_0,
        even_a = 1.0 / DIVISOR_A, odd_a = A / DIVISOR_A, square_a = A2 / DIVISOR_A,
        even_b = 1.0 / DIVISOR_B, odd_b = B / DIVISOR_B, square_b = B2 / DIVISOR_B,
    );
    let outer_a = s.mul_add(even_a, g[0], s.mul(square_a, g[2]));
    let outer_b = s.mul_add(even_b, g[0], s.mul(square_b, g[2]));
    [
        s.mul(at_0, g[0]),
        s.mul_add(odd_a, g[1], outer_a),
        s.neg_mul_add(odd_a, g[1], outer_a),
        s.mul_add(odd_b, g[1], outer_b),
        s.neg_mul_add(odd_b, g[1], outer_b),
        g[2],
    ]
}

/// `Gᵀ u`: the transpose of [`filter`], for gradients of filters.
#[inline(always)]
pub(super) fn filter_gradient<S: Simd>(s: S, u: [S::V; 6]) -> [S::V; 3] {
    constants!(s:
        at_0 = 1.0 / DIVISOR_0,
        even_a = 1.0 / DIVISOR_A, odd_a = A / DIVISOR_A, square_a = A2 / DIVISOR_A,
        even_b = 1.0 / DIVISOR_B, odd_b = B / DIVISOR_B, square_b = B2 / DIVISOR_B,
    );
    let (sum_a, difference_a) = (s.add(u[1], u[2]), s.sub(u[1], u[2]));
    let (sum_b, difference_b) = (s.add(u[3], u[4]), s.sub(u[3], u[4]));
    [
        s.mul_add(at_0, u[0], s.mul_add(even_a, sum_a, s.mul(even_b, sum_b))),
        s.mul_add(odd_a, difference_a, s.mul(odd_b, difference_b)),
        s.mul_add(square_a, sum_a, s.mul_add(square_b, sum_b, u[5])),
    ]
}

/// Applies a one-dimensional transform to the columns of a small matrix. The rows are left to the caller, who stores
/// each as soon as it is transformed: 36 vectors are more than there are registers.
macro_rules! of_columns {
    ($name:ident = $one:ident: $from:literal => $to:literal) => {
        /// The transform of the same name, of columns.
        #[inline(always)]
        pub(super) fn $name<S: Simd>(s: S, d: [[S::V; $from]; $from]) -> [[S::V; $from]; $to] {
            let mut out = [[s.zero(); $from]; $to];
            for j in 0..$from {
                let mut column = [s.zero(); $from];
                for i in 0..$from {
                    column[i] = d[i][j];
                }
                let column = $one(s, column);
                for i in 0..$to {
                    out[i][j] = column[i];
                }
            }
            out
        }
    };
}

of_columns!(input_columns = input: 6 => 6);
of_columns!(output_columns = output: 6 => 4);
of_columns!(output_gradient_columns = output_gradient: 4 => 6);
of_columns!(filter_columns = filter: 3 => 6);
of_columns!(filter_gradient_columns = filter_gradient: 6 => 3);
