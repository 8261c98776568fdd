//! What the tests share: numbers to feed, and plain f64 arithmetic to compare with.
#![allow(dead_code)] // each test file uses its own part

/// Numbers in `[-1, 1)` that differ for every `seed` (SplitMix64 (Steele et al. 2014)).
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mut z = (seed << 32 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The same numbers in double precision.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The largest error, divided by the root mean square of the truth.
pub fn error(got: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(got.len(), truth.len());
    let rms = (truth.iter().map(|t| t * t).sum::<f64>() / truth.len().max(1) as f64).sqrt();
    let worst = got
        .iter()
        .zip(truth)
        .map(|(g, t)| (f64::from(*g) - t).abs())
        .fold(0.0, |a, b| if b.is_nan() { f64::INFINITY } else { f64::max(a, b) });
    if worst == 0.0 { 0.0 } else { worst / rms }
}

/// Fails unless [`error`] is at most `tolerance`.
#[track_caller]
pub fn assert_close(got: &[f32], truth: &[f64], tolerance: f64, what: &str) {
    let error = error(got, truth);
    assert!(error <= tolerance, "{what}: error {error:.2e} of the rms, at most {tolerance:.0e} is allowed");
}

/// The gradient of `f` at `x` by central differences.
pub fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let h = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + h;
            let up = f(&x);
            x[i] = at - h;
            let down = f(&x);
            x[i] = at;
            (up - down) / (2.0 * h)
        })
        .collect()
}

/// `Σ a b`
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Runs `f` on a pool of `threads` threads.
pub fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// A buffer whose every element must be overwritten.
pub fn unset(n: usize) -> Vec<f32> {
    vec![f32::NAN; n]
}

/// The bits, so that a comparison is exact and NaN equals NaN.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Runs the tests of the calling file again at the lower levels of instructions.
pub fn pass_at_lower_levels() {
    if std::env::var_os("UNDIFFUSE_SIMD").is_some() {
        return; // already such a run
    }
    for level in ["portable", "avx2"] {
        let this = std::env::current_exe().unwrap();
        let out = std::process::Command::new(this).env("UNDIFFUSE_SIMD", level).output().unwrap();
        assert!(out.status.success(), "at {level}: {}", String::from_utf8_lossy(&out.stdout));
    }
}

/// Planes `[image][channel][pixel]` as a map.
pub fn to_map(planes: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let batch = planes.len().checked_div(channels * pixels).unwrap_or(0);
    let mut map = vec![f32::NAN; undiffuse_kernels::map::len(batch, channels, pixels)];
    undiffuse_kernels::map::from_planes(planes, channels, pixels, &mut map);
    map
}

/// A map as planes; its padding must be zero.
pub fn from_map(map: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let of_image = channels.div_ceil(16) * 16 * pixels;
    let batch = map.len().checked_div(of_image).unwrap_or(0);
    for (i, x) in map.iter().enumerate() {
        let channel = i % of_image / (16 * pixels) * 16 + i % 16;
        assert!(channel < channels || *x == 0.0, "padding of a map is {x}");
    }
    let mut planes = vec![f32::NAN; batch * channels * pixels];
    undiffuse_kernels::map::to_planes(map, channels, pixels, &mut planes);
    planes
}
