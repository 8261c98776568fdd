//! What this CPU can do at most: fused multiply-adds on registers alone.

use std::hint::black_box;
use std::time::Instant;

/// Independent chains, enough to hide the latency of one.
const CHAINS: usize = 24;
const ROUNDS: usize = 4_000_000;

/// One round of every chain, on vectors of sixteen.
macro_rules! chains {
    () => {{
        let mut acc = [[black_box(1.0f32); 16]; CHAINS];
        let (x, y) = ([black_box(0.999f32); 16], [black_box(0.001f32); 16]);
        for _ in 0..ROUNDS {
            for acc in &mut acc {
                for lane in 0..16 {
                    acc[lane] = acc[lane].mul_add(x[lane], y[lane]);
                }
            }
        }
        black_box(acc);
    }};
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() {
    // Twenty-four chains of whole registers; the array code above is not kept in them by every compiler.
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let mut acc = [_mm512_set1_ps(black_box(1.0)); CHAINS];
    let (x, y) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    for (i, acc) in acc.iter_mut().enumerate() {
        *acc = _mm512_set1_ps(black_box(i as f32));
    }
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            *acc = _mm512_fmadd_ps(*acc, x, y);
        }
    }
    black_box(acc.map(|v| _mm512_reduce_add_ps(v)));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps};
    let mut acc = [_mm256_set1_ps(black_box(1.0)); CHAINS / 2];
    let (x, y) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    for (i, acc) in acc.iter_mut().enumerate() {
        *acc = _mm256_set1_ps(black_box(i as f32));
    }
    // Twelve registers of eight, four times as often: as many multiply-adds as above.
    for _ in 0..4 * ROUNDS {
        for acc in &mut acc {
            *acc = _mm256_fmadd_ps(*acc, x, y);
        }
    }
    black_box::<[__m256; CHAINS / 2]>(acc);
}

/// Runs the chains of one thread.
fn run() {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU was just asked.
            return unsafe { avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU was just asked.
            return unsafe { avx2() };
        }
    }
    chains!();
}

/// GFLOP/s of `threads` threads together: the best of five tries.
pub fn gflops(threads: usize) -> f64 {
    let flops = (threads * CHAINS * 16 * 2 * ROUNDS) as f64;
    let tries = (0..5).map(|_| {
        let begin = Instant::now();
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run))));
        flops / begin.elapsed().as_secs_f64() / 1e9
    });
    tries.fold(0.0, f64::max)
}
