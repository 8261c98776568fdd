//! The training loop as an iterator of events.

mod planning;

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use undiffuse_data::{Dataset, HeldOut, Opening, Split, names};
use undiffuse_math::prelude::TimingKind;
use undiffuse_math::recipe::{Clip, Learned, Recipe};
use undiffuse_nn::ops::optim::{AdamW, Update};
use undiffuse_nn::ops::tree;
use undiffuse_nn::weights::WeightsError;
use undiffuse_nn::{NetworkConfig, init, params};

use super::checkpoint::{self, Counters};
use super::config::{Config, ConfigError, NoiseConfig, Variance};
use super::draws::{self, Drawer, Order};
use super::length::{Length, Segment, parse_duration};
use super::state::{Accumulated, State};
use super::watchdog::Losses;
use super::{Event, Preview, Started, Step, TrainError, folder, preview, validation};
use crate::condition::Conditioner;
use crate::examples::{Encoded, Examples};
use crate::files;
use crate::memory;
use crate::model::{Card, Model, ModelError, ModelFolder, Provenance};
use crate::run::{CONFIG_FILE, LENGTH_FILE, Line, LogWriter, RunFolder};

/// How a run goes on; without any of it, from its newest good checkpoint to its planned end. Of the three lengths at most
/// one is given, in the units of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// More wall-clock time, such as `5m`.
    pub budget: Option<String>,
    /// Pictures at the new end.
    pub images: Option<u64>,
    /// Passes over the data at the new end.
    pub epochs: Option<f64>,
    /// Where the pictures are now.
    pub data: Option<PathBuf>,
    /// Begin anew, with none of the lengths above, whatever the run has learned; its model stays until there is another.
    pub restart: bool,
}

/// What a run begins with.
enum Begin {
    /// Nothing.
    Anew,
    /// Its newest good checkpoint.
    Saved,
}

