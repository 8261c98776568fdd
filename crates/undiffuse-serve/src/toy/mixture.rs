//! Gaussians at points of the plane: everything about their diffusion is a closed form.

use undiffuse::math::prelude::NoiseLevel;

use super::Point;

/// Equal shares of `N(point, spread² I)`.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// The means.
    pub points: Vec<Point>,
    /// The standard deviation of each.
    pub spread: f64,
}

/// What is known at a place of the plane at a noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// `E[x0 | x]`: the best guess of where the point came from.
    pub denoised: Point,
    /// The gradient of `ln p(x)`.
    pub score: Point,
    /// `ln p(x)` in nats.
    pub log_density: f64,
}

impl Mixture {
    /// Looks from `x` at a noise level.
    ///
    /// Component `m` explains `x` in proportion to `N(x; alpha m, v I)`, `v = alpha² spread² + sigma²`, and says then that
    /// `x0` is `m + alpha spread² / v · (x - alpha m)` and that the density rises as `(alpha m - x) / v`.
    pub fn view(&self, x: Point, level: NoiseLevel) -> View {
        let NoiseLevel { alpha, sigma } = level;
        let v = (alpha * self.spread).powi(2) + sigma * sigma;
        let off = |m: &Point| [x[0] - alpha * m[0], x[1] - alpha * m[1]];
        let square = |m: &Point| off(m).iter().map(|d| d * d).sum::<f64>();
        let nearest = self.points.iter().map(square).fold(f64::INFINITY, f64::min);
        let (mut total, mut mean) = (0.0, [0.0; 2]);
        for m in &self.points {
            let weight = (0.5 * (nearest - square(m)) / v).exp();
            total += weight;
            mean[0] += weight * m[0];
            mean[1] += weight * m[1];
        }
        let mean = mean.map(|s| s / total);
        // Both are linear in the mean, so the components' answers average to the mean's.
        let rest = off(&mean);
        let gain = alpha * self.spread * self.spread / v;
        let log_density =
            (total / self.points.len() as f64).ln() - 0.5 * nearest / v - (std::f64::consts::TAU * v).ln();
        View {
            denoised: [mean[0] + gain * rest[0], mean[1] + gain * rest[1]],
            score: rest.map(|d| -d / v),
            log_density,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::burn::tensor::{Tensor, TensorData};
    use undiffuse::denoise::{self, At, Cond, Denoise};

    const LEVELS: [NoiseLevel; 4] = [
        NoiseLevel { alpha: 0.99, sigma: 0.14 },
        NoiseLevel { alpha: 0.6, sigma: 0.8 },
        NoiseLevel { alpha: 0.0, sigma: 1.0 },
        NoiseLevel { alpha: 1.0, sigma: 30.0 },
    ];
    const PLACES: [Point; 4] = [[0.1, -0.2], [1.5, 0.7], [-2.0, 2.0], [0.0, 0.0]];

    fn mixture() -> Mixture {
        Mixture { points: vec![[1.0, 0.0], [-0.5, 0.8], [0.2, -1.1]], spread: 0.2 }
    }

    /// The library's exact denoiser, in single precision on tensors.
    #[test]
    fn the_guess_and_the_density_are_the_librarys() {
        let device = undiffuse::device::open("cpu").unwrap();
        let components: Vec<_> =
            mixture().points.iter().map(|p| (1.0, p.map(|v| v as f32).to_vec(), mixture().spread)).collect();
        let exact = denoise::Mixture::new(&components, &device);
        for level in LEVELS {
            for x in PLACES {
                let single = x.map(|v| v as f32).to_vec();
                let tensor = Tensor::from_data(TensorData::new(single.clone(), [1, 1, 1, 2]), &device);
                let guess: Vec<f32> = exact
                    .denoise(tensor, &[At::from(level)], &Cond::default())
                    .x0
                    .into_data()
                    .try_into_vec_as()
                    .unwrap();
                let view = mixture().view(x, level);
                for (ours, theirs) in view.denoised.iter().zip(guess) {
                    assert!((ours - f64::from(theirs)).abs() < 1e-4, "{level:?} {x:?}: {ours} {theirs}");
                }
                let density = exact.log_density(&single, level);
                assert!((view.log_density - density).abs() < 1e-4 * density.abs().max(1.0), "{level:?} {x:?}");
            }
        }
    }

    #[test]
    fn the_score_is_the_slope_of_the_log_density_and_tweedies() {
        let mixture = mixture();
        for level in LEVELS {
            for x in PLACES {
                let view = mixture.view(x, level);
                for i in [0, 1] {
                    let h = 1e-5;
                    let at = |d: f64| {
                        let mut y = x;
                        y[i] += d;
                        mixture.view(y, level).log_density
                    };
                    let slope = (at(h) - at(-h)) / (2.0 * h);
                    assert!((slope - view.score[i]).abs() < 1e-5 * slope.abs().max(1.0), "{level:?} {x:?}");
                    // (alpha D - x) / sigma² [Efron11, Eq. 1.4].
                    let tweedie = (level.alpha * view.denoised[i] - x[i]) / level.sigma.powi(2);
                    assert!((tweedie - view.score[i]).abs() < 1e-9 * slope.abs().max(1.0), "{level:?} {x:?}");
                }
            }
        }
    }
}
