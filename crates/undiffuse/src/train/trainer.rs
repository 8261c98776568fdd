//! The training loop as an iterator of events.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use undiffuse_data::{Dataset, HeldOut, Options, Progress, Split, names};
use undiffuse_math::diffusers::{Clip, Learned, Recipe};
use undiffuse_math::prelude::TimingKind;
use undiffuse_nn::ops::adamw::AdamW;
use undiffuse_nn::{UNet2DModel, init, params};

use super::checkpoint::{self, Counters};
use super::config::{Config, NoiseConfig, Variance};
use super::draws::{self, Drawer, Order};
use super::length::{self, Length, Segment, parse_duration};
use super::metrics::{Line, Metrics};
use super::state::{Accumulated, State};
use super::watchdog::Losses;
use super::{CONFIG_FILE, Event, Preview, Started, Step, TrainError, preview, validation};
use crate::files::{self, FileError};
use crate::model::{Card, Model, ModelError, Provenance};

/// Seconds (and steps) that the speed is measured over before the length of a budgeted run is fixed.
const MEASURE_SECONDS: f64 = 8.0;
const MEASURE_STEPS: u64 = 4;
/// Share of a budget that is left for loading, saving and a machine that slows down.
const RESERVE: f64 = 0.03;

/// A longer run than was planned: the length from here on, in the units of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Extension {
    /// More wall-clock time, such as `5m`.
    pub budget: Option<String>,
    /// Pictures at the new end.
    pub images: Option<u64>,
    /// Passes over the data at the new end.
    pub epochs: Option<f64>,
}

/// A run in progress.
pub struct Trainer {
    config: Config,
    /// The configuration's process; its timing learns.
    noise: NoiseConfig,
    run: PathBuf,
    data: Dataset,
    split: Split,
    state: State,
    counters: Counters,
    length: Length,
    order: Order,
    metrics: Metrics,
    began: Instant,
    /// When the measurement of the speed began, and at how many pictures.
    measuring: Option<(Instant, u64)>,
    budget: Option<f64>,
    last_checkpoint: Instant,
    last_steps: VecDeque<(Instant, u64)>,
    losses: Losses,
    pending: VecDeque<Event>,
    done: bool,
    // Held, not read: dropping it lets another program have the run.
    _lock: File,
}

impl Trainer {
    /// Begins a run in the folder `run`, which must not hold one.
    pub fn create(
        config: Config,
        run: &Path,
        device: &Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        config.check()?;
        if run.join(CONFIG_FILE).exists() {
            return Err(TrainError::Exists(run.to_owned()));
        }
        let began = Instant::now();
        let mut config = config;
        let data = open_data(&config, progress)?;
        config.data.size = data.height();
        config.data.channels = data.channels();
        config.data.classes &= data.classes().len() > 1;
        fs::create_dir_all(run).map_err(files::at("create", run))?;
        let lock = lock(run)?;
        let trainer = Self::new(config, run, device, data, lock, began)?;
        // The file that makes the folder a run comes last, when everything before it went well.
        files::write(&run.join("data.sha256"), trainer.data.fingerprint().as_bytes())?;
        files::write(&run.join(CONFIG_FILE), trainer.config.to_toml().as_bytes())?;
        Ok(trainer)
    }

    /// Goes on with the run in the folder `run` from its newest good checkpoint.
    pub fn resume(
        run: &Path,
        extension: &Extension,
        device: &Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        let began = Instant::now();
        if !run.join(CONFIG_FILE).is_file() {
            return Err(TrainError::NoRun(run.to_owned()));
        }
        let lock = lock(run)?;
        let config = Config::from_toml(&files::read_text(&run.join(CONFIG_FILE))?)?;
        let data = open_unchanged(&config, run, progress)?;
        let mut trainer = Self::new(config, run, device, data, lock, began)?;
        trainer.extend(extension)?;
        Ok(trainer)
    }

