//! What the tests share: numbers to feed, and plain f64 arithmetic to compare with.
#![allow(dead_code)] // each test file uses its own part

pub mod conv;

use undiffuse_kernels::activation::Activation;

/// Numbers in `[-1, 1)` that differ for every `seed` (SplitMix64 \[Steele14\]).
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

/// Root mean square; 0 of nothing.
pub fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt()
}

/// Fails unless every error is at most `tolerance` times the larger of `scale` and the root mean square of the truth.
/// `scale` is what sums of this kind come to: it keeps a truth that happens to cancel from asking for too much.
#[track_caller]
pub fn assert_within(got: &[f32], truth: &[f64], scale: f64, tolerance: f64, what: &str) {
    assert_eq!(got.len(), truth.len(), "{what}");
    let scale = rms(truth).max(scale);
    for (i, (got, truth)) in got.iter().zip(truth).enumerate() {
        let error = (f64::from(*got) - truth).abs();
        let allowed = tolerance * scale;
        assert!(error <= allowed, "{what}: {got} at {i}, {truth} is right; error {error:.1e}, {allowed:.0e} allowed");
    }
}

/// The error function, by its power series and, beyond 3, its continued fraction.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(a, |f, n| a + n as f64 / 2.0 / f);
        1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

/// All activations.
pub const ACTIVATIONS: [Activation; 7] = [
    Activation::Identity,
    Activation::Silu,
    Activation::Gelu,
    Activation::Relu,
    Activation::Mish,
    Activation::GeluTanh,
    Activation::QuickGelu,
];

/// An activation by its formula.
pub fn activated(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Silu => z / (1.0 + (-z).exp()),
        Activation::Gelu => z * 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2)),
        Activation::Relu => z.max(0.0),
        Activation::QuickGelu => z / (1.0 + (-1.702 * z).exp()),
        Activation::Mish => z * z.exp().ln_1p().tanh(),
        Activation::GeluTanh => {
            z * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh())
        }
    }
}

/// The slope of an activation, by central differences but at the kink.
pub fn slope(activation: Activation, z: f64) -> f64 {
    if activation == Activation::Relu {
        return f64::from(u8::from(z > 0.0));
    }
    gradient(&[z], |z| activated(activation, z[0]))[0]
}

/// Maps of neighbouring channels from planes of them all, `[image][channel][pixel]`.
pub fn to_maps(planes: &[f32], channels: [usize; 2], pixels: usize) -> [Vec<f32>; 2] {
    let image = (channels[0] + channels[1]) * pixels;
    let part = |from: usize, to: usize| -> Vec<f32> {
        planes.chunks(image.max(1)).flat_map(|p| &p[from * pixels..to * pixels]).copied().collect()
    };
    let parts = [part(0, channels[0]), part(channels[0], channels[0] + channels[1])];
    [to_map(&parts[0], channels[0], pixels), to_map(&parts[1], channels[1], pixels)]
}

/// The inverse of [`to_maps`]; the padding must be zero.
pub fn from_maps(maps: &[Vec<f32>; 2], channels: [usize; 2], pixels: usize) -> Vec<f32> {
    let [first, second] = [from_map(&maps[0], channels[0], pixels), from_map(&maps[1], channels[1], pixels)];
    if channels[1] == 0 {
        return first;
    }
    let images = first.chunks(channels[0] * pixels).zip(second.chunks(channels[1] * pixels));
    images.flat_map(|(first, second)| [first, second].concat()).collect()
}

/// Vectors `[image][a, b][channel]`, padded to whole vectors of sixteen channels with zeros.
pub fn pad_channels(rows: &[f32], channels: usize) -> Vec<f32> {
    rows.chunks(channels.max(1))
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, channels.next_multiple_of(16) - channels)))
        .collect()
}
