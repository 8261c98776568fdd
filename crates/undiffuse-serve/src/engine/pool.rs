//! One evaluation for many walks: every walk asks here for its next guess, and what is asked of one model at about the same
//! time is answered by one batch.
//!
//! A walk runs on a thread of its own with its own solver, levels, guidance and inpainting, around a [`Pooled`] denoiser
//! that asks and waits. So jobs that have nothing in common but the network share its evaluations, and a new one joins at
//! the others' next step. On the CPU a picture is the same bits whatever shared its batch.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use undiffuse::Model;
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::denoise::{At, Cond, Denoise, Guess};

use super::lock;
use super::models::Loaded;

/// What evaluates a network.
pub type Evaluate = dyn Fn(&Model, Tensor<4>, &[At], &Cond) -> Guess + Send + Sync;

/// How long the first of a batch waits for walks that are between two steps.
const PATIENCE: Duration = Duration::from_millis(2);

/// An evaluation that would take longer is split.
const MOMENT: Duration = Duration::from_millis(500);

/// Why a walk got no guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its job was stopped.
    Stopped,
    /// The evaluation panicked, with this message.
    Panic(String),
}

/// Guesses for one walk that waits.
struct Ask {
    x: Tensor<4>,
    at: Vec<At>,
    cond: Cond,
    stop: Arc<AtomicBool>,
    reply: SyncSender<Result<(Guess, f64), Fault>>,
}

/// Walks that can share a batch: of one network and one size of picture.
struct Group {
    model: Arc<Loaded>,
    shape: [usize; 3],
    /// Pictures in one evaluation.
    limit: usize,
    /// What one of them costs, in pictures of the model's own size.
    cost: f64,
    /// Walks under way.
    walks: usize,
    asks: VecDeque<Ask>,
    /// When the first of `asks` came.
    since: Instant,
}

impl Group {
    fn is_ready(&self) -> bool {
        let pictures: usize = self.asks.iter().map(|ask| ask.at.len()).sum();
        let full = self.asks.len() >= self.walks || pictures >= self.limit;
        !self.asks.is_empty() && (full || self.since.elapsed() >= PATIENCE)
    }

    /// Pictures in the next evaluation: what fits into the memory, and is done in a moment. Nobody can leave an evaluation, so a
    /// long one is several, of one picture each at the least; the pictures are the same bits.
    fn part(&self) -> usize {
        let pace = self.model.pace() * self.cost;
        // Nothing is known of a model that has made none yet.
        let part = if pace > 0.0 { (MOMENT.as_secs_f64() / pace) as usize } else { 1 };
        part.clamp(1, self.limit)
    }

    /// What is evaluated together next: in the order of arrival, as much as fits into one evaluation.
    fn take(&mut self, limit: usize) -> Vec<Ask> {
        let (mut taken, mut pictures) = (Vec::<Ask>::new(), 0);
        while let Some(ask) = self.asks.front() {
            if !taken.is_empty() && pictures + ask.at.len() > limit {
                break;
            }
            pictures += ask.at.len();
            taken.extend(self.asks.pop_front());
        }
        // Those left have waited for the device, not for company.
        taken
    }
}

#[derive(Default)]
struct State {
    groups: Vec<Group>,
    /// The group whose turn it is.
    turn: usize,
    closed: bool,
}

/// Figures of the evaluations so far.
pub struct Tally {
    /// Evaluations.
    pub batches: AtomicU64,
    /// Pictures in them.
    pub pictures: AtomicU64,
    /// Pictures in each.
    pub sizes: Histogram,
    /// Seconds for one picture lately, as the bits of an `f64`.
    pace: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let sizes = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
        Self { batches: AtomicU64::new(0), pictures: AtomicU64::new(0), sizes, pace: AtomicU64::new(0) }
    }
}

