//! The machinery that the DDPM family shares: a table of betas, one per timestep.

use super::Schedule;
use crate::level::NoiseLevel;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use std::fmt::Debug;

/// Most timesteps of a table; the field uses a thousand, or a few.
const MOST: usize = 1_000_000;

/// What may be done to the table after the betas are known.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Terminal {
    /// Shift and scale `sqrt(alpha_bar)` so that the last timestep is pure noise [Lin24, Algorithm 1].
    pub rescale_zero_snr: bool,
    /// Lower bound on `alpha_bar` once rescaled; diffusers' Euler and DPM-Solver use `2^-24` where a division needs
    /// it.
    pub alpha_bar_floor: f64,
}

/// A formula for the betas of the DDPM family.
pub trait Betas: Clone + PartialEq + Debug + Default + Serialize + DeserializeOwned + Send + Sync {
    /// `T`, the number of timesteps.
    fn timesteps(&self) -> usize;

    /// `beta_t` for `t = 0..T`.
    fn betas(&self) -> Vec<f64>;

    /// What is done to the table afterwards.
    fn terminal(&self) -> Terminal;
}

/// A schedule given by betas: `alpha_bar_t = prod_{s<=t} (1 - beta_s)`, `alpha = sqrt(alpha_bar)`,
/// `sigma = sqrt(1 - alpha_bar)` [Ho20, Eq. 4].
///
/// Between timesteps `sigma / alpha` is interpolated linearly, and `time` interpolates its logarithm, which is what
/// diffusers and k-diffusion do.
#[derive(Clone, PartialEq)]
pub struct Discrete<B> {
    betas: B,
    levels: Vec<NoiseLevel>,
}

impl<B: Betas> Discrete<B> {
    /// Builds the table.
    ///
    /// # Errors
    /// Fewer than two timesteps, more than a million, or a beta outside `(0, 1)`.
    pub fn new(betas: B) -> Result<Self, String> {
        let timesteps = betas.timesteps();
        if !(2..=MOST).contains(&timesteps) {
            return Err(format!("needs 2 to {MOST} timesteps, has {timesteps}"));
        }
        let values = betas.betas();
        if let Some((t, beta)) = values.iter().enumerate().find(|(_, b)| !(**b > 0.0 && **b < 1.0)) {
            return Err(format!("beta at timestep {t} is {beta}; every beta must lie between 0 and 1"));
        }
        let levels = levels(&values, betas.terminal());
        Ok(Self { betas, levels })
    }

    /// The options that the table was made from.
    pub fn betas(&self) -> &B {
        &self.betas
    }

    fn last(&self) -> usize {
        self.levels.len() - 1
    }
}

fn levels(betas: &[f64], terminal: Terminal) -> Vec<NoiseLevel> {
    let mut alpha_bars: Vec<f64> = betas
        .iter()
        .scan(1.0, |alpha_bar, beta| {
            *alpha_bar *= 1.0 - beta;
            Some(*alpha_bar)
        })
        .collect();
    if terminal.rescale_zero_snr {
        let (first, last) = (alpha_bars[0].sqrt(), alpha_bars[betas.len() - 1].sqrt());
        for alpha_bar in &mut alpha_bars {
            let alpha = (alpha_bar.sqrt() - last) * first / (first - last);
            *alpha_bar = (alpha * alpha).max(terminal.alpha_bar_floor);
        }
    }
    alpha_bars.into_iter().map(|a| NoiseLevel { alpha: a.sqrt(), sigma: (1.0 - a).sqrt() }).collect()
}

impl<B: Debug> Debug for Discrete<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The table follows from the options.
        self.betas.fmt(f)
    }
}

impl<B: Betas> Default for Discrete<B> {
    fn default() -> Self {
        let betas = B::default();
        let levels = levels(&betas.betas(), betas.terminal());
        Self { betas, levels }
    }
}

impl<B: Betas> Schedule for Discrete<B> {
    fn level(&self, t: f64) -> NoiseLevel {
        let t = t.clamp(0.0, self.last() as f64);
        let (low, share) = (t.floor() as usize, t.fract());
        if share == 0.0 {
            return self.levels[low];
        }
        let (below, above) = (self.levels[low].sigma_edm(), self.levels[low + 1].sigma_edm());
        NoiseLevel::variance_preserving(if above.is_finite() {
            below + share * (above - below)
        } else {
            // Pure noise above: sigma is interpolated through its reciprocal, which is finite there.
            below / (1.0 - share)
        })
    }

    fn time(&self, log_snr: f64) -> f64 {
        let noisier = self.levels.partition_point(|level| level.log_snr() >= log_snr);
        let low = noisier.saturating_sub(1).min(self.last() - 1);
        let (below, above) = (self.levels[low].log_snr(), self.levels[low + 1].log_snr());
        let share =
            if above.is_finite() { (below - log_snr) / (below - above) } else { 1.0 - ((log_snr - below) / 2.0).exp() };
        low as f64 + share.clamp(0.0, 1.0)
    }

    fn range(&self) -> (f64, f64) {
        (0.0, self.last() as f64)
    }

    fn level_at(&self, log_snr: f64) -> NoiseLevel {
        let (clean, noisy) = (self.levels[0], self.levels[self.last()]);
        match log_snr {
            l if l >= clean.log_snr() => clean,
            l if l <= noisy.log_snr() => noisy,
            l => NoiseLevel::variance_preserving((-l / 2.0).exp()),
        }
    }

    fn discrete_steps(&self) -> Option<usize> {
        Some(self.levels.len())
    }
}

impl<B: Betas> Serialize for Discrete<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.betas.serialize(serializer)
    }
}

impl<'de, B: Betas> Deserialize<'de> for Discrete<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(B::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
