//! The training loop as an iterator of events: steps, the length that they lead to, the journal of them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use undiffuse_data::{Dataset, Opening};

use super::config::{Config, IMAGES_MAX};
use super::journal::{Journal, lock};
use super::learner::{self, Learner};
use super::length::{Decision, Length, parse_duration};
use super::pace::Pace;
use super::{Event, Started, Step, TrainError, folder, preview};
use crate::files;
use crate::model::{Model, ModelFolder};
use crate::run::{CONFIG_FILE, LENGTH_FILE, LogLine, RunFolder};

/// How a run goes on; without any of it, from its newest good checkpoint to its planned end. Of the three lengths at most
/// one is given, in the units of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// More wall-clock time, such as `5m`: for what is left of a run with a budget, or beyond its end.
    pub budget: Option<String>,
    /// Pictures at the new end.
    pub images: Option<u64>,
    /// Passes over the data at the new end.
    pub epochs: Option<f64>,
    /// Where the pictures are now.
    pub data: Option<PathBuf>,
    /// Start over, with none of the lengths above, whatever the run has learned; its model stays until there is another.
    pub restart: bool,
}

/// Steps whose mean speed is told.
const SPEED: usize = 20;

/// A run in progress.
pub struct Trainer {
    learner: Box<dyn Learner>,
    length: Length,
    /// Of the present stretch, where it has a budget.
    pace: Option<Pace>,
    journal: Journal,
    began: Instant,
    last_steps: VecDeque<(Instant, u64)>,
    pending: VecDeque<Event>,
    done: bool,
}