/// A run in progress.
pub struct Trainer {
    config: Config,
    /// The configuration's process; its timing learns.
    noise: NoiseConfig,
    run: RunFolder,
    data: Dataset,
    split: Split,
    conditioner: Conditioner,
    state: State,
    counters: Counters,
    length: Length,
    order: Order,
    log: LogWriter,
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
    ///
    /// # Errors
    /// A configuration or data that cannot be used, a folder that holds a run or what is left of one, or the pictures.
    pub fn create(
        config: Config,
        run: &Path,
        device: &Device,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Self, TrainError> {
        let mut config = config;
        config.check()?;
        let run = RunFolder::new(run);
        run.refuse_used()?;
        if config.data.path.is_empty() {
            return Err(wrong("data.path is not given: name the pictures with --data, or in the configuration"));
        }
        let began = Instant::now();
        let data = Dataset::open_with(Path::new(&config.data.path), &config.data.options(), progress)?;
        config.data.path = folder::full_path(Path::new(&config.data.path))?;
        config.data.size = data.height();
        config.data.channels = data.channels();
        files::create_folder(run.path())?;
        let among = run.among(Path::new(&config.data.path))?;
        let lock = lock(&run)?;
        // Another program may have had it while the data were read.
        run.refuse_used()?;
        run.clear()?;
        let mut trainer = Self::new(config, run, device, data, lock, began, Begin::Anew)?;
        if let Some(Event::Started(started)) = trainer.pending.front_mut() {
            started.warnings.extend(among);
        }
        // A run has a checkpoint from its first moment, so that one without is known to have lost it.
        trainer.write_checkpoint()?;
        // The file that makes the folder a run comes last, when everything before it went well.
        trainer.run.write_fingerprint(trainer.data.fingerprint())?;
        trainer.run.write(CONFIG_FILE, &trainer.config.to_toml())?;
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
            return Err(wrong("a run that starts over is as long as its config.toml says: make it longer afterwards"));
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
        let begin = if how.restart { Begin::Anew } else { Begin::Saved };
        if how.restart {
            run.clear()?;
        }
        let mut trainer = Self::new(config, run, device, data, lock, began, begin)?;
        if how.restart {
            trainer.write_checkpoint()?;
        }
        trainer.extend(how)?;
        Ok(trainer)
    }

    fn new(
        config: Config,
        run: RunFolder,
        device: &Device,
        data: Dataset,
        lock: File,
        began: Instant,
        begin: Begin,
    ) -> Result<Self, TrainError> {
        let seed = config.train.seed;
        let split = data.split(HeldOut::Fraction(config.data.held_out), seed);
        let conditioner = Conditioner::learn(&config.condition, &data, &split.train)
            .map_err(|problem| wrong(format!("condition: {problem}")))?;
        let config = told(config, &conditioner)?;
        let shape = config.latent_shape()?;
        let network = config.network_for(shape, conditioner.reads()).map_err(wrong)?;
        let conditioner = conditioner
            .with_network(network.io().reads)
            .map_err(|problem| wrong(format!("the network {}: {problem}", network.class())))?;
        afford(&config, &network, shape)?;
        let blank = network.network(&device.clone().autodiff()).map_err(|e| TrainError::Network(e.to_string()))?;
        let optimizer =
            AdamW { betas: config.train.betas, eps: config.train.eps, weight_decay: config.train.weight_decay };
        let mut state = State::new(init::initialize(blank, seed), optimizer.into(), &config.train.ema);
        let mut warnings = folder::warnings(&data);
        let (counters, length) = match begin {
            Begin::Anew => (Counters::default(), Length::default()),
            Begin::Saved => restore(&mut state, &config, &run, device, &mut warnings)?,
        };
        let budget = match config.train.budget.as_str() {
            "" => None,
            text => Some(parse_duration(text).map_err(wrong)?.as_secs_f64()),
        };
        let started = Event::Started(Started {
            run: run.path().to_owned(),
            images: split.train.len(),
            held_out: split.held_out.len(),
            size: config.data.size,
            channels: config.data.channels,
            classes: conditioner.classes().names().to_vec(),
            parameters: params::count(state.network()),
            nimg: counters.nimg,
            warnings,
        });
        let log = run.log_writer(counters.nimg)?;
        let mut noise = config.noise.clone();
        if let (TimingKind::Importance(timing), Some(seen)) = (&mut noise.timing, &counters.importance) {
            *timing = seen.clone();
        }
        let mut trainer = Self {
            config,
            noise,
            run,
            data,
            split,
            conditioner,
            state,
            counters,
            length,
            order: Order::default(),
            log,
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
        trainer.plan_as_configured()?;
        Ok(trainer)
    }

    /// The resolved configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The run folder.
    pub fn run(&self) -> &Path {
        self.run.path()
    }

    /// Writes a checkpoint now, and the model as it is: for a consumer that stops early.
    ///
    /// # Errors
    /// A folder that cannot be written.
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
        let (sample, codec) = (Some(config.sample.clone()), config.codec.clone());
        let mut card = Card { sample, codec, provenance: Some(provenance), ..Card::default() };
        self.conditioner.note(&mut card);
        let network = self.state.averages[0].network(self.state.network());
        Model::new(network, recipe, card).expect("the network was made for what the codec makes")
    }

    fn write_checkpoint(&mut self) -> Result<Event, TrainError> {
        if let TimingKind::Importance(timing) = &self.noise.timing {
            self.counters.importance = Some(timing.clone());
        }
        self.counters.until = self.length.until();
        let path = checkpoint::save(&self.run.checkpoints(), &self.counters, &self.state.export())?;
        self.last_checkpoint = Instant::now();
        Ok(Event::Saved { nimg: self.counters.nimg, path })
    }

    fn write_model(&self) -> Result<PathBuf, ModelError> {
        let path = self.run.model();
        self.model().save(&path)?;
        Ok(path)
    }

    /// Draws by the timing as it is (`noise`), or as it was at the start (the configuration's).
    fn drawer<'a>(&'a self, noise: &'a NoiseConfig, examples: &'a Encoded<'a>) -> Drawer<'a> {
        Drawer {
            examples,
            indices: &self.split.train,
            noise,
            seed: self.config.train.seed,
            flip: self.config.data.flip,
            conditioner: &self.conditioner,
            dropout: self.config.train.label_dropout,
        }
    }

    fn examples(&self) -> Encoded<'_> {
        Encoded { data: &self.data, codec: &self.config.codec, conditioner: &self.conditioner }
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
            let examples = self.examples();
            let [channels, height, width] = examples.shape();
            let draws = self.drawer(&self.noise, &examples).train(&mut order, start, part, from, batch);
            let shape = [part, channels, height, width];
            let seed = draws::dropout_seed(train.seed, start);
            seen.extend(draws.quantiles.iter().copied().zip(draws.corrections.clone()));
            losses.extend(self.state.accumulate(&self.conditioner, draws, shape, seed, &mut gradients));
        }
        let loss = tree::sum(&losses) / batch as f64;
        self.order = order;
        let gradients = gradients.total();
        let norm = gradients.norm() / batch as f64;
        let bad = [("the loss", loss), ("the gradient", norm)].into_iter().find(|(_, value)| !value.is_finite());
        let what = match bad {
            Some((name, value)) => Some(format!("{name} is {value}")),
            None => self.losses.explodes(loss),
        };
        if let Some(what) = what {
            let (step, nimg, advice) = (self.counters.step + 1, from, train.lr / 3.0);
            self.log.write(&Line::Diverged { step, nimg, what: what.clone() })?;
            return Err(TrainError::Diverged { step, nimg, what, advice });
        }
        let clip = if train.clip > 0.0 { (train.clip / norm.max(1e-12)).min(1.0) } else { 1.0 };
        let update = Update { lr: train.lr * factor, step: self.counters.step, gradient_scale: clip / batch as f64 };
        if let TimingKind::Importance(timing) = &mut self.noise.timing {
            let losses = seen.iter().zip(&losses).map(|((u, correction), loss)| (*u, loss / correction));
            timing.observe(&losses.collect::<Vec<_>>());
        }
        self.counters.step += 1;
        self.counters.nimg += batch as u64;
        self.state.update(gradients, &update);
        Ok(Step {
            step: self.counters.step,
            nimg: self.counters.nimg,
            loss,
            gradient_norm: norm,
            lr: update.lr,
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

    /// The mean loss of the averaged network on held-out pictures, always with the same noise.
    fn validate(&self) -> Option<f64> {
        let held_out = &self.split.held_out[..validation::PICTURES.min(self.split.held_out.len())];
        if held_out.is_empty() {
            return None;
        }
        let network = self.state.averages[0].network(self.state.network());
        let part = self.config.train.batch / self.config.train.accumulate;
        let losses = validation::losses(&network, &self.drawer(&self.config.noise, &self.examples()), held_out, part);
        Some(losses.iter().sum::<f64>() / losses.len() as f64)
    }

    /// What is due after a step: validation, samples, a checkpoint, the end.
    fn after_step(&mut self, step: &Step) -> Result<(), TrainError> {
        self.log.write(&Line::Step(*step))?;
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
                self.log.write(&Line::Validation { nimg, loss })?;
                self.pending.push_back(Event::Validated { nimg, loss });
            }
            let preview = self.preview()?;
            self.pending.extend(preview.map(Event::Preview));
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

    fn preview(&self) -> Result<Option<Preview>, TrainError> {
        let made = preview::preview(&self.model()).map_err(|e| TrainError::Network(format!("sample.steps: {e}")))?;
        let Some(grid) = made else { return Ok(None) };
        let path = self.run.write_sample(self.counters.nimg, &undiffuse_data::encode_png(&grid, &[])?)?;
        Ok(Some(Preview { nimg: self.counters.nimg, path, grid }))
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

/// Takes the run for this program.
fn lock(run: &RunFolder) -> Result<File, TrainError> {
    run.lock()?.ok_or_else(|| TrainError::Locked(run.path().to_owned()))
}

/// Puts the newest checkpoint that can be read into `state`, and says how long the run is; what is wrong with newer
/// checkpoints goes to `warnings`.
fn restore(
    state: &mut State,
    config: &Config,
    run: &RunFolder,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<(Counters, Length), TrainError> {
    let (newest, broken) = run.newest(|path, counters, tensors| {
        let fit = state.import(tensors, device);
        fit.map(|()| counters).map_err(|reason| WeightsError::Format { path: path.display().to_string(), reason })
    });
    let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
    let counters = match newest {
        Some(counters) => counters,
        // Older programs saved nothing before the first steps.
        None if broken.is_empty() && !run.has_learned() => Counters::default(),
        None if broken.is_empty() => return Err(run.lost("it has no checkpoints".into())),
        None => return Err(run.lost(format!("none of its checkpoints can be read ({})", broken.join("; ")))),
    };
    warnings.extend(broken.into_iter().map(|problem| format!("a checkpoint is skipped: {problem}")));
    let length = run.length()?;
    let planned = counters.until.is_some() || config.train.budget.is_empty();
    if planned && length.until().is_none() {
        return Err(run.lost(format!("its `{LENGTH_FILE}`, which says how long it is, is not there")));
    }
    Ok((counters, length))
}

/// A configuration that cannot be used.
fn wrong(problem: impl Into<String>) -> TrainError {
    TrainError::Config(ConfigError(vec![problem.into()]))
}

/// The configuration with what its condition came to for the data.
fn told(mut config: Config, conditioner: &Conditioner) -> Result<Config, TrainError> {
    let (condition, now) = (&mut config.condition, conditioner.fingerprint());
    if !condition.fingerprint.is_empty() && condition.fingerprint != now {
        let problem =
            "what is said of the pictures there is no longer what the run began with: give it back, or begin a new run";
        return Err(wrong(format!("condition.from = {:?}: {problem}", condition.from)));
    }
    (condition.kind, condition.fingerprint) = (conditioner.kind().into(), now.into());
    Ok(config)
}

/// Whether there is memory to train this network: its parameters with their gradients, moments and averages, and the features
/// of one part of a batch, which the way back needs again.
fn afford(config: &Config, network: &NetworkConfig, shape: [usize; 3]) -> Result<(), TrainError> {
    let train = &config.train;
    let parameters = network.parameters().map_err(|e| TrainError::Network(e.to_string()))?;
    let copies = 4 + train.ema.len() as u64;
    let part = train.batch / train.accumulate;
    let features = network.features(shape);
    let bytes = parameters.saturating_mul(4 * copies).saturating_add(features.saturating_mul(2 * part as u64));
    let what = format!("a step of {part} pictures through a network of {:.1} M parameters", parameters as f64 / 1e6);
    Ok(memory::afford(&what, bytes)?)
}
