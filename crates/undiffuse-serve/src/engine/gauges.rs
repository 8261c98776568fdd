//! What the service says of itself: for `/metrics` and `/readyz`.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::histogram::Histogram;

use super::{Engine, lock};

/// Figures of the moment, for `/metrics` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs of which pictures are being made.
    pub running: usize,
    /// Pictures being made.
    pub pictures: usize,
    /// Models in memory, and what they take in bytes.
    pub models: usize,
    /// Bytes of the models in memory.
    pub model_bytes: u64,
    /// Bytes of results in the store.
    pub stored_bytes: u64,
    /// Pictures finished since the start.
    pub images: u64,
    /// Evaluations of a network since the start, and pictures in them.
    pub batches: u64,
    /// Pictures in those evaluations.
    pub batched: u64,
    /// Jobs that ended since the start: done, failed, cancelled.
    pub done: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Whether new jobs are taken.
    pub open: bool,
}

impl Engine {
    /// Figures of the moment.
    pub fn gauges(&self) -> Gauges {
        let inner = &*self.inner;
        let (models, model_bytes) = inner.models.in_memory();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let desk = lock(&inner.desk);
        let queued = desk.queue.waiting();
        Gauges {
            queued,
            running: desk.live.len().saturating_sub(queued),
            pictures: desk.queue.in_work(),
            models,
            model_bytes,
            stored_bytes: inner.store.bytes(),
            images: count(&inner.images),
            batches: count(&inner.pool.tally().batches),
            batched: count(&inner.pool.tally().pictures),
            done: count(&inner.done) + count(&inner.failed) + count(&inner.cancelled),
            failed: count(&inner.failed),
            cancelled: count(&inner.cancelled),
            open: desk.open && inner.store.sound().is_ok(),
        }
    }

    /// Figures of everything since the start, by size: name, what it is, and the histogram.
    pub fn histograms(&self) -> [(&'static str, &'static str, Histogram); 3] {
        let (clock, sizes) = (&self.inner.clock, &self.inner.pool.tally().sizes);
        [
            ("job_wait_seconds", "From a job's request to the begin of its first picture", clock.waits.clone()),
            ("job_work_seconds", "From there to the job's end", clock.works.clone()),
            ("batch_pictures", "Pictures in an evaluation of a network", sizes.clone()),
        ]
    }
}
