//! NEON, which every aarch64 CPU has.
//!
//! # Safety
//!
//! Every intrinsic here needs NEON alone, which is part of the target's baseline: this file is compiled for aarch64
//! only. Loads and stores go through `&[f32; 16]`, which is as many bytes as they touch, and need no alignment beyond
//! that of `f32`.

use super::{Kernel, LANES, Simd};
use std::arch::aarch64::*;

/// Any aarch64 CPU.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// A vector: four registers.
type V = [float32x4_t; 4];

/// Defines a method as one intrinsic on each quarter of the vector.
macro_rules! quarters {
    ($($name:ident($($arg:ident),*) = $value:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: V),*) -> V {
            let mut out = [self.zero()[0]; 4];
            for i in 0..4 {
                $(let $arg = $arg[i];)*
                // SAFETY: NEON is part of the target.
                out[i] = unsafe { $value };
            }
            out
        }
    )* };
}

impl Simd for Neon {
    type V = V;
    const WIDE: bool = false;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        // SAFETY: NEON is part of the target.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> V {
        let at = from.as_ptr();
        // SAFETY: NEON is part of the target; the array holds the four times sixteen bytes that are read.
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))] }
    }

    #[inline(always)]
    fn store(self, v: V, to: &mut [f32; LANES]) {
        for (v, to) in v.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: NEON is part of the target; the array holds the sixteen bytes that are written.
            unsafe { vst1q_f32(to.as_mut_ptr(), v) };
        }
    }

    quarters! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        // Not `vmaxq`, which is NaN when only `a` is.
        max(a, b) = vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) = vbslq_f32(vcltq_f32(a, b), a, b);
        mul_add(a, b, c) = vfmaq_f32(c, a, b);
        neg_mul_add(a, b, c) = vfmsq_f32(c, a, b);
        pow2(rounded) = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(rounded)));
    }

    #[inline(always)]
    fn transpose(self, rows: [V; LANES]) -> [V; LANES] {
        let mut out = rows;
        for i in 0..4 {
            for j in 0..4 {
                // SAFETY: NEON is part of the target.
                let block =
                    unsafe { transpose4([rows[4 * i][j], rows[4 * i + 1][j], rows[4 * i + 2][j], rows[4 * i + 3][j]]) };
                for (k, row) in block.into_iter().enumerate() {
                    out[4 * j + k][i] = row;
                }
            }
        }
        out
    }
}

/// Transposes 4×4.
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
unsafe fn transpose4(r: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: the caller promises NEON.
    unsafe {
        let (a, b) = (vtrnq_f32(r[0], r[1]), vtrnq_f32(r[2], r[3]));
        let join = |low: float32x4_t, high: float32x4_t| {
            (vcombine_f32(vget_low_f32(low), vget_low_f32(high)), vcombine_f32(vget_high_f32(low), vget_high_f32(high)))
        };
        let ((first, third), (second, fourth)) = (join(a.0, b.0), join(a.1, b.1));
        [first, second, third, fourth]
    }
}
