//! What becomes of a chunk: a thread walks it, encodes its pictures, and puts them into the store.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use undiffuse::Model;
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::data::transform::resize;
use undiffuse::data::{encode_png, grid};
use undiffuse::denoise::{At, Cond, Denoise, Guess};
use undiffuse::forward::exposure;
use undiffuse::math::prelude::NoiseLevel;
use undiffuse::sample::{Noise, SampleStep};

use super::id::now;
use super::live::{Live, LiveEvent};
use super::order::{Order, RequestPictures};
use super::pool::{Fault, message};
use super::queue::Chunk;
use super::store::{Change, JobStart, Record, Results};
use super::{Inner, lock, trouble};
use crate::job::{Frame, Job, JobState, Made};
use crate::loras::Loras;
use crate::problem::Problem;

/// Most pixels in a preview.
const PREVIEWED: usize = 1 << 17;

/// So long a job waits for a store that cannot be written.
const DISK: Duration = Duration::from_secs(120);

/// Why a chunk gave no pictures.
enum End {
    /// Its job was stopped, by whoever knows why.
    Stopped,
    /// Its job fails.
    Failed(Problem),
    /// There is no memory for it before another is done, or its store cannot be read now.
    Later(Problem),
}

impl Inner {
    /// Begins whatever there is room for.
    pub fn dispatch(self: &Arc<Self>) {
        loop {
            let mut desk = lock(&self.desk);
            if !desk.open {
                return;
            }
            let Some(chunk) = desk.queue.next() else { return };
            let Some(live) = desk.live.get(&chunk.id).cloned() else {
                desk.queue.release(&chunk);
                continue;
            };
            desk.walks += 1;
            drop(desk);
            let (inner, own) = (Arc::clone(self), chunk.clone());
            let spawned = std::thread::Builder::new().name("walk".into()).spawn(move || inner.work(&live, own));
            if spawned.is_err() {
                // The system has no thread left; whatever ends next tries again.
                let mut desk = lock(&self.desk);
                desk.walks -= 1;
                desk.put_back(chunk);
                return;
            }
        }
    }

