//! Steps of the least error, computed.

use super::{Ends, Point, Round, Spacing, points_at};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// The levels that lose the least of normal data with the power spectrum of natural images, as Align Your Steps seeks
/// them [Sabour24, section 3], computed instead of looked up.
///
/// Along one direction in which the data have standard deviation `c`, Euler steps of the probability-flow ODE through
/// levels `s_i = sigma / alpha` end with the true standard deviation times `Π cos(θ_(i-1) - θ_i)`, `θ = arctan(s /
/// c)`. For a single `c` even `θ` are best, in closed form [Sabour24, on Gaussian data]. Pictures have many: here `c(f)² ∝
/// f^-exponent` over spatial frequencies `f` from 1 to `size / 2` cycles a picture, as many of each as there are in
/// the plane, and the levels minimise the Kullback-Leibler divergence between the true distribution and the walk's,
/// summed over all of them, with both ends held.
///
/// Samplers that add noise lose something else: see [`Objective::Bound`].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimal {
    /// What is made least.
    pub objective: Objective,
    /// Standard deviation of the pixels, all frequencies together; 0.5 for pictures in [-1, 1] [Karras22, Table 1].
    pub sigma_data: f64,
    /// How steeply the power spectrum falls: 2 for natural images \[Field87\], 0 for white noise, whose `c` is one.
    pub exponent: f64,
    /// Pixels on a side.
    pub size: usize,
    /// Cleanest `sigma / alpha`, the schedule's own unless given.
    pub sigma_min: Option<f64>,
    /// Noisiest `sigma / alpha`, the schedule's own unless given.
    pub sigma_max: Option<f64>,
    /// How the timesteps of networks on tables are rounded.
    pub round: Round,
}

/// What the levels are chosen for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The divergence that Euler steps of the probability-flow ODE leave.
    #[default]
    Ode,
    /// The divergence of whole paths that ancestral steps leave, an upper bound on that of their ends [Sabour24,
    /// section 3]: `½ Σ (snr_i - snr_(i-1)) mmse_(i-1)`, where `mmse` is the best denoiser's error, less its integral.
    /// It is what a variational bound of so many steps loses [Kingma21, Eq. 13], so these are also the levels at
    /// which that bound is tightest. For a single `c` they are geometric in `sin θ`.
    Bound,
}

impl Default for Optimal {
    fn default() -> Self {
        Self {
            objective: Objective::Ode,
            sigma_data: 0.5,
            exponent: 2.0,
            size: 32,
            sigma_min: None,
            sigma_max: None,
            round: Round::None,
        }
    }
}

impl Spacing for Optimal {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let ends = Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round };
        let (max, min) = ends.resolved(schedule);
        let bands = self.spectrum();
        let sigmas = match self.objective {
            Objective::Ode => minimise(&bands, max, min, steps),
            Objective::Bound => tightest(&bands, max, min, steps),
        };
        points_at(schedule, ends, sigmas.into_iter())
    }

    fn check(&self) -> Result<(), String> {
        // Beyond these the squares of what is compared no longer fit beside each other.
        for (name, value) in
            [("sigma_data", Some(self.sigma_data)), ("sigma_min", self.sigma_min), ("sigma_max", self.sigma_max)]
        {
            require(value.is_none_or(|value| (1e-6..=1e6).contains(&value)), || {
                format!("{name} must lie in [1e-6, 1e6], is {}", value.unwrap_or_default())
            })?;
        }
        require((0.0..=6.0).contains(&self.exponent), || format!("exponent must lie in [0, 6], is {}", self.exponent))?;
        require((2..=65_536).contains(&self.size), || format!("size must lie in 2..65536, is {}", self.size))?;
        Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round }.check()
    }
}

/// A share of the data's dimensions, and their standard deviation.
struct Band {
    share: f64,
    std: f64,
}