impl Tally {
    /// Seconds that one evaluation of one picture took lately; 0 before the first.
    pub fn pace(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    fn count(&self, pictures: usize, seconds: f64) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.pictures.fetch_add(pictures as u64, Ordering::Relaxed);
        self.sizes.observe(pictures as f64);
        let (old, new) = (self.pace(), seconds / pictures.max(1) as f64);
        let pace = if old == 0.0 { new } else { 0.9 * old + 0.1 * new };
        self.pace.store(pace.to_bits(), Ordering::Relaxed);
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    evaluate: Box<Evaluate>,
    tally: Tally,
}

/// The device's one thread, and what waits for it.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts the thread.
    ///
    /// # Errors
    /// A system that has no thread to give.
    pub fn start(evaluate: Box<Evaluate>) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), evaluate, tally: Tally::default() });
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("device".into()).spawn(move || own.run())?;
        Ok(Self { shared })
    }

    /// A seat for one walk of pictures `shape`; at most `limit` pictures are evaluated at a time.
    pub fn join(&self, model: &Arc<Loaded>, shape: [usize; 3], limit: usize, stop: Arc<AtomicBool>) -> Pooled {
        let [_, height, width] = shape;
        let cost = model.cost([height, width]);
        let mut state = lock(&self.shared.state);
        match state.groups.iter_mut().find(|group| group.is(model, shape)) {
            Some(group) => group.walks += 1,
            None => state.groups.push(Group {
                model: Arc::clone(model),
                shape,
                limit: limit.max(1),
                cost,
                walks: 1,
                asks: VecDeque::new(),
                since: Instant::now(),
            }),
        }
        let (model, shared) = (Arc::clone(model), Arc::clone(&self.shared));
        Pooled { shared, model, shape, stop, fault: RefCell::default(), spent: Cell::new(0.0) }
    }

    /// Figures of the evaluations so far.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.wake.notify_all();
    }
}

impl Group {
    fn is(&self, model: &Arc<Loaded>, shape: [usize; 3]) -> bool {
        Arc::ptr_eq(&self.model, model) && self.shape == shape
    }
}

impl Shared {
    /// The device's thread: one evaluation at a time, models in turn.
    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            for group in &mut state.groups {
                let stopped = |ask: &Ask| ask.stop.load(Ordering::Relaxed);
                for ask in group.asks.iter().filter(|ask| stopped(ask)) {
                    let _ = ask.reply.try_send(Err(Fault::Stopped));
                }
                group.asks.retain(|ask| !stopped(ask));
            }
            let count = state.groups.len();
            let turn = state.turn;
            let ready = (0..count).map(|i| (turn + i) % count).find(|&i| state.groups[i].is_ready());
            if let Some(i) = ready {
                state.turn = i + 1;
                let group = &mut state.groups[i];
                let (part, cost) = (group.part(), group.cost);
                let (asks, model) = (group.take(part), Arc::clone(&group.model));
                drop(state);
                self.answer(&model, asks, part, cost);
                drop(model);
                state = lock(&self.state);
                continue;
            }
            if state.closed && count == 0 {
                return;
            }
            let first =
                state.groups.iter().filter(|g| !g.asks.is_empty()).map(|g| PATIENCE.saturating_sub(g.since.elapsed()));
            let timeout = first.min();
            state = match timeout {
                Some(timeout) => {
                    let waited = self.wake.wait_timeout(state, timeout);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
                None => self.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
            };
        }
    }

    /// Evaluates all asks at once; where that panics, each alone, so that only the guilty one fails.
    fn answer(&self, model: &Loaded, asks: Vec<Ask>, part: usize, cost: f64) {
        match self.evaluate(model, &asks, part, cost) {
            Ok(guesses) => {
                for (ask, guess) in asks.into_iter().zip(guesses) {
                    // A walk that is gone needs no answer.
                    let _ = ask.reply.try_send(Ok(guess));
                }
            }
            Err(fault) if asks.len() == 1 => asks.into_iter().for_each(|ask| {
                let _ = ask.reply.try_send(Err(fault.clone()));
            }),
            Err(_) => asks.into_iter().for_each(|ask| self.answer(model, vec![ask], part, cost)),
        }
    }

    /// The guess of each ask with its share of the seconds. Nothing is begun any more for asks that have all been stopped.
    fn evaluate(&self, model: &Loaded, asks: &[Ask], part: usize, cost: f64) -> Result<Vec<(Guess, f64)>, Fault> {
        let begun = Instant::now();
        let counts: Vec<usize> = asks.iter().map(|ask| ask.at.len()).collect();
        let total: usize = counts.iter().sum();
        let run = || -> Result<Vec<Guess>, Fault> {
            let x = cat(asks.iter().map(|ask| ask.x.clone()).collect());
            let at: Vec<At> = asks.iter().flat_map(|ask| ask.at.iter().copied()).collect();
            let cond = Cond::concat(asks.iter().map(|ask| &ask.cond));
            let (mut guesses, mut variances) = (Vec::new(), Vec::new());
            for from in (0..total).step_by(part) {
                if asks.iter().all(|ask| ask.stop.load(Ordering::Relaxed)) {
                    return Err(Fault::Stopped);
                }
                let count = part.min(total - from);
                let x = if count == total { x.clone() } else { x.clone().narrow(0, from, count) };
                let cond = cond.select(from..from + count);
                let Guess { x0, variance } = (self.evaluate)(&model.model, x, &at[from..from + count], &cond);
                guesses.push(x0);
                variances.extend(variance);
            }
            let variance = (variances.len() == guesses.len()).then(|| cat(variances));
            Ok(split(Guess { x0: cat(guesses), variance }, &counts))
        };
        let guesses = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Fault::Panic(message(panic)))??;
        let seconds = begun.elapsed().as_secs_f64();
        self.tally.count(total, seconds);
        model.took(seconds / (total.max(1) as f64 * cost));
        let shares = counts.iter().map(|&count| seconds * count as f64 / total.max(1) as f64);
        Ok(guesses.into_iter().zip(shares).collect())
    }
}

