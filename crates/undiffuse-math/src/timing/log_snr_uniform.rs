//! Every log-SNR alike.

use super::Timing;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// `log_snr` uniform between the ends of the schedule's range, infinities bounded by
/// [`NoiseLevel::LOG_SNR_LIMIT`](crate::level::NoiseLevel::LOG_SNR_LIMIT).
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSnrUniform {}

impl Timing for LogSnrUniform {
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        let (clean, noisy) = ends(schedule);
        super::within(schedule, schedule.time(clean + u * (noisy - clean)))
    }

    fn rate(&self, schedule: &dyn Schedule, _: f64) -> f64 {
        let (clean, noisy) = ends(schedule);
        clean - noisy
    }
}

fn ends(schedule: &dyn Schedule) -> (f64, f64) {
    let (low, high) = schedule.range();
    (schedule.level(low).bounded_log_snr(), schedule.level(high).bounded_log_snr())
}
