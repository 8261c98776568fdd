//! Timings: which times a network is trained at.
//!
//! A timing maps one uniform number to a time, so that callers may stratify: `u_i = (i + u) / n` over a batch of `n`
//! covers all levels evenly and lowers the variance of the loss [Kingma21, Appendix I.1].

mod quantile;

pub use quantile::normal_quantile;

use crate::{registry::kind, schedule::Schedule};
use std::fmt::Debug;

/// A distribution of training times, given by its quantile function.
pub trait Timing: Debug + Send + Sync {
    /// The time at quantile `u`, `u` in (0, 1); noise grows with `u`.
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64;

    /// `|d log_snr / du|` at `u`: the inverse of the density of log-SNRs, finite. A central difference unless a timing knows
    /// better.
    fn rate(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        // A step that shrinks with the distance to the nearer end, where quantile functions may be steep.
        let step = 1e-3 * u * (1.0 - u);
        let (low, high) = (u - step, u + step);
        let log_snr = |u| schedule.level(self.time(schedule, u)).bounded_log_snr();
        ((log_snr(low) - log_snr(high)) / (high - low)).abs()
    }

    /// The factor on the loss at `u` that makes up for times drawn more or less often than they should count.
    fn correction(&self, u: f64) -> f64 {
        let _ = u;
        1.0
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
    /// Every timing by name.
    pub enum TimingKind: Timing, "timing" {
        "uniform" in uniform => Uniform, "every time of the schedule alike; whole timesteps where it has them [Ho20, Algorithm 1]";
        "lognormal" in lognormal => Lognormal, "ln(sigma / alpha) is normal [Karras22, Table 1]",
            also ["mean=0,std=2"];
        "logit-normal" in logit_normal => LogitNormal, "the logit of time is normal [Esser24, Eq. 19]",
            also ["mean=-0.5,std=1.5"];
        "log-snr-uniform" in log_snr_uniform => LogSnrUniform, "every log-SNR of the schedule alike";
        "importance" in importance => Importance, "by the root mean square of the loss seen so far [Nichol21, Eq. 18]";
    }
}

/// A native time kept within the trained range.
fn within(schedule: &dyn Schedule, t: f64) -> f64 {
    let (low, high) = schedule.range();
    t.clamp(low, high)
}