/// A guess of many pictures as guesses of so many each.
fn split(guess: Guess, counts: &[usize]) -> Vec<Guess> {
    if counts.len() == 1 {
        return vec![guess];
    }
    let mut from = 0;
    let mut next = |&count: &usize| {
        let narrow = |t: &Tensor<4>| t.clone().narrow(0, from, count);
        let part = Guess { x0: narrow(&guess.x0), variance: guess.variance.as_ref().map(narrow) };
        from += count;
        part
    };
    counts.iter().map(&mut next).collect()
}

fn cat(mut parts: Vec<Tensor<4>>) -> Tensor<4> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 0),
    }
}

/// What a panic said.
pub fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// A walk's seat in the pool, and its denoiser: asks, and waits for the batch.
///
/// A denoiser cannot fail, so one that got no guess answers `x` and keeps the [`Fault`]: whoever walks looks at it after
/// each row.
pub struct Pooled {
    shared: Arc<Shared>,
    model: Arc<Loaded>,
    shape: [usize; 3],
    stop: Arc<AtomicBool>,
    fault: RefCell<Option<Fault>>,
    spent: Cell<f64>,
}

impl Pooled {
    /// What went wrong.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// Seconds of the device since this was last asked.
    pub fn take_spent(&self) -> f64 {
        self.spent.replace(0.0)
    }

    fn ask(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Result<Guess, Fault> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Fault::Stopped);
        }
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let (reply, answer): (_, Receiver<_>) = sync_channel(1);
        let ask = Ask { x, at: at.to_vec(), cond: cond.clone(), stop: Arc::clone(&self.stop), reply };
        {
            let mut state = lock(&self.shared.state);
            let group = state.groups.iter_mut().find(|group| group.is(&self.model, self.shape));
            let Some(group) = group else { return Err(Fault::Stopped) };
            if group.asks.is_empty() {
                group.since = Instant::now();
            }
            group.asks.push_back(ask);
        }
        self.shared.wake.notify_all();
        let (guess, seconds) = answer.recv().unwrap_or(Err(Fault::Stopped))?;
        self.spent.set(self.spent.get() + seconds);
        Ok(guess)
    }
}

impl Denoise for &Pooled {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        self.ask(x.clone(), at, cond).unwrap_or_else(|fault| {
            self.fault.replace(Some(fault));
            x.into()
        })
    }

    fn device(&self) -> Device {
        self.model.model.network.device()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        if let Some(i) = state.groups.iter().position(|group| group.is(&self.model, self.shape)) {
            state.groups[i].walks -= 1;
            if state.groups[i].walks == 0 {
                state.groups.remove(i);
            }
        }
        drop(state);
        self.shared.wake.notify_all();
    }
}