    fn new(
        config: Config,
        run: &Path,
        device: &Device,
        data: Dataset,
        lock: File,
        began: Instant,
    ) -> Result<Self, TrainError> {
        let seed = config.train.seed;
        let split = data.split(HeldOut::Fraction(config.data.held_out), seed);
        let labels = config.data.classes.then(|| data.classes().len() + 1);
        let mut unet = config.network.unet(config.data.size, config.data.channels, labels);
        if config.noise.variance == Variance::Learned {
            unet.out_channels *= 2;
        }
        let blank =
            UNet2DModel::new(&unet, &device.clone().autodiff()).map_err(|e| TrainError::Network(e.to_string()))?;
        let mut state = State::new(init::initialize(blank, seed), &config.train.ema);
        let mut warnings = data.warnings();
        let counters = restore(&mut state, run, device, &mut warnings)?;
        let length_file = run.join("length.json");
        let length = if length_file.is_file() {
            serde_json::from_str(&files::read_text(&length_file)?)
                .map_err(|e| TrainError::Network(format!("`{}` is damaged: {e}", length_file.display())))?
        } else {
            Length::default()
        };
        let budget = match config.train.budget.as_str() {
            "" => None,
            text => Some(parse_duration(text).map_err(|e| TrainError::Network(e.to_string()))?.as_secs_f64()),
        };
        let classes = if config.data.classes { data.classes().to_vec() } else { Vec::new() };
        let started = Event::Started(Started {
            run: run.to_owned(),
            images: split.train.len(),
            held_out: split.held_out.len(),
            size: config.data.size,
            channels: config.data.channels,
            classes,
            parameters: params::count(state.network()),
            nimg: counters.nimg,
            warnings,
        });
        let metrics = Metrics::open(&run.join("metrics.jsonl"), counters.nimg)?;
        let mut noise = config.noise.clone();
        if let (TimingKind::Importance(timing), Some(seen)) = (&mut noise.timing, &counters.importance) {
            *timing = seen.clone();
        }
        let mut trainer = Self {
            config,
            noise,
            run: run.to_owned(),
            data,
            split,
            state,
            counters,
            length,
            order: Order::default(),
            metrics,
            began,
            measuring: None,
            budget,
            last_checkpoint: Instant::now(),
            last_steps: VecDeque::new(),
            losses: Losses::default(),
            pending: VecDeque::from([started]),
            done: false,
            _lock: lock,
        };
        if trainer.length.until().is_none() {
            let train = &trainer.config.train;
            let until = match (train.images, train.epochs) {
                (0, 0.0) => None,
                (0, epochs) => Some((epochs * trainer.split.train.len() as f64).ceil() as u64),
                (images, _) => Some(images),
            };
            if let Some(until) = until {
                trainer.plan(until, 0.0)?;
            }
        }
        Ok(trainer)
    }

    /// Adds a stretch to the run's length, when one is asked for.
    fn extend(&mut self, extension: &Extension) -> Result<(), TrainError> {
        if extension.images.is_some() || extension.epochs.is_some() {
            self.length.previews = None;
        }
        let images = match extension {
            Extension { images: Some(images), .. } => Some(*images),
            Extension { epochs: Some(epochs), .. } => Some((epochs * self.split.train.len() as f64).ceil() as u64),
            Extension { budget: Some(budget), .. } => {
                let budget = parse_duration(budget).map_err(TrainError::Network)?.as_secs_f64();
                match (self.length.until(), self.length.images_per_second) {
                    // The speed of the first planning is known, so the new end is, too.
                    (Some(until), speed) if speed > 0.0 => Some(until + self.afford(speed * budget * (1.0 - RESERVE))),
                    _ => {
                        self.budget = Some(budget);
                        None
                    }
                }
            }
            _ => None,
        };
        match images {
            Some(images) if self.length.until().is_none_or(|until| images > until) => {
                self.plan(images, self.length.images_per_second)
            }
            Some(images) => Err(TrainError::Network(format!(
                "the run's end is at {} images already: give a later one than {images}",
                self.length.until().unwrap_or(0)
            ))),
            None => Ok(()),
        }
    }

    /// Fixes the end of the run, on disk before any step depends on it.
    fn plan(&mut self, until: u64, images_per_second: f64) -> Result<(), TrainError> {
        let batch = self.config.train.batch as u64;
        let until = until.div_ceil(batch).max(1) * batch;
        let from = self.length.until().unwrap_or(self.counters.nimg);
        self.length.segments.push(Segment { from, until });
        self.length.images_per_second = images_per_second;
        let text = serde_json::to_string_pretty(&self.length).expect("numbers serialise");
        files::write(&self.run.join("length.json"), text.as_bytes())?;
        Ok(())
    }