impl Trainer {
    /// Begins a run in the folder `run`, which must not hold one.
    ///
    /// # Errors
    /// A configuration or data that cannot be used, a folder that holds a run or what is left of one, or the pictures.
    pub fn create(
        config: Config,
        run: &Path,
        device: &Device,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Self, TrainError> {
        Self::begin(config, run, None, device, progress)
    }

    /// Trains again in the folder `run` what was trained in `of`, by what was decided there on its length and with the clock off:
    /// it ends with the same weights, averages and optimiser state to the bit, however often either was interrupted.
    ///
    /// # Errors
    /// As [`create`](Self::create); no run in `of`, or one of which no length was decided; other data than it began with.
    pub fn replay(
        of: &Path,
        data: Option<&Path>,
        run: &Path,
        device: &Device,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Self, TrainError> {
        let of = RunFolder::new(of);
        let mut config = of.config()?;
        let length =
            of.length()?.replayed().map_err(|e| TrainError::Length(format!("`{}`: {e}", of.path().display())))?;
        let path = data.map_or_else(|| of.data_path(&config), Path::to_owned);
        of.open_data(&config, &path, progress)?;
        config.data.path = folder::full_path(&path)?;
        Self::begin(config, run, Some(length), device, progress)
    }

    fn begin(
        mut config: Config,
        run: &Path,
        length: Option<Length>,
        device: &Device,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Self, TrainError> {
        config.check()?;
        let run = RunFolder::new(run);
        run.refuse_used()?;
        if config.data.path.is_empty() {
            return Err(TrainError::wrong(
                "data.path is not given: name the pictures with --data, or in the configuration",
            ));
        }
        let began = Instant::now();
        let data = Dataset::open_with(Path::new(&config.data.path), &config.data.options(), progress)?;
        config.data.path = folder::full_path(Path::new(&config.data.path))?;
        if config.condition.kind == "picture" && !config.condition.from.is_empty() {
            config.condition.from = folder::full_path(Path::new(&config.condition.from))?;
        }
        let encoder = &mut config.condition.words.encoder;
        if !encoder.is_empty() {
            *encoder = folder::full_path(Path::new(encoder))?;
        }
        config.data.size = data.height();
        config.data.channels = data.channels();
        files::create_folder(run.path())?;
        let among = run.among(Path::new(&config.data.path))?;
        let lock = lock(&run)?;
        // Another program may have had it while the data were read.
        run.refuse_used()?;
        run.clear()?;
        let learner = learner::begin(config, data, device)?;
        let mut warnings = learner.warnings();
        warnings.extend(among);
        let journal = Journal::open(run, 0, lock)?;
        let mut trainer = Self::new(learner, length.unwrap_or_default(), journal, warnings, began);
        trainer.plan()?;
        trainer.journal.decide(&trainer.length)?;
        // A run has a checkpoint from its first moment, so that one without is known to have lost it.
        trainer.save_checkpoint()?;
        // The file that makes the folder a run comes last, when everything before it went well.
        let (run, learner) = (&trainer.journal.run, &trainer.learner);
        run.write_fingerprint(learner.on().data.fingerprint())?;
        run.write(CONFIG_FILE, &learner.on().config.to_toml())?;
        trainer.keep_time(began)?;
        Ok(trainer)
    }

    /// Goes on with the run in the folder `run` from its newest good checkpoint.
    ///
    /// # Errors
    /// No run, no checkpoint that can be read, other data than it began with, a length that is reached already, or a folder
    /// `model/` that holds something else.
    pub fn resume(
        run: &Path,
        how: &Resume,
        device: &Device,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Self, TrainError> {
        let began = Instant::now();
        let run = RunFolder::new(run);
        if !run.exists() {
            return Err(TrainError::NoRun(run.path().to_owned()));
        }
        if how.restart && (how.budget.is_some() || how.images.is_some() || how.epochs.is_some()) {
            return Err(TrainError::wrong(
                "a run that starts over is as long as its config.toml says: make it longer afterwards",
            ));
        }
        let lock = lock(&run)?;
        let mut config = run.config()?;
        ModelFolder::replaceable(&run.model())?;
        let path = how.data.clone().unwrap_or_else(|| run.data_path(&config));
        let data = run.open_data(&config, &path, progress)?;
        if how.data.is_some() {
            config.data.path = folder::full_path(&path)?;
            run.write(CONFIG_FILE, &config.to_toml())?;
        }
        let mut learner = learner::begin(config, data, device)?;
        let mut warnings = learner.warnings();
        let mut length = Length::default();
        if how.restart {
            run.clear()?;
        } else {
            warnings.extend(learner.restore(&run, device)?);
            length = run.length()?;
            let planned = learner.counters().until.is_some() || learner.on().config.train.budget.is_empty();
            if planned && length.segments.is_empty() {
                return Err(run.lost(format!("its `{LENGTH_FILE}`, which says how long it is, is not there")));
            }
        }
        let journal = Journal::open(run, learner.counters().nimg, lock)?;
        let mut trainer = Self::new(learner, length, journal, warnings, began);
        trainer.plan()?;
        if how.restart {
            trainer.save_checkpoint()?;
        }
        trainer.extend(how)?;
        // On disk before any step depends on it.
        trainer.journal.decide(&trainer.length)?;
        trainer.keep_time(began)?;
        Ok(trainer)
    }

    fn new(learner: Box<dyn Learner>, length: Length, journal: Journal, warnings: Vec<String>, began: Instant) -> Self {
        let (config, split) = (&learner.on().config, &learner.on().split);
        let started = Started {
            run: journal.run.path().to_owned(),
            images: split.train.len(),
            held_out: split.held_out.len(),
            size: config.data.size,
            channels: config.data.channels,
            classes: learner.classes().to_vec(),
            parameters: learner.parameters(),
            nimg: learner.counters().nimg,
            warnings,
        };
        let (last_steps, pending) = (VecDeque::new(), VecDeque::from([Event::Started(started)]));
        Self { learner, length, pace: None, journal, began, last_steps, pending, done: false }
    }

    /// Plans a run that has no length yet as it is configured.
    fn plan(&mut self) -> Result<(), TrainError> {
        if !self.length.segments.is_empty() {
            return Ok(());
        }
        let train = &self.learner.on().config.train;
        match (train.budget.as_str(), train.images, train.epochs) {
            ("", 0, epochs) => self.length.extend_to(self.rounded(self.passes(epochs))?, 0),
            ("", images, _) => self.length.extend_to(self.rounded(images)?, 0),
            (budget, ..) => self.length.extend_by(seconds(budget)?, 0),
        }
        Ok(())
    }

    /// Adds to the run's length, when that is asked for.
    fn extend(&mut self, how: &Resume) -> Result<(), TrainError> {
        let images = match how {
            Resume { budget: Some(budget), .. } => {
                self.length.extend_by(seconds(budget)?, self.learner.counters().nimg);
                return Ok(());
            }
            Resume { images: Some(images), .. } => *images,
            Resume { epochs: Some(epochs), .. } => self.passes(*epochs),
            _ => return Ok(()),
        };
        let nimg = self.learner.counters().nimg;
        let until = self.length.until().unwrap_or(nimg);
        if images <= until {
            let problem = format!("the run's end is at {until} images already: give a later one than {images}");
            return Err(TrainError::Length(problem));
        }
        let images = self.rounded(images)?;
        self.length.extend_to(images, nimg);
        Ok(())
    }

    /// Pictures seen in so many passes over the data; as many as can be counted where that is too many.
    fn passes(&self, epochs: f64) -> u64 {
        (epochs * self.learner.on().split.train.len() as f64).ceil() as u64
    }

    /// So many pictures in whole steps.
    fn rounded(&self, images: u64) -> Result<u64, TrainError> {
        let batch = self.learner.on().config.train.batch as u64;
        let rounded = images.div_ceil(batch).max(1).checked_mul(batch).filter(|until| *until <= IMAGES_MAX);
        rounded.ok_or_else(|| TrainError::wrong(format!("{images} images are too much: at most {IMAGES_MAX}")))
    }

    /// Has a clock for the stretch that the next step belongs to, if that has a budget; time counts since `began`.
    fn keep_time(&mut self, began: Instant) -> Result<(), TrainError> {
        let present = self.length.index(self.learner.counters().nimg).filter(|_| !self.is_reached());
        if self.pace.as_ref().map(|pace| pace.stretch) == present {
            return Ok(());
        }
        // The clock before ends first: they write to one file.
        self.pace = None;
        if let Some(stretch) = present
            && let segment = &self.length.segments[stretch]
            && segment.budget.is_some()
        {
            self.pace = Some(Pace::start(&self.journal.run, stretch, segment, began)?);
        }
        Ok(())
    }

    fn is_reached(&self) -> bool {
        self.length.is_reached(self.learner.counters().nimg)
    }

    /// The resolved configuration.
    pub fn config(&self) -> &Config {
        &self.learner.on().config
    }

    /// The run folder.
    pub fn run(&self) -> &Path {
        self.journal.run.path()
    }

    /// The model as it is now, the first average of the weights; `None` of what makes no pictures.
    pub fn model(&self) -> Option<Model> {
        self.learner.product().model()
    }

    /// Writes a checkpoint now, and the model as it is: for a consumer that stops early.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn save(&mut self) -> Result<Event, TrainError> {
        if self.learner.counters().nimg > 0 {
            self.journal.write_model(&*self.learner)?;
        }
        self.save_checkpoint()
    }

    fn save_checkpoint(&mut self) -> Result<Event, TrainError> {
        let began = Instant::now();
        let saved = self.journal.save(&mut *self.learner, &self.length)?;
        if let Some(pace) = &mut self.pace {
            pace.saved(began);
        }
        Ok(saved)
    }

    /// One optimiser step.
    fn step(&mut self) -> Result<(), TrainError> {
        let train = &self.learner.on().config.train;
        let (batch, peak) = (train.batch as u64, train.lr);
        let nimg = self.learner.counters().nimg;
        let factor = self.length.lr_factor(nimg, batch, train.warmup_images, train.lr_schedule);
        let outcome = match self.learner.step(factor) {
            Ok(outcome) => outcome,
            Err(what) => {
                let (step, advice) = (self.learner.counters().step + 1, peak / 3.0);
                self.journal.note(&LogLine::Diverged { step, nimg, what: what.clone() })?;
                return Err(TrainError::Diverged { step, nimg, what, advice });
            }
        };
        let nimg = nimg + batch;
        let step = Step {
            step: self.learner.counters().step,
            nimg,
            loss: outcome.loss,
            gradient_norm: outcome.gradient_norm,
            lr: outcome.lr,
            images_per_second: self.speed(nimg),
            seconds: self.began.elapsed().as_secs_f64(),
            until: self.length.until(),
        };
        if let Some(pace) = &mut self.pace {
            pace.stepped(batch);
        }
        self.journal.note(&LogLine::Step(step))?;
        self.pending.push_back(Event::Step(step));
        Ok(())
    }

    /// Pictures a second over the last steps, the last of which ended at `nimg` pictures.
    fn speed(&mut self, nimg: u64) -> f64 {
        self.last_steps.push_back((Instant::now(), nimg));
        if self.last_steps.len() > SPEED {
            self.last_steps.pop_front();
        }
        let (first, last) = (self.last_steps[0], self.last_steps[self.last_steps.len() - 1]);
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds > 0.0 { (last.1 - first.1) as f64 / seconds } else { 0.0 }
    }

    /// The validation and the samples that are due after a step.
    fn look(&mut self) -> Result<(), TrainError> {
        let began = Instant::now();
        let nimg = self.learner.counters().nimg;
        if let Some(loss) = self.learner.validate() {
            self.journal.note(&LogLine::Validation { nimg, loss })?;
            self.pending.push_back(Event::Validated { nimg, loss });
        }
        self.pending.extend(self.journal.preview(&*self.learner)?.map(Event::Preview));
        if let Some(pace) = &mut self.pace {
            pace.previewed(began, 1.0);
        }
        Ok(())
    }

    /// What the clock says of the present stretch's end, if it is time.
    fn consult_clock(&mut self) -> Result<Option<Decision>, TrainError> {
        let (train, nimg) = (&self.learner.on().config.train, self.learner.counters().nimg);
        let Some(pace) = &mut self.pace else { return Ok(None) };
        let segment = &self.length.segments[pace.stretch];
        if !pace.is_time(segment, nimg) {
            return Ok(None);
        }
        if train.previews > 0 && pace.lacks_grid() {
            let grid = self.learner.product().model().map_or(Ok(0), |model| preview::evaluations(&model))?;
            let whole = (grid + self.learner.validated()).max(1);
            let began = Instant::now();
            pace.previewed(began, self.learner.try_out() as f64 / whole as f64);
        }
        Ok(Some(pace.decide(segment, nimg, train.batch as u64, train.previews, train.warmup_images)))
    }

    /// Takes in what is decided of the present stretch's end: written down before the next step depends on it.
    fn decide(&mut self) -> Result<(), TrainError> {
        let decision = self.consult_clock()?;
        let (Some(decision), Some(stretch)) =
            (self.learner.broadcast(decision), self.length.index(self.learner.counters().nimg))
        else {
            return Ok(());
        };
        let segment = &mut self.length.segments[stretch];
        segment.decisions.push(decision);
        segment.until = decision.until;
        let seconds_left = segment.budget.map_or(0.0, |budget| budget - decision.seconds);
        self.journal.decide(&self.length)?;
        if let Some(until) = self.length.until() {
            let images_per_second = decision.images_per_second;
            self.pending.push_back(Event::Planned { until, images_per_second, seconds_left });
        }
        Ok(())
    }

    /// A step, and what is due after it: validation, samples, a checkpoint, the end or what is decided of it.
    fn advance(&mut self) -> Result<(), TrainError> {
        // A run that was at its end when it was resumed has only its model to write.
        if !self.is_reached() {
            let train = &self.learner.on().config.train;
            let (batch, previews, seconds) = (train.batch as u64, train.previews, train.checkpoint_seconds as f64);
            let due = self.length.is_preview_due(self.learner.counters().nimg, batch, previews);
            self.step()?;
            if due {
                self.look()?;
            }
            let every = self.pace.as_ref().map_or(seconds, |pace| {
                pace.save_every(self.length.segments[pace.stretch].budget.unwrap_or(f64::INFINITY), seconds)
            });
            if self.is_reached() || self.journal.is_save_due(every) {
                let saved = self.save_checkpoint()?;
                self.pending.push_back(saved);
            }
        }
        if self.is_reached() {
            let model = self.journal.write_model(&*self.learner)?;
            self.pending.push_back(Event::Finished { nimg: self.learner.counters().nimg, model });
            self.done = true;
            return Ok(());
        }
        self.keep_time(Instant::now())?;
        self.decide()
    }
}

impl Iterator for Trainer {
    type Item = Result<Event, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(event) = self.pending.pop_front() {
            return Some(Ok(event));
        }
        if self.done {
            return None;
        }
        match self.advance() {
            Ok(()) => self.next(),
            Err(e) => {
                self.done = true;
                Some(Err(e))
            }
        }
    }
}

/// The seconds of a budget.
fn seconds(budget: &str) -> Result<f64, TrainError> {
    Ok(parse_duration(budget).map_err(TrainError::wrong)?.as_secs_f64())
}