    /// The whole life of a chunk's thread.
    fn work(self: Arc<Self>, live: &Arc<Live>, chunk: Chunk) {
        let walked = catch_unwind(AssertUnwindSafe(|| self.walk(live, &chunk)));
        let end = walked.unwrap_or_else(|panic| Err(End::Failed(internal(&message(panic)))));
        let mut later = false;
        match end {
            Ok(()) | Err(End::Stopped) => {}
            Err(End::Failed(problem)) => drop(self.end(live, JobState::Failed, Some(problem))),
            Err(End::Later(problem)) if problem.code == "no_memory" && self.is_alone(live) => {
                drop(self.end(live, JobState::Failed, Some(problem)))
            }
            Err(End::Later(_)) => later = true,
        }
        let mut desk = lock(&self.desk);
        desk.walks -= 1;
        match later {
            true => desk.put_back(chunk),
            false => desk.queue.release(&chunk),
        }
        let alone = desk.walks == 0;
        drop(desk);
        self.idle.notify_all();
        // One that waits for memory is tried again when another walk ends, and by the clock when there is none.
        if later && alone {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        if !later || alone {
            self.dispatch();
        }
    }

    /// Whether no other job holds a model, so that no memory will become free.
    fn is_alone(&self, live: &Live) -> bool {
        let others: Vec<Arc<Live>> = lock(&self.desk).live.values().filter(|l| l.id != live.id).cloned().collect();
        others.iter().all(|other| lock(&other.loaded).is_none())
    }

    /// Walks the pictures of a chunk and keeps them.
    fn walk(self: &Arc<Self>, live: &Arc<Live>, chunk: &Chunk) -> Result<(), End> {
        self.begin(live)?;
        let order = self.order(live).inspect_err(|_| self.set_start(live, JobStart::Waiting))?;
        self.show_running(live, order.plan.rows.len());
        let pictures = &chunk.pictures;
        let prepared = order.model.prepare(&order.cond.select(pictures.iter().copied()), order.init.is_some());
        prepared.map_err(|e| End::Failed(Problem::invalid("model", e.to_string())))?;
        self.models.spare(&order.model, order.batch.min(chunk.places));
        let seat = self.pool.join(&order.loaded, order.model.latent_shape(), order.batch, Arc::clone(&live.stop));
        let origin = order.origin();
        let denoiser = origin.keeping(order.model.denoiser_around(&seat, &order.settings));
        let start = Start { inner: denoiser, x: RefCell::new(order.frames.then_some(None)) };
        let noise = Noise::Seeds(pictures.iter().map(|&k| order.seeds[k]).collect());
        let cond = origin.told(order.cond.select(pictures.iter().copied()));
        let mut walk = order.model.sample_at(&origin, &start, &order.plan, noise, &cond);
        for step in walk.by_ref() {
            match seat.fault() {
                Some(Fault::Stopped) => return Err(End::Stopped),
                Some(Fault::Panic(what)) => return Err(End::Failed(internal(&what))),
                None => self.charge(live, seat.take_spent())?,
            }
            self.set_start(live, JobStart::Evaluated);
            if order.frames {
                let x = start.x.take().flatten();
                x.into_iter().for_each(|x| live.frame(first(&order, x)));
                live.frame(frame(&order.model, &step));
            }
            live.progress(step.row, step.rows, || preview(&order.model, &step.denoised));
        }
        let x = walk.finish().map_err(|e| {
            let refused = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            End::Failed(Problem::new(refused, "no_numbers", e.to_string()))
        })?;
        if order.frames && order.plan.rows.is_empty() {
            live.frame(first(&order, x.clone()));
        }
        // Others need not wait for this walk while it writes.
        drop(start);
        drop(seat);
        let encode = |(image, &k): (_, &usize)| order.png(k, image).map(|png| (k, png));
        let images = order.model.images(x);
        let pngs: Result<Vec<_>, String> = images.iter().zip(pictures).map(encode).collect();
        let pngs = pngs.map_err(|e| End::Failed(internal(&e)))?;
        let made = pictures.iter().map(|&k| Made {
            index: k,
            seed: order.seeds[k],
            shows: order.shows(k),
            url: format!("/api/v1/jobs/{}/images/{k}", live.id),
        });
        let made: Vec<Made> = made.collect();
        // Who is told that the job is done may want the memory.
        drop(order);
        self.keep(live, pngs, &made)
    }

    /// The checked request of a job, made when it is begun.
    fn order(&self, live: &Live) -> Result<Arc<Order>, End> {
        let mut order = lock(&live.order);
        if let Some(order) = order.upgrade() {
            return Ok(order);
        }
        let make = || {
            let job = live.job();
            let held = lock(&live.loaded).clone();
            let (_, loras) = Loras::take(&job.request.asked)?;
            let loaded = held.map_or_else(|| self.models.acquire(Some(&job.model), &loras), Ok)?;
            lock(&live.loaded).get_or_insert_with(|| Arc::clone(&loaded));
            let inputs = self.store.inputs(&live.id).map_err(trouble)?;
            let pictures = RequestPictures::from_png(inputs).map_err(Problem::internal)?;
            Order::new(&job.request, &pictures, loaded, &self.models, &self.limits)
        };
        match make() {
            Ok(made) => {
                let made = Arc::new(made);
                *order = Arc::downgrade(&made);
                Ok(made)
            }
            Err(problem) if matches!(problem.code.as_str(), "no_memory" | "store") => Err(End::Later(problem)),
            Err(problem) => Err(End::Failed(problem)),
        }
    }

    /// Notes in the store that a job is begun, before it is: if the service dies of it, the next life knows.
    fn begin(&self, live: &Live) -> Result<(), End> {
        if live.start() != JobStart::Waiting {
            return Ok(());
        }
        let begun = self.change_patiently(live, &Results::none(), &|record| {
            record.start = JobStart::Begun;
            Vec::new()
        });
        match begun? {
            Some(_) => Ok(()),
            None => Err(End::Stopped),
        }
    }

    /// Notes how far this start of a job has come, in the store some time soon.
    fn set_start(self: &Arc<Self>, live: &Live, start: JobStart) {
        if live.start() == start {
            return;
        }
        {
            let _change = lock(&live.change);
            let mut record = live.record();
            if record.start == start || record.job.state.is_final() {
                return;
            }
            record.start = start;
            record.spent = *lock(&live.spent);
            live.show(record.clone(), []);
            self.store.write_later(Change::Save(Box::new(record), Results::none()));
        }
        // It can be worked at, so others may be beside it.
        if start == JobStart::Evaluated && lock(&self.desk).queue.clear(&live.client, &live.id) {
            self.dispatch();
        }
    }

    /// Shows that a job is being worked at; the store learns of it with the first pictures.
    fn show_running(&self, live: &Live, rows: usize) {
        let _change = lock(&live.change);
        let mut record = live.record();
        if record.job.state != JobState::Queued {
            return;
        }
        record.job.state = JobState::Running;
        record.job.rows = rows;
        record.job.started.get_or_insert_with(now);
        let event = LiveEvent::State(Box::new(record.job.clone()));
        live.show(record, [event]);
    }

    /// Counts the device's seconds of a job.
    fn charge(&self, live: &Live, seconds: f64) -> Result<(), End> {
        let mut spent = lock(&live.spent);
        *spent += seconds;
        if *spent <= self.limits.seconds as f64 {
            return Ok(());
        }
        let detail = format!(
            "the job took more than the {} seconds of computing that are allowed here; ask for fewer pictures or steps",
            self.limits.seconds
        );
        Err(End::Failed(Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, "too_long", detail)))
    }