    /// The resolved configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The run folder.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Writes a checkpoint now, and the model as it is: for a consumer that stops early.
    pub fn save(&mut self) -> Result<Event, TrainError> {
        if self.counters.nimg > 0 {
            self.write_model()?;
        }
        self.write_checkpoint()
    }

    /// The model as it is now: the first average of the weights.
    pub fn model(&self) -> Model {
        let config = &self.config;
        let (noise, how) = (&config.noise, &config.sample);
        let recipe = Recipe {
            clip: Clip::Range(1.0),
            learned_variance: (config.noise.variance == Variance::Learned).then_some(Learned::Range),
            ..Recipe::new(
                noise.schedule.clone(),
                noise.parameterization.clone(),
                how.spacing.clone(),
                how.solver.clone(),
            )
        };
        let classes = if config.data.classes { self.data.classes().to_vec() } else { Vec::new() };
        let provenance = Provenance {
            program: concat!("undiffuse ", env!("CARGO_PKG_VERSION")).into(),
            data: names::of(self.data.path()),
            data_fingerprint: self.data.fingerprint().into(),
            data_images: self.split.train.len(),
            preset: config.preset.clone(),
            seed: config.train.seed,
            images_seen: self.counters.nimg,
            ema: self.state.averages[0].width,
            validation_loss: self.counters.validation_loss,
        };
        let card = Card {
            null_class: (!classes.is_empty()).then_some(classes.len() as u32),
            classes,
            sample: Some(config.sample.clone()),
            provenance: Some(provenance),
            ..Card::default()
        };
        Model::new(self.state.averages[0].network(self.state.network()), recipe, card)
    }

    fn write_checkpoint(&mut self) -> Result<Event, TrainError> {
        if let TimingKind::Importance(timing) = &self.noise.timing {
            self.counters.importance = Some(timing.clone());
        }
        let path = checkpoint::save(&self.run.join("checkpoints"), &self.counters, &self.state.export())?;
        self.last_checkpoint = Instant::now();
        Ok(Event::Saved { nimg: self.counters.nimg, path })
    }

    fn write_model(&self) -> Result<PathBuf, ModelError> {
        let path = self.run.join("model");
        self.model().save(&path)?;
        Ok(path)
    }

    /// Draws by the timing as it is (`noise`), or as it was at the start (the configuration's).
    fn drawer<'a>(&'a self, noise: &'a NoiseConfig) -> Drawer<'a> {
        let null =
            self.config.data.classes.then(|| (self.data.classes().len() as u32, self.config.train.label_dropout));
        Drawer {
            data: &self.data,
            indices: &self.split.train,
            noise,
            seed: self.config.train.seed,
            flip: self.config.data.flip,
            null_label: null,
        }
    }

    fn shape(&self, batch: usize) -> [usize; 4] {
        [batch, self.config.data.channels, self.config.data.size, self.config.data.size]
    }

    /// One optimiser step.
    fn step(&mut self) -> Result<Step, TrainError> {
        let train = &self.config.train;
        let (batch, part) = (train.batch, train.batch / train.accumulate);
        let from = self.counters.nimg;
        let factor = self.length.lr_factor(from, batch as u64, train.warmup_images, train.lr_schedule);
        let mut order = std::mem::take(&mut self.order);
        let mut gradients = Accumulated::default();
        let mut losses = Vec::new();
        let mut seen = Vec::new();
        for k in 0..train.accumulate {
            let start = from + (k * part) as u64;
            let draws = self.drawer(&self.noise).train(&mut order, start, part, from, batch);
            let seed = draws::dropout_seed(train.seed, start);
            seen.extend(draws.quantiles.iter().copied().zip(draws.corrections.clone()));
            losses.extend(self.state.accumulate(draws, self.shape(part), seed, &mut gradients));
        }
        let loss = losses.iter().sum::<f64>() / batch as f64;
        self.order = order;
        let norm = gradients.norm() / train.accumulate as f64;
        let bad = [("the loss", loss), ("the gradient", norm)].into_iter().find(|(_, value)| !value.is_finite());
        let what = match bad {
            Some((name, value)) => Some(format!("{name} is {value}")),
            None => self.losses.explodes(loss),
        };
        if let Some(what) = what {
            let (step, nimg, advice) = (self.counters.step + 1, from, train.lr / 3.0);
            self.metrics.write(&Line::Diverged { step, nimg, what: &what })?;
            return Err(TrainError::Diverged { step, nimg, what, advice });
        }
        let clip = if train.clip > 0.0 { (train.clip / norm.max(1e-12)).min(1.0) } else { 1.0 };
        let h = AdamW {
            lr: train.lr * factor,
            beta1: train.betas[0],
            beta2: train.betas[1],
            eps: train.eps,
            weight_decay: train.weight_decay,
            step: self.counters.step,
            gradient_scale: clip / train.accumulate as f64,
        };
        if let TimingKind::Importance(timing) = &mut self.noise.timing {
            let losses = seen.iter().zip(&losses).map(|((u, correction), loss)| (*u, loss / correction));
            timing.observe(&losses.collect::<Vec<_>>());
        }
        self.counters.step += 1;
        self.counters.nimg += batch as u64;
        self.state.update(gradients, &h, self.counters.step);
        Ok(Step {
            step: self.counters.step,
            nimg: self.counters.nimg,
            loss,
            gradient_norm: norm,
            lr: h.lr,
            images_per_second: self.speed(),
            seconds: self.began.elapsed().as_secs_f64(),
            until: self.length.until(),
        })
    }

