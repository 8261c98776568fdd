//! How a request becomes a job: its key is looked at first, then it is checked, written, and queued.

use std::sync::Arc;

use axum::http::StatusCode;
use sha2::{Digest, Sha256};
use undiffuse::data::text::hex;

use super::id::now;
use super::live::Live;
use super::order::{self, Order, RequestPictures};
use super::store::{Change, JobStart, Record, Written};
use super::{Inner, lock, trouble, waiting};
use crate::budget::{Client, Permit};
use crate::job::{Generate, Job, JobState};
use crate::loras::Loras;
use crate::problem::Problem;

/// Bytes that a finished picture takes in the list of a job that has not ended, and in what its watchers are told.
const MADE: u64 = 400;

/// A job whose id nobody has been told yet.
pub struct Ticket {
    pub inner: Arc<Inner>,
    pub job: Job,
    /// Whether there is no key by which it could be asked for.
    pub unnamed: bool,
}

impl Ticket {
    pub fn hand_over(mut self) -> Job {
        self.unnamed = false;
        self.job.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((live, _)) = self.unnamed.then(|| self.inner.live(&self.job.id)).flatten() {
            let inner = Arc::clone(&self.inner);
            // Not here: this may be a thread that must not wait for a disk.
            let _ = std::thread::Builder::new().spawn(move || inner.end(&live, JobState::Cancelled, None));
        }
    }
}

/// A request that has been checked and not yet written.
struct Draft {
    record: Record,
    hash: String,
    /// Its pictures as PNGs of our own.
    inputs: [Option<Vec<u8>>; 2],
    live: Live,
}

impl Inner {
    /// What [`Engine::submit`](super::Engine::submit) says.
    ///
    /// # Errors
    /// What the request, the limits, the models or the store refuse.
    pub fn submit(self: &Arc<Self>, request: Generate, client: Client, key: Option<String>) -> Result<Job, Problem> {
        let hash = key.as_ref().map(|_| hash(&request)).unwrap_or_default();
        // Before anything that may have changed since the same was asked for: room in the queue, the model, the limits.
        if let Some(key) = &key
            && let Some((id, of)) = self.store.keyed(&client, key).map_err(trouble)?
        {
            return self.known(&id, of == hash);
        }
        let _place = self.arrive()?;
        let Draft { record, hash, inputs, live } = self.check(request, client, key, hash)?;
        let submit = Change::Submit(Box::new(record.clone()), hash.clone(), inputs);
        match self.store.write(submit).map_err(trouble)? {
            Written::Done => {}
            Written::Known(id, of) => return self.known(&id, of == hash),
        }
        let id = record.job.id.clone();
        let live = Arc::new(live);
        {
            let mut desk = lock(&self.desk);
            desk.queue.push(&record.client, waiting(&record));
            desk.live.insert(id.clone(), Arc::clone(&live));
        }
        self.dispatch();
        let position = self.live(&id).and_then(|(_, position)| position);
        Ok(Job { position, ..live.job() })
    }

    /// The job of a key that was used before.
    fn known(&self, id: &str, same: bool) -> Result<Job, Problem> {
        if !same {
            let detail = "this Idempotency-Key was used for another request; take a new one for each";
            return Err(Problem::new(StatusCode::CONFLICT, "key_reused", detail));
        }
        if let Some((live, position)) = self.live(id) {
            return Ok(Job { position, ..live.job() });
        }
        let known = self.store.record(id).map_err(trouble)?.map(|record| record.job);
        known.ok_or_else(|| Problem::not_found("the job of this key was deleted just now; ask again"))
    }

    /// Checks a request. While it waits nothing stays in memory but its words: its pictures are in the store, its steps and
    /// tensors are made when it is begun.
    fn check(
        &self,
        mut request: Generate,
        client: Client,
        key: Option<String>,
        hash: String,
    ) -> Result<Draft, Problem> {
        let (_, loras) = Loras::take(&request.asked)?;
        let loaded = self.models.acquire(request.model.as_deref(), &loras)?;
        // What is large on the way is large only one at a time.
        let _one_at_a_time = lock(&self.checking);
        let shape = order::shape(&request, &loaded.model, &self.limits)?;
        let pictures = RequestPictures::take(&mut request, shape, &self.limits)?;
        let order = Order::new(&request, &pictures, Arc::clone(&loaded), &self.models, &self.limits)?;
        let job = Job {
            id: self.ids.next().map_err(Problem::internal)?,
            state: JobState::Queued,
            model: loaded.id.clone(),
            n: order.seeds.len(),
            done: 0,
            rows: order.plan.rows.len(),
            position: None,
            created: now(),
            started: None,
            finished: None,
            error: None,
            notes: order.notes(),
            images: Vec::new(),
            from_image: pictures.init.is_some(),
            request,
        };
        let weight = order.weight(&self.limits);
        let record = Record { job, client, key, weight, spent: 0.0, start: JobStart::Waiting, deaths: 0 };
        let permit = self.hold(&record, order.frame_bytes())?;
        // There may be a model for every request that names LoRAs: it is read again if it is gone when its turn comes.
        let live = Live::new(record.clone(), Some(loaded).filter(|_| loras.is_empty()), Some(permit));
        Ok(Draft { record, hash, inputs: pictures.to_png(), live })
    }

    /// The share of the budget that a job takes until it ends.
    ///
    /// # Errors
    /// 503 `busy` when there is too little.
    pub fn hold(&self, record: &Record, frames: u64) -> Result<Permit, Problem> {
        let words = serde_json::to_vec(record).map_or(0, |json| json.len() as u64);
        // Each picture says what it shows.
        let asked = record.job.request.asked.0.values().flatten();
        let shown = asked.map(|word| word.len() as u64).max().unwrap_or(0);
        self.budget.take(&record.client, words + (MADE + shown) * record.job.n as u64 + frames)
    }

    /// A place in the queue, as long as it is held.
    fn arrive(&self) -> Result<Place<'_>, Problem> {
        let mut desk = lock(&self.desk);
        if !desk.open {
            return Err(Problem::unavailable("closing", "the service is shutting down; try again in a moment", 10));
        }
        let (waiting, most) = (desk.queue.waiting(), self.limits.queue);
        if waiting + desk.arriving >= most {
            // What it takes until the next of them is begun.
            let seconds = desk.queue.backlog() as f64 * self.pool.tally().pace() / waiting.max(1) as f64;
            let detail = format!("{waiting} jobs wait already, which is as many as may; try again later");
            return Err(Problem::queue_full(detail, (seconds.ceil() as u64).clamp(1, 600)));
        }
        desk.arriving += 1;
        Ok(Place(self))
    }
}

/// A place in the queue for a job that is on its way.
struct Place<'a>(&'a Inner);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.0.desk).arriving -= 1;
    }
}

/// SHA-256 of a request, by which it is known again.
fn hash(request: &Generate) -> String {
    let json = serde_json::to_vec(request).unwrap_or_default();
    hex(&Sha256::digest(&json))
}
