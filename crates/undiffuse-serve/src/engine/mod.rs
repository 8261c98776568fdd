//! Jobs in fair order, pictures of many jobs in one batch, results in a store that survives anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::job::{Frame, Generate, Job, ModelInfo, Update};
use crate::options::Options;
use crate::problem::Problem;

/// Who asks: jobs of different clients take turns.
pub type Client = String;

/// The service without HTTP. A clone is another handle.
#[derive(Clone)]
pub struct Engine {
    _inner: Arc<()>,
}

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

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only those in this state.
    pub state: Option<crate::job::State>,
    /// Only those older than the job with this id.
    pub before: Option<String>,
    /// At most so many, the newest first.
    pub limit: usize,
}

#[allow(unused_variables)]
impl Engine {
    /// Opens the store, finds the models, takes up the jobs that a former life left, and starts the threads.
    ///
    /// # Errors
    /// A store or folders that cannot be used, in words for whoever starts the service.
    pub fn open(options: &Options) -> Result<Self, String> {
        todo!()
    }

    /// Models there are; the folders are looked through anew, so a run that has just finished is there.
    pub fn models(&self) -> Vec<ModelInfo> {
        todo!()
    }

    /// Takes a job; it is in the store when this returns. `key` makes it idempotent: the same key of the same client gets the
    /// same job.
    ///
    /// # Errors
    /// 404 no such model, 409 the key was used for another request, 422 a request that the model cannot fulfil, 429 queue full,
    /// 503 no memory for the model, or closing.
    pub async fn submit(&self, request: Generate, client: Client, key: Option<String>) -> Result<Job, Problem> {
        todo!()
    }

    /// A job.
    pub async fn job(&self, id: &str) -> Option<Job> {
        todo!()
    }

    /// Jobs, the newest first.
    pub async fn jobs(&self, query: Query) -> Vec<Job> {
        todo!()
    }

    /// The PNG of a finished picture.
    pub async fn image(&self, id: &str, index: usize) -> Option<Vec<u8>> {
        todo!()
    }

    /// The steps of a job with `frames`.
    pub async fn frames(&self, id: &str) -> Option<Vec<Frame>> {
        todo!()
    }

    /// What happens to a job: first its state, the frames and pictures so far, then everything as it happens; the stream ends
    /// after a final state. A slow watcher misses progress, never a state, a frame or a picture.
    pub async fn watch(&self, id: &str) -> Option<mpsc::Receiver<Update>> {
        todo!()
    }

    /// Ends a job within one evaluation; one that has ended stays as it is.
    pub async fn cancel(&self, id: &str) -> Option<Job> {
        todo!()
    }

    /// Cancels a job and forgets it.
    pub async fn delete(&self, id: &str) -> bool {
        todo!()
    }

    /// Figures of the moment.
    pub fn gauges(&self) -> Gauges {
        todo!()
    }

    /// Takes no more jobs, finishes what is being made if `patience` allows it, and hands the rest back to the queue in the store.
    pub async fn close(&self, patience: Duration) {
        todo!()
    }
}
