//! The forward process on one picture: how it dissolves, `x_t = alpha · x0 + sigma · eps`.
//!
//! Training needs this for batches of tensors; here it is for eyes: the two terms of the sum are kept apart, and
//! everything becomes a picture again.

use undiffuse_data::Image;
use undiffuse_math::noise;
use undiffuse_math::prelude::{NoiseLevel, Schedule};

/// A picture and the noise that it will dissolve into.
#[derive(Clone, Debug)]
pub struct ForwardProcess {
    width: usize,
    height: usize,
    channels: usize,
    x0: Vec<f32>,
    eps: Vec<f32>,
}

/// A picture at one noise level. All values are `[C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Noised {
    /// `alpha · x0`: the picture, nudged toward the origin.
    pub signal: Vec<f32>,
    /// `sigma · eps`.
    pub noise: Vec<f32>,
    /// Their sum.
    pub x_t: Vec<f32>,
}

impl ForwardProcess {
    /// The picture with unit-normal noise from `seed`, the same that a sampler starts from with that seed.
    ///
    /// # Panics
    /// If the picture has transparency; [`Image::open`] flattens it.
    pub fn new(picture: &Image, seed: u64) -> Self {
        let &Image { width, height, channels, ref pixels } = picture;
        assert!(channels < 4, "flatten the picture first");
        let plane = width * height;
        let value = |i: usize| f32::from(pixels[i % plane * channels + i / plane]) / 127.5 - 1.0;
        let mut eps = vec![0.0; pixels.len()];
        noise::normal(seed, 0, 0, &mut eps);
        Self { width, height, channels, x0: (0..pixels.len()).map(value).collect(), eps }
    }

    /// The picture at a noise level \[Ho20, Eq. 4\].
    pub fn at(&self, level: NoiseLevel) -> Noised {
        let times = |factor: f64, values: &[f32]| values.iter().map(|&v| (factor * f64::from(v)) as f32).collect();
        let (signal, noise): (Vec<f32>, Vec<f32>) = (times(level.alpha, &self.x0), times(level.sigma, &self.eps));
        let x_t = signal.iter().zip(&noise).map(|(s, n)| s + n).collect();
        Noised { signal, noise, x_t }
    }

    /// `[C, H, W]` values times `exposure`, as a picture; what falls outside [−1, 1] is clamped.
    ///
    /// # Panics
    /// If there are not as many values as the picture has.
    pub fn image(&self, values: &[f32], exposure: f64) -> Image {
        let shown: Vec<f32> = values.iter().map(|&v| (f64::from(v) * exposure) as f32).collect();
        Image::from_chw(self.width, self.height, self.channels, &shown)
    }
}

/// The share of the variance that is signal, for data of unit variance: `alpha² / (alpha² + sigma²)`.
pub fn signal_share(level: NoiseLevel) -> f64 {
    (level.alpha / level.scale()).powi(2)
}

/// The factor that keeps `x_t` visible where a schedule lets it grow: `1 / sqrt(alpha² + sigma²)`, at most 1.
pub fn exposure(level: NoiseLevel) -> f64 {
    level.scale().max(1.0).recip()
}

/// `frames` times from the cleanest to the noisiest that a network is trained at, both included: evenly spaced, whole
/// timesteps where the schedule has them.
///
/// Where a schedule never shrinks the picture, time is sigma and spans many decades; it is spaced geometrically then,
/// as \[Song21, Eq. 9\] has it. Fewer than two frames give the cleanest time alone.
pub fn times(schedule: &dyn Schedule, frames: usize) -> Vec<f64> {
    let (clean, noisy) = schedule.range();
    let geometric = schedule.level(clean).alpha == schedule.level(noisy).alpha;
    let time = |k: usize| match k as f64 / (frames.max(2) - 1) as f64 {
        0.0 => clean,
        1.0 => noisy,
        share if geometric => clean * (noisy / clean).powf(share),
        share if schedule.discrete_steps().is_some() => (clean + share * (noisy - clean)).round(),
        share => clean + share * (noisy - clean),
    };
    (0..frames.max(1)).map(time).collect()
}

#[cfg(test)]
mod tests {
    use undiffuse_math::prelude::ScheduleKind;
    use undiffuse_math::schedule::{Edm, Linear};

    use super::*;

    fn picture() -> Image {
        Image::new(64, 48, 3, (0..64 * 48 * 3).map(|i| (i * 7 % 256) as u8).collect())
    }

    #[test]
    fn the_terms_add_up_and_the_noise_is_normal() {
        let forward = ForwardProcess::new(&picture(), 5);
        let level = NoiseLevel { alpha: 0.6, sigma: 0.8 };
        let Noised { signal, noise, x_t } = forward.at(level);
        // Channel 1 of the pixel at (2, 0) is byte 7 of the picture.
        assert!((f64::from(signal[64 * 48 + 2]) - 0.6 * (49.0 / 127.5 - 1.0)).abs() < 1e-7);
        for ((s, n), x) in signal.iter().zip(&noise).zip(&x_t) {
            assert!((x - s - n).abs() < 1e-6);
        }
        let n = noise.len() as f64;
        let mean = noise.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = noise.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        // Four standard errors.
        assert!(mean.abs() < 4.0 * 0.8 / n.sqrt(), "{mean}");
        assert!((variance / 0.64 - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{variance}");
    }

    #[test]
    fn a_clean_picture_comes_back_and_seeds_differ() {
        let forward = ForwardProcess::new(&picture(), 5);
        assert_eq!(forward.image(&forward.at(NoiseLevel::CLEAN).x_t, 1.0), picture());
        assert_ne!(forward.eps, ForwardProcess::new(&picture(), 6).eps);
        assert_eq!(forward.eps, ForwardProcess::new(&picture(), 5).eps);
    }

    /// `alphas_cumprod[999]` of diffusers' DDPMScheduler with its defaults is 4.0358e-5.
    #[test]
    fn shares_of_known_levels() {
        let share = signal_share(Linear::default().level(999.0));
        assert!((share - 4.0358e-5).abs() < 1e-9, "{share}");
        assert_eq!(signal_share(NoiseLevel::CLEAN), 1.0);
        assert_eq!(signal_share(NoiseLevel { alpha: 0.0, sigma: 1.0 }), 0.0);
        assert!((signal_share(NoiseLevel { alpha: 1.0, sigma: 2.0 }) - 0.2).abs() < 1e-15);
        assert_eq!(exposure(NoiseLevel { alpha: 0.5, sigma: 0.5 }), 1.0);
        assert_eq!(exposure(NoiseLevel { alpha: 3.0, sigma: 4.0 }), 0.2);
    }

    #[test]
    fn times_span_the_trained_range_of_every_schedule() {
        for entry in ScheduleKind::ALL {
            let schedule = (entry.default)();
            let times = times(&*schedule, 9);
            assert_eq!((times[0], times[8]), schedule.range(), "{}", entry.tag);
            let shares: Vec<_> = times.iter().map(|&t| signal_share(schedule.level(t))).collect();
            assert!(shares.is_sorted_by(|a, b| a > b), "{}: {shares:?}", entry.tag);
        }
        assert_eq!(times(&Linear::default(), 4), [0.0, 333.0, 666.0, 999.0]);
        let sigmas = times(&Edm { sigma_min: 0.01, sigma_max: 100.0 }, 5);
        assert!((sigmas[2] - 1.0).abs() < 1e-12, "{sigmas:?}");
    }
}
