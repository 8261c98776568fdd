//! How long jobs wait and take, for monitoring.

use prometheus_client::metrics::histogram::Histogram;

use crate::job::Job;

/// Seconds: from a picture of a small model to the longest job.
const SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 1800.0];

/// The times of jobs that have ended.
pub struct Clock {
    /// Seconds from the request to the first picture's begin.
    pub waits: Histogram,
    /// Seconds from there to the end.
    pub works: Histogram,
}

impl Default for Clock {
    fn default() -> Self {
        Self { waits: Histogram::new(SECONDS), works: Histogram::new(SECONDS) }
    }
}

impl Clock {
    /// Notes a job that has ended; one that was never begun has waited only.
    pub fn note(&self, job: &Job) {
        let ended = job.finished.unwrap_or(job.created);
        let begun = job.started.unwrap_or(ended);
        self.waits.observe((begun - job.created).max(0.0));
        if job.started.is_some() {
            self.works.observe((ended - begun).max(0.0));
        }
    }
}
