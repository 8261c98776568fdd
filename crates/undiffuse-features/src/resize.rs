//! Resize filters, each equal to that of a Python tool: Fréchet distances are not comparable across filters \[Parmar22\].

use serde::{Deserialize, Serialize};
use undiffuse_data::Image;

/// A resize filter. All but the last widen their support when they shrink, and so do not alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// clean-fid's: Pillow's bicubic on floats, channel by channel, clipped to 0…255 and not rounded.
    CleanBicubic,
    /// `PIL.Image.resize(…, BICUBIC)` of an 8-bit picture: across, rounded to whole numbers, then down, rounded again. (Pillow 13
    /// goes down first where that is cheaper: some pixels then differ by one level, unless proportions are kept.)
    PillowBicubic,
    /// `PIL.Image.resize(…, BILINEAR)` of an 8-bit picture.
    PillowBilinear,
    /// `PIL.Image.resize(…, LANCZOS)` of an 8-bit picture.
    PillowLanczos,
    /// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`: two pixels each way however much it
    /// shrinks. pytorch-fid's.
    TorchBilinear,
}

impl Resize {
    /// What a report says of it.
    pub fn describe(self) -> &'static str {
        match self {
            Resize::CleanBicubic => "bicubic on floats as in clean-fid",
            Resize::PillowBicubic => "bicubic on 8 bits as in Pillow",
            Resize::PillowBilinear => "bilinear on 8 bits as in Pillow",
            Resize::PillowLanczos => "Lanczos on 8 bits as in Pillow",
            Resize::TorchBilinear => "bilinear without antialiasing as in pytorch-fid",
        }
    }

    /// A picture as planes `[channels, height, width]` with values from 0 to 255.
    ///
    /// # Panics
    /// If the picture has no pixels, or `height` or `width` is 0.
    pub fn planes(self, image: &Image, height: usize, width: usize) -> Vec<f32> {
        assert!(!image.pixels.is_empty() && height > 0 && width > 0, "resizing needs pixels on both sides");
        let across = self.taps(image.width, width);
        let down = self.taps(image.height, height);
        let mut planes = Vec::with_capacity(image.channels * height * width);
        for channel in 0..image.channels {
            let plane = image.pixels[channel..].iter().step_by(image.channels);
            match self {
                Resize::CleanBicubic | Resize::TorchBilinear => {
                    let plane: Vec<f32> = plane.map(|&v| v.into()).collect();
                    planes.extend(float(&plane, image.width, &across, &down).iter().map(|v| v.clamp(0.0, 255.0)));
                }
                _ => {
                    let plane: Vec<u8> = plane.copied().collect();
                    planes.extend(eight_bit(&plane, image.width, &across, &down).iter().map(|&v| f32::from(v)));
                }
            }
        }
        planes
    }

    /// What each of `to` outputs along a side of `from` pixels is made of.
    fn taps(self, from: usize, to: usize) -> Vec<Taps> {
        match self {
            Resize::CleanBicubic | Resize::PillowBicubic => pillow(from, to, 2.0, bicubic),
            Resize::PillowBilinear => pillow(from, to, 1.0, |x| (1.0 - x.abs()).max(0.0)),
            Resize::PillowLanczos => pillow(from, to, 3.0, lanczos),
            Resize::TorchBilinear => bilinear(from, to),
        }
    }
}

/// An output: the first input and the weights from there on.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

/// Pillow's choice of inputs and weights for a filter that is zero beyond `support`.
fn pillow(from: usize, to: usize, support: f64, filter: impl Fn(f64) -> f64) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let reach = support * stretch;
    (0..to)
        .map(|at| {
            let center = (at as f64 + 0.5) * scale;
            let first = (center - reach + 0.5).max(0.0) as usize;
            let end = ((center + reach + 0.5) as usize).min(from);
            let mut weights: Vec<f64> = (first..end).map(|i| filter((i as f64 - center + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            Taps { first, weights }
        })
        .collect()
}

/// The cubic of \[Keys81\] with `a = −½`.
fn bicubic(x: f64) -> f64 {
    let (a, x) = (-0.5, x.abs());
    match x {
        _ if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

/// `sinc(x) sinc(x / 3)` within 3.
fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Two neighbours, the edge repeated.
fn bilinear(from: usize, to: usize) -> Vec<Taps> {
    // In single precision, as PyTorch's: the place decides which neighbours are taken.
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|at| {
            let place = ((at as f32 + 0.5) * scale - 0.5).max(0.0);
            let first = (place as usize).min(from - 1);
            let part = f64::from(place) - first as f64;
            let weights = if first + 1 < from { vec![1.0 - part, part] } else { vec![1.0] };
            Taps { first, weights }
        })
        .collect()
}

/// Across, then down, on floats.
fn float(plane: &[f32], width: usize, across: &[Taps], down: &[Taps]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(plane.len() / width * across.len());
    for row in plane.chunks_exact(width) {
        rows.extend(across.iter().map(|taps| {
            let products = row[taps.first..].iter().zip(&taps.weights).map(|(&x, &w)| x * w as f32);
            products.sum::<f32>()
        }));
    }
    let mut out = vec![0.0; across.len() * down.len()];
    for (to, taps) in out.chunks_exact_mut(across.len()).zip(down) {
        for (row, &w) in rows.chunks_exact(across.len()).skip(taps.first).zip(&taps.weights) {
            let w = w as f32;
            to.iter_mut().zip(row).for_each(|(to, x)| *to += x * w);
        }
    }
    out
}

/// Bits behind the point of a weight.
const FRACTION: u32 = 22;

/// Across, then down, rounded to 8 bits after each, in Pillow's fixed-point arithmetic.
fn eight_bit(plane: &[u8], width: usize, across: &[Taps], down: &[Taps]) -> Vec<u8> {
    let fixed = |taps: &[Taps]| -> Vec<(usize, Vec<i32>)> {
        let one = f64::from(1 << FRACTION);
        taps.iter().map(|t| (t.first, t.weights.iter().map(|w| (w * one).round() as i32).collect())).collect()
    };
    let byte = |sum: i32| (sum >> FRACTION).clamp(0, 255) as u8;
    let half = 1 << (FRACTION - 1);
    let across = fixed(across);
    let mut rows = Vec::with_capacity(plane.len() / width * across.len());
    for row in plane.chunks_exact(width) {
        rows.extend(across.iter().map(|(first, weights)| {
            byte(row[*first..].iter().zip(weights).map(|(&x, w)| i32::from(x) * w).sum::<i32>() + half)
        }));
    }
    let mut out = Vec::with_capacity(across.len() * down.len());
    for (first, weights) in fixed(down) {
        let mut sums = vec![half; across.len()];
        for (row, w) in rows.chunks_exact(across.len()).skip(first).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += i32::from(x) * w);
        }
        out.extend(sums.into_iter().map(byte));
    }
    out
}