impl Optimal {
    /// The spectrum in bands even in `ln f`.
    fn spectrum(&self) -> Vec<Band> {
        const BANDS: usize = 24;
        let octaves = (self.size as f64 / 2.0).ln() / BANDS as f64;
        let bands = (0..BANDS).map(|k| {
            let f = (octaves * (k as f64 + 0.5)).exp();
            // Frequencies in a ring of the plane: f df, which is f² d ln f.
            Band { share: f * f, std: f.powf(-0.5 * self.exponent) }
        });
        let mut bands: Vec<Band> = bands.collect();
        let total: f64 = bands.iter().map(|band| band.share).sum();
        bands.iter_mut().for_each(|band| band.share /= total);
        let variance: f64 = bands.iter().map(|band| band.share * band.std * band.std).sum();
        bands.iter_mut().for_each(|band| band.std *= self.sigma_data / variance.sqrt());
        bands
    }
}

/// `steps` levels from `max` to `min` of the least divergence.
fn minimise(bands: &[Band], max: f64, min: f64, steps: usize) -> Vec<f64> {
    let mut s = even_lengths(bands, max, min, steps);
    let mut best = divergence(bands, &s);
    for _ in 0..100 {
        let step = newton_step(bands, &s);
        let size = step.iter().fold(0f64, |size, d| size.max(d.abs()));
        // Halved until it is downhill; the divergence is infinite where levels are out of order.
        let tried = (0..20).map(|halvings| {
            let scale = 0.5f64.powi(halvings);
            let moved: Vec<f64> = s.iter().zip(&step).map(|(s, d)| s * (scale * d).exp()).collect();
            (divergence(bands, &moved), moved)
        });
        match tried.into_iter().find(|(value, _)| *value < best) {
            Some((value, moved)) => (best, s) = (value, moved),
            None => break,
        }
        if size < 1e-9 {
            break;
        }
    }
    s
}

/// `tan(θ - θ')` of two levels.
fn tangent(std: f64, from: f64, to: f64) -> f64 {
    std * (from - to) / (std * std + from * to)
}

/// `-ln Π cos` of a walk along one direction.
fn loss(std: f64, s: &[f64]) -> f64 {
    s.windows(2).map(|s| 0.5 * tangent(std, s[0], s[1]).powi(2).ln_1p()).sum()
}

/// `Σ share · KL(N(0, 1) ‖ N(0, e^(-2 loss)))`; infinite where levels do not fall.
fn divergence(bands: &[Band], s: &[f64]) -> f64 {
    if s.windows(2).any(|s| s[1] >= s[0]) {
        return f64::INFINITY;
    }
    let of_band = |band: &Band| {
        let twice = 2.0 * loss(band.std, s);
        // Small ones by their series: the difference would cancel.
        let excess = if twice < 1e-4 { twice * twice * (0.5 + twice / 6.0) } else { twice.exp_m1() - twice };
        band.share * 0.5 * excess
    };
    bands.iter().map(of_band).sum()
}

/// A Gauss-Newton step in `ln s`, its ends 0: the slopes of the divergence in each band's loss are held, which leaves
/// a sum over neighbours and a tridiagonal system.
fn newton_step(bands: &[Band], s: &[f64]) -> Vec<f64> {
    let n = s.len();
    let (mut gradient, mut diagonal, mut lower) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for band in bands {
        let weight = band.share * (2.0 * loss(band.std, s)).exp_m1();
        let slope = |s: f64| s * band.std / (band.std * band.std + s * s);
        for i in 1..n {
            let (before, here) = (slope(s[i - 1]), slope(s[i]));
            let tan = tangent(band.std, s[i - 1], s[i]);
            let curvature = weight * (1.0 + tan * tan);
            gradient[i - 1] += weight * tan * before;
            gradient[i] -= weight * tan * here;
            diagonal[i - 1] += curvature * before * before;
            diagonal[i] += curvature * here * here;
            lower[i] -= curvature * before * here;
        }
    }
    // Forward elimination and back substitution over the inner levels.
    let mut step = vec![0.0; n];
    for i in 1..n.saturating_sub(1) {
        let factor = if i > 1 { lower[i] / diagonal[i - 1] } else { 0.0 };
        diagonal[i] -= factor * lower[i];
        gradient[i] -= factor * gradient[i - 1];
    }
    for i in (1..n.saturating_sub(1)).rev() {
        step[i] = (-gradient[i] - lower[i + 1] * step[i + 1]) / diagonal[i];
    }
    step
}

