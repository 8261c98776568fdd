//! Sixteen `f32` at a time, on whatever the CPU has.
//!
//! A kernel is written once, generic over [`Simd`], and instantiated for every [`Level`] by [`dispatch`]. Vectors
//! have sixteen lanes at every level (AVX2 uses two registers for one), so a sum has the same order everywhere.

use std::sync::OnceLock;

#[allow(unsafe_code)] // the view of lanes as plain numbers, and memory that the system has cleared
mod lanes;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)] // the intrinsics
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // the intrinsics, and the calls into functions compiled for them
mod x86;

pub(crate) use lanes::{CacheLine, Lanes, lanes, lanes_mut, zeroed};

/// The number of lanes of a vector, at every level.
pub(crate) const LANES: usize = 16;

/// `1.5 · 2²³ + 127`. Added to `x`, it leaves no bits for a fraction: `x` is rounded to a whole number `n`, and the low
/// bits of the sum are `n + 127`, the exponent of `2ⁿ`.
pub(crate) const POW2: f32 = 12_583_039.0;

/// The vector instructions of one level.
///
/// A value of an implementing type proves that the CPU has them, which is what makes the methods safe.
pub(crate) trait Simd: Copy {
    /// A vector of [`LANES`] numbers.
    type V: Copy;

    /// Whether 24 accumulators fit the registers; otherwise 6 do.
    const WIDE: bool;

    /// Runs `kernel` compiled for this level.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes equal to `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Reads sixteen numbers.
    fn load(self, from: &[f32; LANES]) -> Self::V;
    /// Writes sixteen numbers.
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? a : b`; a NaN on either side gives `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`; a NaN on either side gives `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the CPU can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a · b`, rounded once where the CPU can.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `2ⁿ`, when `rounded` is `n +` [`POW2`] for a whole `n` in `−126..=127`; other values give unspecified numbers.
    fn pow2(self, rounded: Self::V) -> Self::V;
    /// Turns rows into columns.
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES];

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Reads up to sixteen numbers; missing lanes are zero.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::V {
        self.load_or(from, 0.0)
    }

    /// Reads up to sixteen numbers; missing lanes become `fill`.
    #[inline(always)]
    fn load_or(self, from: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes the first `to.len()` (at most sixteen) lanes.
    #[inline(always)]
    fn store_some(self, v: Self::V, to: &mut [f32]) {
        to.copy_from_slice(&self.lanes(v)[..to.len()]);
    }

    /// The lanes as an array.
    #[inline(always)]
    fn lanes(self, v: Self::V) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }

    /// The sum of all lanes: halves are added to halves, 16 → 8 → 4 → 2 → 1.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut a = self.lanes(v);
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                a[i] += a[i + half];
            }
            half /= 2;
        }
        a[0]
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let mut a = self.lanes(v);
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                a[i] = if a[i + half] > a[i] { a[i + half] } else { a[i] };
            }
            half /= 2;
        }
        a[0]
    }
}

/// Work that can be compiled for any level. `run` and all that it calls with a [`Simd`] must be `#[inline(always)]`
/// and free of closures that touch vectors: the instructions are enabled in one outer function, and what is not
/// inlined there is compiled without them.
pub(crate) trait Kernel {
    /// What the work returns.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The instructions a kernel can be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust, for any CPU.
    Portable,
    /// aarch64 with NEON.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
}

/// A level that the CPU was seen to have.
#[derive(Clone, Copy)]
enum Proven {
    Portable(portable::Portable),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

fn detect() -> Proven {
    let asked = std::env::var("UNDIFFUSE_SIMD").unwrap_or_default();
    let limit = match asked.as_str() {
        "portable" => Level::Portable,
        "avx2" => Level::Avx2,
        _ => Level::Avx512,
    };
    if limit == Level::Portable {
        return Proven::Portable(portable::Portable);
    }
    #[cfg(target_arch = "aarch64")]
    return Proven::Neon(neon::Neon);
    #[cfg(target_arch = "x86_64")]
    {
        if limit >= Level::Avx512
            && let Some(token) = x86::Avx512::detect()
        {
            return Proven::Avx512(token);
        }
        if limit >= Level::Avx2
            && let Some(token) = x86::Avx2::detect()
        {
            return Proven::Avx2(token);
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    Proven::Portable(portable::Portable)
}

fn proven() -> Proven {
    static PROVEN: OnceLock<Proven> = OnceLock::new();
    *PROVEN.get_or_init(detect)
}

/// The instructions that this process uses.
pub fn simd_level() -> Level {
    match proven() {
        Proven::Portable(_) => Level::Portable,
        #[cfg(target_arch = "aarch64")]
        Proven::Neon(_) => Level::Neon,
        #[cfg(target_arch = "x86_64")]
        Proven::Avx2(_) => Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Proven::Avx512(_) => Level::Avx512,
    }
}

/// Runs `kernel` with the best instructions of this CPU.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match proven() {
        Proven::Portable(s) => s.vectorize(kernel),
        #[cfg(target_arch = "aarch64")]
        Proven::Neon(s) => s.vectorize(kernel),
        #[cfg(target_arch = "x86_64")]
        Proven::Avx2(s) => s.vectorize(kernel),
        #[cfg(target_arch = "x86_64")]
        Proven::Avx512(s) => s.vectorize(kernel),
    }
}
