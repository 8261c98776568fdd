//! Jobs in fair order, pictures of many jobs in one batch, results in a store that survives anything.

mod clock;
mod cost;
mod gauges;
mod id;
mod live;
mod models;
mod order;
mod pool;
mod queue;
mod revive;
mod store;
mod submit;
mod work;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use undiffuse::Model;
use undiffuse::burn::tensor::Tensor;
use undiffuse::denoise::{At, Cond, Denoise, Guess};

use self::clock::Clock;
pub use self::gauges::Gauges;
use self::id::Ids;
use self::live::Live;
use self::models::Models;
pub use self::models::model_in;
pub(crate) use self::order::from_base64;
use self::pool::{Evaluate, Pool};
use self::queue::{Chunk, Queue, Waiting};
use self::store::{Change, JobStart, Keep, Record, Results, Store, checked};
use self::submit::Ticket;
use crate::budget::{Budget, Client};
use crate::job::{Frame, Generate, Job, JobState, ModelInfo, Update};
use crate::options::{RequestLimits, ServeOptions};
use crate::problem::Problem;

/// Updates that a watcher may be behind before it misses progress.
const BEHIND: usize = 16;
/// Bytes of bodies, pictures that wait and answers together; more where one body may be large.
const HELD: u64 = 256 << 20;

/// The service without HTTP. A clone is another handle.
///
/// ```text
/// submit → order (checked) → store → queue (fair) → chunk → walk, one thread each → pool (one evaluation for many walks)
///                              ↑                               |
///                              +------ pictures, states -------+→ live → watchers
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    limits: RequestLimits,
    models: Models,
    store: Store,
    pool: Pool,
    clock: Clock,
    ids: Ids,
    budget: Budget,
    /// Held while a request is checked.
    checking: Mutex<()>,
    desk: Mutex<Desk>,
    /// Rings when a walk has ended.
    idle: Condvar,
    images: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

/// What changes with every job.
struct Desk {
    queue: Queue,
    /// Jobs that have not ended.
    live: HashMap<String, Arc<Live>>,
    /// Jobs on their way into the queue.
    arriving: usize,
    /// Threads that walk.
    walks: usize,
    /// Whether new jobs are taken and begun.
    open: bool,
}

impl Desk {
    /// Puts the pictures of a chunk back that could not be begun.
    fn put_back(&mut self, chunk: Chunk) {
        match self.live.get(&chunk.id).map(|live| live.job()) {
            Some(job) => self.queue.put_back(chunk, job.rows, job.request.frames),
            None => self.queue.release(&chunk),
        }
    }
}

/// Locks; whoever panicked with it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those older than the job with this id.
    pub before: Option<String>,
    /// At most so many, the newest first.
    pub limit: usize,
}

impl Engine {
    /// Opens the store, finds the models, takes up the jobs that a former life left, and starts the threads.
    ///
    /// # Errors
    /// A store or folders that cannot be used, in words for whoever starts the service.
    pub fn open(options: &ServeOptions) -> Result<Self, String> {
        Self::open_with(options, Box::new(evaluate))
    }

    /// As [`open`](Self::open), with something else in the place of the networks' evaluation: for tests of what happens when
    /// it is slow, or panics.
    ///
    /// # Errors
    /// A store that cannot be opened, or models that cannot be listed.
    #[doc(hidden)]
    pub fn open_with(options: &ServeOptions, evaluate: Box<Evaluate>) -> Result<Self, String> {
        let store = Store::open(&options.store, Keep { age: options.keep, bytes: options.keep_bytes })?;
        Self::on(store, options, evaluate)
    }

    /// The engine on this store.
    fn on(store: Store, options: &ServeOptions, evaluate: Box<Evaluate>) -> Result<Self, String> {
        let limits = options.limits;
        let revived = revive::revive(&store)?;
        let pool = Pool::start(evaluate).map_err(|e| format!("cannot start a thread: {e}"))?;
        let desk = Desk { queue: Queue::new(limits.batch), live: HashMap::new(), arriving: 0, walks: 0, open: true };
        let models = Models::new(options);
        let inner = Arc::new(Inner {
            limits,
            models,
            store,
            pool,
            clock: Clock::default(),
            ids: Ids::default(),
            budget: Budget::new(HELD.max(4 * limits.body as u64)),
            checking: Mutex::default(),
            desk: Mutex::new(desk),
            idle: Condvar::new(),
            images: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        });
        for record in revived {
            // It was accepted; where it finds no room in the budget it goes on without.
            let permit = inner.hold(&record, 0).ok();
            let live = Arc::new(Live::new(record.clone(), None, permit));
            let mut desk = lock(&inner.desk);
            desk.queue.push(&record.client, waiting(&record));
            desk.live.insert(record.job.id, live);
        }
        inner.dispatch();
        Ok(Self { inner })
    }

