//! Schedules: which noise level belongs to which time.
//!
//! Time is each schedule's native unit, the one its literature uses: timesteps `0..=T-1` for the DDPM family,
//! `sigma` itself for [`Edm`] and [`Ve`], the unit interval for [`Flow`] and the continuous variance-preserving
//! ones. Noise grows with time in all of them.

mod discrete;

pub use cosine::CosineBetas;
pub use discrete::{Betas, Discrete, Terminal};
pub use linear::LinearBetas;
pub use scaled_linear::ScaledLinearBetas;
pub use sigmoid::SigmoidBetas;
pub use trained::TrainedBetas;

use crate::{level::NoiseLevel, registry::kind};
use std::fmt::Debug;

/// A map between time and noise level.
pub trait Schedule: Debug + Send + Sync {
    /// The noise level at time `t`; times outside [`Schedule::range`] are allowed as far as the formula reaches,
    /// tables clamp.
    fn level(&self, t: f64) -> NoiseLevel;

    /// The time whose level has this `log_snr`, clamped to the schedule's domain; infinities are allowed.
    fn time(&self, log_snr: f64) -> f64;

    /// The trained interval of times, `(cleanest, noisiest)`.
    fn range(&self) -> (f64, f64);

    /// The level of this schedule with exactly this `log_snr`. Differs from `level(time(log_snr))` only where
    /// the schedule is a table and both directions interpolate.
    fn level_at(&self, log_snr: f64) -> NoiseLevel {
        self.level(self.time(log_snr))
    }

    /// The number that a time-conditioned network reads at time `t`: the timestep of the DDPM family, where there is one.
    fn timestep(&self, t: f64) -> f64 {
        t
    }

    /// `Some(T)` when the schedule is a table of `T` integer timesteps.
    fn discrete_steps(&self) -> Option<usize> {
        None
    }

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

kind! {
    /// Every schedule by name.
    pub enum ScheduleKind: Schedule, "schedule" {
        "linear" in linear => Linear, "DDPM's betas, evenly spaced, as a table of timesteps [Ho20, section 4]",
            also ["rescale_zero_snr=true"];
        "scaled-linear" in scaled_linear => ScaledLinear, "square roots of beta evenly spaced, as latent diffusion has it [Rombach22, in its code]";
        "cosine" in cosine => Cosine, "squared-cosine alpha-bar with betas capped at 0.999 [Nichol21, Eq. 17]",
            also ["rescale_zero_snr=true,steps=50"];
        "sigmoid" in sigmoid => Sigmoid, "betas along a logistic curve, as GeoDiff has it [Xu22, GeoDiff]";
        "trained" in trained => Trained, "a table of betas of one's own";
        "vp" in vp => Vp, "the continuous variance-preserving SDE [Song21, Eq. 11]";
        "sub-vp" in sub_vp => SubVp, "vp with its noise squared, the sub-variance-preserving SDE [Song21, Eq. 12]";
        "cosine-vp" in cosine_vp => CosineVp, "continuous cosine with bounded log-SNR, shiftable for image size [Hoogeboom23, section 3.1]";
        "ve" in ve => Ve, "geometric sigmas, the variance-exploding SDE [Song21, Eq. 9]";
        "edm" in edm => Edm, "time is sigma itself [Karras22, Table 1]";
        "flow" in flow => Flow, "rectified flow: a straight line between picture and noise [Liu23, Eq. 1; Lipman23, Eq. 20]",
            also ["shift=3,t_min=0"];
    }
}
