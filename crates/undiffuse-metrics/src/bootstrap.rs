//! Confidence intervals.

use rayon::prelude::*;
use undiffuse_math::noise::philox4x32;

use crate::MetricOptions;

/// Keeps resamples apart from the other uses of a seed.
const STREAM: u32 = 0x0B00_7571;

/// The interval of an estimate that moves, to first order, by the means of some values, one an image.
///
/// Each group of `values` (the images of one side, say) is resampled with replacement, and the interval is `estimate` plus
/// the percentiles of `Σ_groups (resampled mean − mean)` \[Efron79\]. For a mean these are the values themselves, for other
/// statistics their influence function, the derivative of the estimate by an image's weight \[Hampel74\]: what moves
/// the estimate when images are resampled, without computing it again, and without the bias that computing it from
/// resamples (which repeat images) would add.
pub fn interval(estimate: f64, values: &[&[f64]], settings: &MetricOptions) -> [f64; 2] {
    let means: Vec<f64> = values.iter().map(|group| mean(group)).collect();
    let moved = |resample: usize| {
        let draw = |(group, (values, mean)): (usize, (&&[f64], &f64))| {
            resampled_mean(values, settings.seed, resample as u32, group as u32) - mean
        };
        values.iter().zip(&means).enumerate().map(draw).sum::<f64>()
    };
    let mut moves: Vec<f64> = (0..settings.resamples.max(1)).into_par_iter().map(moved).collect();
    moves.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - settings.confidence) / 2.0;
    [estimate + quantile(&moves, tail), estimate + quantile(&moves, 1.0 - tail)]
}

/// The interval of a share, `successes` of `n`, after \[Wilson27\]: right for shares near 0 and 1, where resamples
/// of all-equal images would claim certainty.
pub fn wilson(successes: usize, n: usize, confidence: f64) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, z) = (n as f64, normal_quantile(0.5 + confidence / 2.0));
    let share = successes as f64 / n;
    let (z2, scale) = (z * z / n, 1.0 / (1.0 + z * z / n));
    let middle = scale * (share + z2 / 2.0);
    let half = scale * z * ((share * (1.0 - share) + z2 / 4.0) / n).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Mean of no values: 0.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn resampled_mean(values: &[f64], seed: u64, resample: u32, group: u32) -> f64 {
    let n = values.len() as u64;
    let mut sum = 0.0;
    for block in 0..n.div_ceil(4) {
        // Four draws of a block: the bias of 32 bits is below n / 2³².
        let words = philox4x32([block as u32, resample, group, STREAM], [seed as u32, (seed >> 32) as u32]);
        for word in &words[..(n - 4 * block).min(4) as usize] {
            sum += values[((u64::from(*word) * n) >> 32) as usize];
        }
    }
    sum / n.max(1) as f64
}

/// Linear between order statistics.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

/// The `p`-quantile of the standard normal distribution, by Newton's method on its logarithm from the tail's bound.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if !(1e-300..=1.0 - 1e-16).contains(&p) {
        return if p < 0.5 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if p < 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let tail = 1.0 - p;
    let mut z = 0.0;
    for _ in 0..100 {
        let beyond = libm::erfc(z / std::f64::consts::SQRT_2) / 2.0;
        let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let step = (beyond / tail).ln() * beyond / density;
        z += step;
        if step.abs() < 1e-14 {
            break;
        }
    }
    z
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use undiffuse_math::noise;

    /// `n` rows of normal numbers around `offset`.
    pub(crate) fn sample(seed: u64, n: usize, dims: usize, offset: f32) -> Vec<f32> {
        let mut values = vec![0.0; n * dims];
        noise::normal(seed, 0, 0, &mut values);
        values.iter_mut().for_each(|x| *x += offset);
        values
    }

    /// That intervals of confidence 0.95 of independent repeats are, on the mean, as wide as the spread of their values asks.
    pub(crate) fn assert_tells_spread(repeats: &[(f64, [f64; 2])]) {
        let values: Vec<f64> = repeats.iter().map(|(value, _)| *value).collect();
        let center = mean(&values);
        let spread = (values.iter().map(|x| (x - center).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt();
        let widths: Vec<f64> = repeats.iter().map(|(_, [low, high])| high - low).collect();
        let ratio = mean(&widths) / (2.0 * 1.96 * spread);
        assert!((0.85..1.2).contains(&ratio), "intervals are {ratio} times as wide as the spread asks");
    }

    /// Quantiles as tables print them.
    #[test]
    fn normal_quantiles() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_901),
            (0.1, -1.281_551_565_544_600_4),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-12, "{p}: {}", normal_quantile(p));
        }
    }

    /// `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`.
    #[test]
    fn wilson_as_scipy() {
        for (successes, n, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862_889),
            (7, 20, 0.181_191_824_101_082, 0.567_145_723_314_764),
            (50, 50, 0.928_652_400_866_641, 1.0),
        ] {
            let [a, b] = wilson(successes, n, 0.95);
            assert!((a - low).abs() < 1e-12 && (b - high).abs() < 1e-12, "{successes} of {n}: {a} {b}");
        }
    }

    /// Two groups' means: the width of a normal interval with the variances added.
    #[test]
    fn as_wide_as_the_normal_interval() {
        let (mut a, mut b) = (vec![0.0f32; 4000], vec![0.0f32; 1000]);
        noise::normal(1, 0, 0, &mut a);
        noise::normal(1, 1, 0, &mut b);
        let wide = |values: Vec<f32>| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (a, b) = (wide(a), wide(b));
        let settings = MetricOptions { resamples: 4000, ..MetricOptions::default() };
        let [low, high] = interval(5.0, &[&a, &b], &settings);
        let want = 1.96 * (1.0f64 / 4000.0 + 1.0 / 1000.0).sqrt();
        assert!((5.0 - low - want).abs() < 0.1 * want && (high - 5.0 - want).abs() < 0.1 * want, "{low} {high} {want}");
        assert_eq!([low, high], interval(5.0, &[&a, &b], &settings));
        assert_ne!([low, high], interval(5.0, &[&a, &b], &MetricOptions { seed: 1, ..settings }));
    }
}