    /// What clients may make the service hold in memory: bodies, pictures that wait, answers.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Does what may take much memory for a moment while no request is checked, which may take as much.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _one_at_a_time = lock(&self.inner.checking);
        work()
    }

    /// Models there are; the folders are searched again, so a run that has just finished is there.
    pub fn models(&self) -> Vec<ModelInfo> {
        self.inner.models.list()
    }

    /// Takes a job; it is in the store when this returns. `key` makes it idempotent: the same key of the same client gets the
    /// same job. Who goes away before this returns, and has no key to ask for the job by, wants it no more: it is cancelled.
    ///
    /// # Errors
    /// 404 no such model, 409 the key was used for another request, 422 a request that the model cannot fulfil, 429 queue full,
    /// 503 no memory for the model, or closing.
    pub async fn submit(&self, request: Generate, client: Client, key: Option<String>) -> Result<Job, Problem> {
        let inner = Arc::clone(&self.inner);
        // A task of its own: a client that goes away leaves no job half submitted.
        let submit = move || {
            let unnamed = key.is_none();
            let job = inner.submit(request, client, key)?;
            Ok::<_, Problem>(Ticket { inner, job, unnamed })
        };
        Ok(blocking(submit).await??.hand_over())
    }

    /// A job.
    ///
    /// # Errors
    /// 404 no such job; 503 `store`: the store cannot be read now. The same for all that follows.
    pub async fn job(&self, id: &str) -> Result<Job, Problem> {
        if let Some((live, position)) = self.inner.live(id) {
            return Ok(Job { position, ..live.job() });
        }
        let (inner, id) = (Arc::clone(&self.inner), checked(id).ok_or_else(|| no_job(id))?.to_owned());
        blocking(move || inner.store.record(&id).map_err(trouble)?.map(|record| record.job).ok_or_else(|| no_job(&id)))
            .await?
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, Problem> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.jobs(&query)).await?
    }

    /// The PNG of a finished picture.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn image(&self, id: &str, index: usize) -> Result<Vec<u8>, Problem> {
        let (engine, id) = (self.clone(), id.to_owned());
        blocking(move || engine.read_image(&id, index)).await?
    }

    /// As [`image`](Self::image), on a thread that may wait for the disk.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub fn read_image(&self, id: &str, index: usize) -> Result<Vec<u8>, Problem> {
        let png = checked(id).map_or(Ok(None), |id| self.inner.store.image(id, index)).map_err(trouble)?;
        png.ok_or_else(|| Problem::not_found(format!("there is no finished picture {index} of a job `{}`", short(id))))
    }

    /// The steps of a job with `frames`.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn frames(&self, id: &str) -> Result<Vec<Frame>, Problem> {
        if let Some((live, _)) = self.inner.live(id) {
            return Ok(live.frames().iter().map(|frame| (**frame).clone()).collect());
        }
        let (inner, id) = (Arc::clone(&self.inner), checked(id).ok_or_else(|| no_job(id))?.to_owned());
        blocking(move || {
            inner.store.record(&id).map_err(trouble)?.ok_or_else(|| no_job(&id))?;
            inner.store.frames(&id).map_err(trouble)
        })
        .await?
    }

    /// What happens to a job: first its state, the frames and pictures so far, then everything as it happens; the stream ends
    /// after a final state, which comes last also where the job ended long ago. A slow watcher misses progress, never a
    /// state, a frame or a picture.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn watch(&self, id: &str) -> Result<mpsc::Receiver<Update>, Problem> {
        if let Some((live, position)) = self.inner.live(id) {
            let (to, updates) = mpsc::channel(BEHIND);
            let (inner, own) = (Arc::clone(&self.inner), id.to_owned());
            tokio::spawn(live.follow(position, move || inner.live(&own).and_then(|(_, position)| position), to));
            return Ok(updates);
        }
        let job = self.job(id).await?;
        let (to, updates) = mpsc::channel(1);
        tokio::spawn(self.clone().retell(job, to));
        Ok(updates)
    }

    /// Tells a watcher what happened to a job that has ended: each step is read when the one before is taken, as there may be
    /// many of them, and many watchers.
    async fn retell(self, job: Job, to: mpsc::Sender<Update>) {
        for row in (0..=job.rows).filter(|_| job.request.frames) {
            let (inner, id) = (Arc::clone(&self.inner), job.id.clone());
            let Ok(Ok(frame)) = blocking(move || inner.store.frame(&id, row)).await else { return };
            if let Some(frame) = frame
                && to.send(Update::Frame(Arc::new(frame))).await.is_err()
            {
                return;
            }
        }
        let images: Vec<_> = job.images.iter().cloned().map(Update::Image).collect();
        for update in images.into_iter().chain([Update::State(Box::new(job))]) {
            if to.send(update).await.is_err() {
                return;
            }
        }
    }

    /// Ends a job within one evaluation; one that has ended stays as it is.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn cancel(&self, id: &str) -> Result<Job, Problem> {
        let Some((live, _)) = self.inner.live(id) else { return self.job(id).await };
        let inner = Arc::clone(&self.inner);
        // At once: the disk may have its time.
        live.stop.store(true, Ordering::Relaxed);
        blocking(move || {
            let job = inner.end(&live, JobState::Cancelled, None);
            inner.dispatch();
            job
        })
        .await
    }

    /// Cancels a job and forgets it.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn delete(&self, id: &str) -> Result<(), Problem> {
        self.cancel(id).await?;
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        blocking(move || inner.store.write(Change::Delete(id)).map(drop).map_err(trouble)).await?
    }

    /// Whether the service takes jobs.
    ///
    /// # Errors
    /// 503: `closing`, or `store` while the store cannot be used.
    pub fn ready(&self) -> Result<(), Problem> {
        if !self.is_open() {
            return Err(Problem::unavailable("closing", "the service is about to end and takes no more jobs", 10));
        }
        self.inner.store.sound().map_err(trouble)
    }

    /// Whether the service goes on: it has not been asked to end.
    pub fn is_open(&self) -> bool {
        lock(&self.inner.desk).open
    }

    /// Takes no more jobs, finishes what is being made if `patience` allows it, and hands the rest back to the queue in the store.
    pub async fn close(&self, patience: Duration) {
        let inner = Arc::clone(&self.inner);
        let _ = blocking(move || inner.close(patience)).await;
    }
}

