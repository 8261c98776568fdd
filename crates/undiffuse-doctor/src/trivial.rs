//! What a network that has learnt nothing would score, in closed form.

use undiffuse::train::config::NoiseConfig;
use undiffuse_math::draw::Draw;

use super::Pictures;

/// Quantiles of the timing that an expectation is a mean over.
const QUANTILES: usize = 1000;
/// Pixels of about equal variance that are taken together.
const GROUPS: usize = 64;

/// Losses that need no learning, in the run's own parameterisation, weighting and timing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trivial {
    /// The network answers zero: `E[w (c² E[x0²] + d²)]`, where it should answer `c x0 + d eps`. Where every new network of
    /// this program starts.
    pub zero: f64,
    /// The best guess of each pixel from itself alone, knowing the mean picture and each pixel's variance `v`:
    /// `E[weight · mean v σ² / (α² v + σ²)]`, the error of a Wiener filter. A network above it has learnt nothing of how
    /// pixels hang together.
    pub pixelwise: f64,
}

impl Trivial {
    /// For a process and the pictures that it is trained on.
    pub fn of(noise: &NoiseConfig, pictures: &Pictures) -> Self {
        let squares = pictures.mean.iter().zip(&pictures.variance).map(|(m, v)| m * m + v);
        let square = squares.sum::<f64>() / pictures.mean.len() as f64;
        let mut variances = pictures.variance.clone();
        variances.sort_by(f64::total_cmp);
        let groups: Vec<(f64, f64)> = variances
            .chunks(variances.len().div_ceil(GROUPS))
            .map(|g| (g.iter().sum::<f64>() / g.len() as f64, g.len() as f64 / variances.len() as f64))
            .collect();
        let NoiseConfig { schedule, parameterization, weighting, timing, .. } = noise;
        let (mut zero, mut pixelwise) = (0.0, 0.0);
        for k in 0..QUANTILES {
            let u = (k as f64 + 0.5) / QUANTILES as f64;
            let draw = Draw::new(&**schedule, &**parameterization, &**weighting, &**timing, u);
            let (alpha2, sigma2) = (draw.level.alpha.powi(2), draw.level.sigma.powi(2));
            zero += draw.target_weight() * (draw.scaling.target_x0.powi(2) * square + draw.scaling.target_eps.powi(2));
            let errors = groups.iter().map(|(v, share)| share * v * sigma2 / (alpha2 * v + sigma2).max(1e-300));
            pixelwise += draw.weight * draw.correction * errors.sum::<f64>();
        }
        Self { zero: zero / QUANTILES as f64, pixelwise: pixelwise / QUANTILES as f64 }
    }
}