/// The limit of many steps, and the start of the search: levels at even lengths, where a length is `ds² = Σ weight
/// dθ²`, each band weighted by how much the divergence feels its loss.
fn even_lengths(bands: &[Band], max: f64, min: f64, steps: usize) -> Vec<f64> {
    const FINE: usize = 1000;
    let at = |i: usize| (max.ln() + i as f64 / FINE as f64 * (min / max).ln()).exp();
    let fine: Vec<f64> = (0..=FINE).map(at).collect();
    let squares: Vec<Vec<f64>> =
        bands.iter().map(|b| fine.windows(2).map(|s| tangent(b.std, s[0], s[1]).powi(2)).collect()).collect();
    let mut weights: Vec<f64> = bands.iter().map(|band| band.share).collect();
    let mut lengths = vec![0.0; FINE];
    for _ in 0..30 {
        for (i, length) in lengths.iter_mut().enumerate() {
            *length = weights.iter().zip(&squares).map(|(w, q)| w * q[i]).sum::<f64>().sqrt();
        }
        // With steps of even length a band loses Σ dθ² / ds, and the divergence grows with the square of a loss.
        for ((weight, band), q) in weights.iter_mut().zip(bands).zip(&squares) {
            let lost: f64 = q.iter().zip(&lengths).map(|(q, length)| q / length).sum();
            *weight = (*weight * band.share * lost).sqrt();
        }
    }
    let whole: f64 = lengths.iter().sum();
    let (mut done, mut i) = (0.0, 0);
    let inner = (1..steps.saturating_sub(1)).map(|k| {
        let target = whole * k as f64 / (steps - 1) as f64;
        while i + 1 < FINE && done + lengths[i] < target {
            done += lengths[i];
            i += 1;
        }
        fine[i] * (fine[i + 1] / fine[i]).powf(((target - done) / lengths[i]).min(1.0))
    });
    let inner: Vec<f64> = inner.collect();
    [max].into_iter().chain(inner).chain((steps > 1).then_some(min)).collect()
}

/// `steps` levels from `max` to `min` of the tightest bound.
///
/// With `u = 1 / s²` and `M(u) = Σ share c² / (1 + c² u)`, the sum `Σ M(u_(i-1)) (u_i - u_(i-1))` is least where
/// `M(u_(i-1)) - M(u_i) = -M'(u_i) (u_(i+1) - u_i)`. So the first step decides all others, and is found by bisection.
fn tightest(bands: &[Band], max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (start, end) = (max.powi(-2), min.powi(-2));
    // Whether the walk whose first step is `e^ln_first` gets to the end; its levels go to `walked`.
    let walk = |ln_first: f64, walked: &mut Vec<f64>| {
        walked.clear();
        let (mut before, mut here) = (start, start + ln_first.exp());
        walked.push(here);
        for _ in 2..steps {
            let (mut fall, mut slope) = (0.0, 0.0);
            for band in bands {
                let v = band.std * band.std;
                let gain = v / (1.0 + v * here);
                fall += band.share * gain * v / (1.0 + v * before);
                slope += band.share * gain * gain;
            }
            (before, here) = (here, here + fall * (here - before) / slope);
            walked.push(here);
            if here > end {
                return true;
            }
        }
        here > end
    };
    let mut inner = Vec::new();
    if steps > 2 {
        let (mut low, mut high) = ((f64::EPSILON * start).ln(), (end - start).ln());
        for _ in 0..80 {
            let middle = 0.5 * (low + high);
            if walk(middle, &mut inner) { high = middle } else { low = middle }
        }
        walk(low, &mut inner);
        inner.pop();
    }
    let inner = inner.into_iter().map(|u| u.powf(-0.5).clamp(min, max));
    [max].into_iter().chain(inner).chain((steps > 1).then_some(min)).collect()
}