/// One evaluation of a network, done when this returns.
fn evaluate(model: &Model, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
    let guess = model.reader().denoise(x, at, cond);
    if let Err(e) = guess.x0.device().sync() {
        panic!("the device failed: {e:?}");
    }
    guess
}

/// Runs what waits for disks and devices where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem::internal(format!("a fault of the program: {e}")))
}

/// The store cannot be used now.
fn trouble(why: String) -> Problem {
    Problem::unavailable("store", why, 5)
}

fn no_job(id: &str) -> Problem {
    Problem::not_found(format!("there is no job `{}`; finished ones are kept for a time only", short(id)))
}

/// As much of a text that a client sent as is worth repeating.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What is to be made of a job.
fn waiting(record: &Record) -> Waiting {
    let job = &record.job;
    let made: Vec<usize> = job.images.iter().map(|made| made.index).collect();
    let todo: VecDeque<usize> = (0..job.n).filter(|k| !made.contains(k)).collect();
    let (id, weight, rows) = (job.id.clone(), record.weight, job.rows);
    let (whole, alone) = (job.request.frames, revive::is_suspect(record));
    Waiting { id, todo, weight, rows, whole, alone, begun: false }
}

impl Inner {
    /// A job that has not ended, and its place in the queue.
    fn live(&self, id: &str) -> Option<(Arc<Live>, Option<usize>)> {
        let desk = lock(&self.desk);
        let live = Arc::clone(desk.live.get(id)?);
        let position = desk.queue.position(&live.client, id);
        Some((live, position))
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, Problem> {
        let live: HashMap<String, Arc<Live>> = lock(&self.desk).live.clone();
        let state = |id: &str| live.get(id).map(|live| live.job().state);
        let records = self.store.list(query.before.as_deref(), query.limit, query.state, state).map_err(trouble)?;
        let now = |record: Record| match live.get(&record.job.id) {
            Some(live) => Job { position: self.live(&live.id).and_then(|(_, position)| position), ..live.job() },
            None => record.job,
        };
        Ok(records.into_iter().map(now).collect())
    }

    fn close(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut desk = lock(&self.desk);
        desk.open = false;
        while desk.walks > 0 && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            desk = self.idle.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let rest: Vec<Arc<Live>> = desk.live.values().cloned().collect();
        rest.iter().for_each(|live| live.stop.store(true, Ordering::Relaxed));
        while desk.walks > 0 {
            desk = self.idle.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        drop(desk);
        for live in rest {
            let mut record = live.record();
            if !record.job.state.is_final() {
                (record.job.state, record.start) = (JobState::Queued, JobStart::Waiting);
                record.spent = *lock(&live.spent);
                // One that cannot be written is taken up from what the store knew of it.
                let _ = self.store.write(Change::Save(Box::new(record), Results::none()));
            }
            live.leave();
        }
        self.store.close();
    }
}
