//! Plain Rust: the readable reference, and what runs on CPUs without a level of their own.

use super::{Kernel, LANES, Simd};

/// Any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Whether `f32::mul_add` is an instruction here. Where it is not, it would be a slow library call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a · b + c`, fused where that costs nothing.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a method as one expression per lane.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),*) = $value:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),*) -> Self::V {
            let mut out = [0.0; LANES];
            for lane in 0..LANES {
                $(let $arg = $arg[lane];)*
                out[lane] = $value;
            }
            out
        }
    )* };
}

impl Simd for Portable {
    type V = [f32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }

    lanewise! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        max(a, b) = if a > b { a } else { b };
        min(a, b) = if a < b { a } else { b };
        mul_add(a, b, c) = fused(a, b, c);
        neg_mul_add(a, b, c) = fused(-a, b, c);
        pow2(rounded) = f32::from_bits(rounded.to_bits() << 23);
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut out = [[0.0; LANES]; LANES];
        for (i, row) in rows.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                out[j][i] = *x;
            }
        }
        out
    }
}