    /// Puts finished pictures into the store, and shows them once they are safe.
    fn keep(&self, live: &Live, pngs: Vec<(usize, Vec<u8>)>, made: &[Made]) -> Result<(), End> {
        let results = Arc::new(Results { images: pngs, frames: live.frames() });
        let kept = self.change_patiently(live, &results, &|record| {
            let job = &mut record.job;
            job.images.extend(made.iter().cloned());
            job.images.sort_by_key(|made| made.index);
            job.done = job.images.len();
            if job.done == job.n {
                (job.state, job.finished) = (JobState::Done, Some(now()));
            }
            record.deaths = 0;
            made.iter().cloned().map(LiveEvent::Image).collect()
        });
        let Some(job) = kept? else { return Err(End::Stopped) };
        self.images.fetch_add(made.len() as u64, Ordering::Relaxed);
        if job.state == JobState::Done {
            self.forget(live, JobState::Done);
        }
        Ok(())
    }

    /// As [`change`](Self::change); while the store cannot be used, the job waits for it.
    fn change_patiently(
        &self,
        live: &Live,
        results: &Arc<Results>,
        edit: &dyn Fn(&mut Record) -> Vec<LiveEvent>,
    ) -> Result<Option<Job>, End> {
        let end = Instant::now() + DISK;
        let mut pause = Duration::from_millis(50);
        loop {
            let problem = match self.change(live, results, edit) {
                Ok(changed) => return Ok(changed),
                Err(problem) => problem,
            };
            if live.stop.load(Ordering::Relaxed) {
                return Err(End::Stopped);
            }
            if Instant::now() > end {
                return Err(End::Failed(problem));
            }
            // A store that can be used again may still have no room for this.
            std::thread::sleep(pause);
            self.store.recovery(Duration::from_millis(500));
            pause = (2 * pause).min(Duration::from_secs(1));
        }
    }

    /// Changes a job for good: in the store first, then before everybody's eyes. `None` for one that has ended already.
    fn change(
        &self,
        live: &Live,
        results: &Arc<Results>,
        edit: &dyn Fn(&mut Record) -> Vec<LiveEvent>,
    ) -> Result<Option<Job>, Problem> {
        let _change = lock(&live.change);
        let mut record = live.record();
        if record.job.state.is_final() {
            return Ok(None);
        }
        let mut events = edit(&mut record);
        record.spent = *lock(&live.spent);
        let job = record.job.clone();
        let ended = job.state.is_final();
        if ended {
            events.push(LiveEvent::State(Box::new(job.clone())));
        }
        let written = self.store.write(Change::Save(Box::new(record.clone()), Arc::clone(results)));
        if let Err(e) = written {
            // That it has failed or was cancelled can be said at once; the store writes it when it can.
            if !ended || job.state == JobState::Done {
                return Err(trouble(e));
            }
        }
        if ended {
            lock(&live.loaded).take();
        }
        live.show(record, events);
        Ok(Some(job))
    }