    /// Pictures a second over the last steps.
    fn speed(&mut self) -> f64 {
        self.last_steps.push_back((Instant::now(), self.counters.nimg));
        if self.last_steps.len() > 20 {
            self.last_steps.pop_front();
        }
        let (first, last) = (self.last_steps[0], self.last_steps[self.last_steps.len() - 1]);
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds > 0.0 { (last.1 - first.1) as f64 / seconds } else { 0.0 }
    }

    /// Fixes the length of a budgeted run once the speed is known.
    fn measure(&mut self) -> Result<Option<Event>, TrainError> {
        let Some(budget) = self.budget.filter(|_| self.length.until().is_none()) else { return Ok(None) };
        // The first step is not typical: memory is touched for the first time.
        let Some((since, from)) = self.measuring else {
            self.measuring = Some((Instant::now(), self.counters.nimg));
            return Ok(None);
        };
        let batch = self.config.train.batch as u64;
        let (seconds, images) = (since.elapsed().as_secs_f64(), self.counters.nimg - from);
        if images < MEASURE_STEPS * batch || seconds < MEASURE_SECONDS.min(budget / 10.0) {
            return Ok(None);
        }
        let speed = images as f64 / seconds;
        let left = budget * (1.0 - RESERVE) - self.began.elapsed().as_secs_f64();
        let until = self.counters.nimg + self.afford(speed * left);
        self.plan(until, speed)?;
        Ok(Some(Event::Planned { until: self.length.until().unwrap_or(until), images_per_second: speed }))
    }

    /// How many pictures to train on where there is time for `room` and nothing else; notes how many grids of samples there are.
    fn afford(&mut self, room: f64) -> u64 {
        // An evaluation of the network costs about a third of training on the picture.
        let evaluations =
            preview::PICTURES * self.config.sample.steps + validation::PICTURES.min(self.split.held_out.len());
        let asked = self.config.train.previews;
        let (images, previews) = length::shared(room, evaluations as f64 / 3.0, asked);
        self.length.previews = (previews < asked).then_some(previews);
        images.max(self.config.train.batch as u64)
    }

    /// The mean loss of the averaged network on held-out pictures, always with the same noise.
    fn validate(&self) -> Option<f64> {
        let held_out = &self.split.held_out[..validation::PICTURES.min(self.split.held_out.len())];
        if held_out.is_empty() {
            return None;
        }
        let network = self.state.averages[0].network(self.state.network());
        let part = self.config.train.batch / self.config.train.accumulate;
        let losses = validation::losses(&network, &self.drawer(&self.config.noise), held_out, part);
        Some(losses.iter().sum::<f64>() / losses.len() as f64)
    }

