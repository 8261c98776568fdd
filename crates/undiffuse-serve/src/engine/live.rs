//! A job that has not ended, and those who watch it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::lock;
use super::models::Loaded;
use super::order::Order;
use super::store::{JobStart, Record};
use crate::budget::{Client, Permit};
use crate::job::{Frame, Job, JobProgress, JobState, Made, Update};

/// Least time between two previews of a job.
const PREVIEW: Duration = Duration::from_millis(125);
/// Where a preview takes long to draw, so many times that is left to the pictures before the next.
const REST: u32 = 16;

/// How often those who wait are told how many are before them.
const ADVANCE: Duration = Duration::from_secs(1);

/// Something that no watcher misses.
#[derive(Clone)]
pub enum LiveEvent {
    /// A new state.
    State(Box<Job>),
    /// A step.
    Frame(Arc<Frame>),
    /// A finished picture.
    Image(Made),
}

/// A job that has not ended.
pub struct Live {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub client: Client,
    /// Tells everything that works for it to stop.
    pub stop: Arc<AtomicBool>,
    /// Held while the job changes for good, so that changes reach the store in the order in which they are shown.
    pub change: Mutex<()>,
    /// The model that it was checked against; jobs of a former life, and those that name LoRAs, get theirs when their turn
    /// comes.
    pub loaded: Mutex<Option<Arc<Loaded>>>,
    /// The checked request, as long as it is worked at.
    pub order: Mutex<Weak<Order>>,
    /// Seconds of the device that it has had.
    pub spent: Mutex<f64>,
    /// Its share of the budget.
    _permit: Option<Permit>,
    shown: Mutex<Shown>,
    signal: watch::Sender<u64>,
}

struct Shown {
    record: Record,
    /// Everything so far; watchers read along at their own pace.
    log: Vec<LiveEvent>,
    /// The latest, and how many there were; the preview apart, so that a step without one does not hide it.
    progress: Option<(u64, JobProgress)>,
    preview: Option<(u64, String)>,
    /// When the next is due.
    due: Instant,
    /// Whether the service has let the job go for now.
    left: bool,
}

impl Live {
    /// A job as the store has it.
    pub fn new(record: Record, loaded: Option<Arc<Loaded>>, permit: Option<Permit>) -> Self {
        let log = record.job.images.iter().cloned().map(LiveEvent::Image).collect();
        Self {
            id: record.job.id.clone(),
            client: record.client.clone(),
            stop: Arc::default(),
            change: Mutex::default(),
            loaded: Mutex::new(loaded),
            order: Mutex::default(),
            spent: Mutex::new(record.spent),
            _permit: permit,
            shown: Mutex::new(Shown { record, log, progress: None, preview: None, due: Instant::now(), left: false }),
            signal: watch::Sender::new(0),
        }
    }

    /// The job as it is.
    pub fn record(&self) -> Record {
        lock(&self.shown).record.clone()
    }

    /// The job as it is, for clients.
    pub fn job(&self) -> Job {
        lock(&self.shown).record.job.clone()
    }

    /// How far this start of it has come.
    pub fn start(&self) -> JobStart {
        lock(&self.shown).record.start
    }

    /// Whether somebody watches.
    pub fn is_watched(&self) -> bool {
        self.signal.receiver_count() > 0
    }

    /// Shows a change: the new record and what happened.
    pub fn show(&self, record: Record, events: impl IntoIterator<Item = LiveEvent>) {
        let mut shown = lock(&self.shown);
        shown.record = record;
        shown.log.extend(events);
        drop(shown);
        self.signal.send_modify(|version| *version += 1);
    }

    /// Shows a step.
    pub fn frame(&self, frame: Frame) {
        lock(&self.shown).log.push(LiveEvent::Frame(Arc::new(frame)));
        self.signal.send_modify(|version| *version += 1);
    }

    /// The steps so far.
    pub fn frames(&self) -> Vec<Arc<Frame>> {
        let frame = |event: &LiveEvent| match event {
            LiveEvent::Frame(frame) => Some(Arc::clone(frame)),
            _ => None,
        };
        lock(&self.shown).log.iter().filter_map(frame).collect()
    }

    /// Says how far the pictures in work are, with a preview where one is due and somebody looks.
    pub fn progress(&self, row: usize, rows: usize, preview: impl FnOnce() -> Option<String>) {
        if !self.is_watched() {
            return;
        }
        let mut shown = lock(&self.shown);
        let began = Instant::now();
        let due = began >= shown.due;
        if due {
            shown.due = began + PREVIEW;
        }
        drop(shown);
        // Drawn outside of the lock.
        let preview = if due { preview() } else { None };
        let mut shown = lock(&self.shown);
        if preview.is_some() {
            shown.due = shown.due.max(Instant::now() + began.elapsed() * REST);
        }
        let count = shown.progress.as_ref().map_or(0, |(count, _)| *count) + 1;
        let (done, n) = (shown.record.job.done, shown.record.job.n);
        shown.progress = Some((count, JobProgress { done, n, row, rows, preview: None }));
        if let Some(preview) = preview {
            shown.preview = Some((count, preview));
        }
        drop(shown);
        self.signal.send_modify(|version| *version += 1);
    }

    /// Tells a watcher everything: its state, frames and pictures so far, then what happens; ends after a final state. `place`
    /// says where in the queue the job is.
    pub async fn follow(
        self: Arc<Self>,
        mut position: Option<usize>,
        place: impl Fn() -> Option<usize> + Send,
        to: mpsc::Sender<Update>,
    ) {
        let mut signal = self.signal.subscribe();
        let (now, past) = {
            let shown = lock(&self.shown);
            (Job { position, ..shown.record.job.clone() }, shown.log.len())
        };
        // A state that ends the job comes last, after the pictures.
        let ended = now.state.is_final();
        if !ended && to.send(Update::State(Box::new(now))).await.is_err() {
            return;
        }
        let (mut seen, mut counted) = (0, 0);
        loop {
            let (events, progress, left) = {
                let shown = lock(&self.shown);
                let fresh = shown.progress.as_ref().filter(|(count, _)| *count > counted);
                let preview = || shown.preview.as_ref().filter(|(count, _)| *count > counted).map(|(_, p)| p.clone());
                let progress = fresh.map(|(count, p)| (*count, JobProgress { preview: preview(), ..p.clone() }));
                (shown.log[seen..].to_vec(), progress, shown.left)
            };
            for event in events {
                seen += 1;
                let update = match event {
                    LiveEvent::State(job) if seen <= past && !job.state.is_final() => continue,
                    LiveEvent::State(job) => Update::State(job),
                    LiveEvent::Frame(frame) => Update::Frame(frame),
                    LiveEvent::Image(made) => Update::Image(made),
                };
                let last = matches!(&update, Update::State(job) if job.state.is_final());
                if to.send(update).await.is_err() || last {
                    return;
                }
            }
            if left {
                return;
            }
            if let Some((count, progress)) = progress {
                counted = count;
                // A watcher that is behind misses this one.
                let _ = to.try_send(Update::Progress(progress));
            }
            tokio::select! {
                () = to.closed() => return,
                changed = signal.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(ADVANCE), if position.is_some() => {
                    let now = place();
                    if now != position && now.is_some() {
                        let job = Job { position: now, ..self.job() };
                        if job.state == JobState::Queued && to.send(Update::State(Box::new(job))).await.is_err() {
                            return;
                        }
                    }
                    position = now;
                }
            }
        }
    }

    /// Ends all watching without a final state: the service closes.
    pub fn leave(&self) {
        lock(&self.shown).left = true;
        self.signal.send_modify(|version| *version += 1);
    }
}