    /// Ends a job in this state, unless it has ended before.
    pub fn end(&self, live: &Live, state: JobState, error: Option<Problem>) -> Job {
        live.stop.store(true, Ordering::Relaxed);
        let results = Arc::new(Results { images: Vec::new(), frames: live.frames() });
        let changed = self.change(live, &results, &|record| {
            let job = &mut record.job;
            (job.state, job.finished, job.error) = (state, Some(now()), error.clone());
            Vec::new()
        });
        match changed {
            Ok(Some(job)) => {
                self.forget(live, state);
                job
            }
            _ => live.job(),
        }
    }

    /// Lets a job go that has ended.
    fn forget(&self, live: &Live, state: JobState) {
        let counter = match state {
            JobState::Failed => &self.failed,
            JobState::Cancelled => &self.cancelled,
            _ => &self.done,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.clock.note(&live.job());
        let mut desk = lock(&self.desk);
        desk.queue.remove(&live.client, &live.id);
        desk.live.remove(&live.id);
    }
}

/// A fault of ours, which fails one job.
fn internal(what: &str) -> Problem {
    let what: String = what.chars().take(300).collect();
    Problem::internal(format!("the job ended in a fault of the program, others go on: {what}"))
}

/// The denoiser of a walk, which remembers what the walk starts from when somebody wants to see it.
struct Start<D> {
    inner: D,
    x: RefCell<Option<Option<Tensor<4>>>>,
}

impl<D: Denoise> Denoise for Start<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        if let Some(first @ None) = &mut *self.x.borrow_mut() {
            *first = Some(x.clone());
        }
        self.inner.denoise(x, at, cond)
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

/// The step before the first: what the walk starts from.
fn first(order: &Order, x: Tensor<4>) -> Frame {
    let level = order.plan.rows.first().map_or(NoiseLevel::CLEAN, |row| row.level);
    let NoiseLevel { alpha, sigma } = level;
    let x = side_by_side(&order.model, x * (exposure(level) * grain(&order.model)));
    Frame { row: 0, rows: order.plan.rows.len(), alpha, sigma, x, denoised: None }
}

fn frame(model: &Model, step: &SampleStep) -> Frame {
    let NoiseLevel { alpha, sigma } = step.level;
    let x = match grain(model) {
        1.0 => step.x.clone(),
        grain => {
            let signal = step.denoised.clone() * alpha;
            (step.x.clone() - signal.clone()) * grain + signal
        }
    };
    let x = side_by_side(model, x * exposure(step.level));
    let denoised = Some(side_by_side(model, step.denoised.clone()));
    Frame { row: step.row, rows: step.rows, alpha, sigma, x, denoised }
}

/// By what noise is to be made stronger to be as strong in previews, which are means of squares of so many pixels' side.
fn grain(model: &Model) -> f64 {
    let ([_, height, _], [_, shown, _]) = (model.picture_shape(), model.preview_shape());
    height as f64 / shown as f64
}

/// `[B, C, H, W]` as one picture, `B` times as wide.
fn side_by_side(model: &Model, x: Tensor<4>) -> String {
    let images = model.previews(x);
    data_url(&encode_png(&grid(&images, images.len(), 0), &[]).unwrap_or_default())
}

/// The model's present guess of the first pictures, as a grid of no more than so many pixels.
fn preview(model: &Model, denoised: &Tensor<4>) -> Option<String> {
    let ([n, ..], [_, h, w]) = (denoised.dims(), model.picture_shape());
    let count = (PREVIEWED / (h * w)).clamp(1, n);
    let images = model.previews(denoised.clone().narrow(0, 0, count));
    let sheet = grid(&images, (count as f64).sqrt().ceil() as usize, 0);
    let shrink = ((sheet.width * sheet.height) as f64 / PREVIEWED as f64).sqrt().max(1.0);
    let side = |side: usize| ((side as f64 / shrink) as usize).max(1);
    let sheet = resize(&sheet, side(sheet.width), side(sheet.height));
    encode_png(&sheet, &[]).ok().map(|png| data_url(&png))
}

fn data_url(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