    /// What is due after a step: validation, samples, a checkpoint, the end.
    fn after_step(&mut self, step: &Step) -> Result<(), TrainError> {
        self.metrics.write(&Line::Step(step))?;
        self.pending.push_back(Event::Step(*step));
        if let Some(event) = self.measure()? {
            self.pending.push_back(event);
        }
        let Some(&Segment { from, until }) = self.length.segments.last() else { return Ok(()) };
        let batch = self.config.train.batch as u64;
        let previews = u64::from(self.length.previews.unwrap_or(self.config.train.previews));
        let count = |nimg: u64| nimg.saturating_sub(from) * previews / (until - from).max(1);
        let (nimg, finished) = (step.nimg, step.nimg >= until);
        if count(nimg) > count(nimg.saturating_sub(batch)) {
            if let Some(loss) = self.validate() {
                self.counters.validation_loss = Some(loss);
                self.metrics.write(&Line::Validation { nimg, loss })?;
                self.pending.push_back(Event::Validated { nimg, loss });
            }
            let preview = self.preview()?;
            self.pending.push_back(Event::Preview(preview));
        }
        if finished || self.last_checkpoint.elapsed().as_secs() >= self.config.train.checkpoint_seconds {
            let saved = self.write_checkpoint()?;
            self.pending.push_back(saved);
        }
        if finished {
            self.finish()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TrainError> {
        let model = self.write_model()?;
        self.pending.push_back(Event::Finished { nimg: self.counters.nimg, model });
        self.done = true;
        Ok(())
    }

    fn preview(&self) -> Result<Preview, TrainError> {
        let grid = preview::preview(&self.model()).map_err(|e| TrainError::Network(format!("sample.steps: {e}")))?;
        let folder = self.run.join("samples");
        fs::create_dir_all(&folder).map_err(files::at("create", &folder))?;
        let path = folder.join(format!("{:09}.png", self.counters.nimg));
        files::write(&path, &undiffuse_data::encode_png(&grid, &[])?)?;
        Ok(Preview { nimg: self.counters.nimg, path, grid })
    }

    fn advance(&mut self) -> Result<(), TrainError> {
        // A run that was at its end when it was resumed has only its model to write.
        if self.length.until().is_some_and(|until| self.counters.nimg >= until) {
            return self.finish();
        }
        let step = self.step()?;
        self.after_step(&step)
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

fn open_data(config: &Config, progress: &mut dyn FnMut(Progress)) -> Result<Dataset, TrainError> {
    let data = &config.data;
    let options = Options {
        size: (data.size > 0).then_some(data.size),
        channels: (data.channels > 0).then_some(data.channels),
        background: data.background,
        flip: data.flip,
        strict: data.strict,
        ..Options::default()
    };
    Ok(Dataset::open_with(Path::new(&data.path), &options, progress)?)
}

/// The data of the run in the folder `run`, and which of its pictures were kept out of training.
///
/// # Errors
/// No run, data that cannot be read or are not those that the run began with.
pub fn held_out(run: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(Dataset, Vec<usize>), TrainError> {
    if !run.join(CONFIG_FILE).is_file() {
        return Err(TrainError::NoRun(run.to_owned()));
    }
    let config = Config::from_toml(&files::read_text(&run.join(CONFIG_FILE))?)?;
    let data = open_unchanged(&config, run, progress)?;
    let split = data.split(HeldOut::Fraction(config.data.held_out), config.train.seed);
    Ok((data, split.held_out))
}

/// The data of a run, if they are those that it began with.
fn open_unchanged(config: &Config, run: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Dataset, TrainError> {
    let data = open_data(config, progress)?;
    let before = files::read_text(&run.join("data.sha256"))?;
    if before.trim() != data.fingerprint() {
        let (path, now) = (config.data.path.clone(), data.fingerprint().to_owned());
        return Err(TrainError::DataChanged { path, before: before.trim().into(), now });
    }
    Ok(data)
}

/// Takes the run for this process.
fn lock(run: &Path) -> Result<File, TrainError> {
    let path = run.join("lock");
    let file = File::create(&path).map_err(files::at("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(TrainError::Locked(run.to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            Err(FileError { what: "lock", path: path.display().to_string(), source }.into())
        }
    }
}

/// Puts the newest checkpoint that can be read into `state`.
fn restore(state: &mut State, run: &Path, device: &Device, warnings: &mut Vec<String>) -> Result<Counters, TrainError> {
    for path in checkpoint::all(&run.join("checkpoints")).into_iter().rev() {
        let loaded = checkpoint::load(&path)
            .map_err(|e| e.to_string())
            .and_then(|(counters, tensors)| state.import(tensors, device).map(|()| counters));
        match loaded {
            Ok(counters) => return Ok(counters),
            Err(problem) => warnings.push(format!("checkpoint `{}` is skipped: {problem}", path.display())),
        }
    }
    Ok(Counters::default())
}
