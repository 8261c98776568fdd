//! A step of training, and all that it reads and changes: what every rank holds and does alike.

use std::sync::Arc;

use burn::tensor::Device;
use undiffuse_data::{Dataset, HeldOut, Split, names};
use undiffuse_math::prelude::TimingKind;
use undiffuse_math::recipe::{Clip, Recipe};
use undiffuse_nn::NetworkConfig;
use undiffuse_nn::ops::optim::Update;
use undiffuse_nn::ops::tree;
use undiffuse_nn::weights::WeightsError;

use super::checkpoint::Counters;
use super::collective::{Alone, CollectiveKind};
use super::config::{Config, NoiseConfig};
use super::draws::{self, Drawer, Shuffled};
use super::loss::Context;
use super::networks::Networks;
use super::state::{Accumulated, TrainState};
use super::validation::{self, Asked};
use super::watchdog::Losses;
use super::TrainError;
use crate::condition::Conditioner;
use crate::examples::Encoded;
use crate::memory;
use crate::model::{Card, Model, Provenance};
use crate::run::RunFolder;

/// A network that learns from its data.
pub(super) struct Learner {
    pub config: Config,
    /// The configuration's process; its distribution of training times may learn.
    noise: NoiseConfig,
    pub data: Dataset,
    pub split: Split,
    pub conditioner: Conditioner,
    pub state: TrainState,
    pub counters: Counters,
    order: Shuffled,
    losses: Losses,
    pub collective: CollectiveKind,
}

/// What a step comes to.
pub(super) struct Outcome {
    /// The mean loss.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub lr: f64,
}

impl Learner {
    /// A learner that has learned nothing yet.
    pub(super) fn new(config: Config, data: Dataset, device: &Device) -> Result<Self, TrainError> {
        let seed = config.train.seed;
        let split = data.split(HeldOut::Fraction(config.data.held_out), seed);
        let conditioner = Conditioner::learn(&config.condition, &data, &split.train)
            .map_err(|problem| TrainError::wrong(format!("condition: {problem}")))?;
        let config = told(config, &conditioner)?;
        let shape = config.latent_shape()?;
        let network = config.network_for(shape, &conditioner).map_err(TrainError::wrong)?;
        let conditioner = conditioner
            .with_network(&network.io())
            .map_err(|problem| TrainError::wrong(format!("the network {}: {problem}", network.class())))?;
        let networks = config.networks_for(shape, &conditioner, &device.clone().autodiff());
        let networks = networks.map_err(TrainError::Network)?;
        afford(&config, &network, &networks, shape)?;
        let state = TrainState::new(networks.initialized(seed), config.optimizer.clone(), &config.train.ema);
        Ok(Self {
            noise: config.noise.clone(),
            config,
            data,
            split,
            conditioner,
            state,
            counters: Counters::default(),
            order: Shuffled::default(),
            losses: Losses::default(),
            collective: Alone::default().into(),
        })
    }

    /// What the owner of the data should know, one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let lacking = self.conditioner.told_by(&self.data).lacking;
        self.data.warnings().into_iter().chain(lacking).collect()
    }

    /// Goes on from the newest checkpoint of the run that can be read; says what is wrong with newer ones.
    pub(super) fn restore(&mut self, run: &RunFolder, device: &Device) -> Result<Vec<String>, TrainError> {
        let (newest, broken) = run.newest(|path, counters, tensors| {
            let fit = self.state.import(tensors, device);
            fit.map(|()| counters).map_err(|reason| WeightsError::Format { path: path.display().to_string(), reason })
        });
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        self.counters = match newest {
            Some(counters) => counters,
            // Older programs saved nothing before the first steps.
            None if broken.is_empty() && !run.has_learned() => Counters::default(),
            None if broken.is_empty() => return Err(run.lost("it has no checkpoints".into())),
            None => return Err(run.lost(format!("none of its checkpoints can be read ({})", broken.join("; ")))),
        };
        if let (TimingKind::Importance(timing), Some(seen)) = (&mut self.noise.timing, &self.counters.importance) {
            *timing = seen.clone();
        }
        Ok(broken.into_iter().map(|problem| format!("a checkpoint is skipped: {problem}")).collect())
    }

    /// The counters of a checkpoint, for a run that is planned to end at `until` pictures.
    pub(super) fn counters(&mut self, until: Option<u64>) -> Counters {
        if let TimingKind::Importance(timing) = &self.noise.timing {
            self.counters.importance = Some(timing.clone());
        }
        Counters { until, ..self.counters.clone() }
    }

    /// Pictures that are computed on at once.
    pub(super) fn part(&self) -> usize {
        self.config.train.batch / self.config.train.accumulate
    }

    /// The model as it is now: the first average of the weights.
    pub(super) fn model(&self) -> Model {
        let config = &self.config;
        let (noise, how) = (&config.noise, &config.sample);
        let recipe = Recipe {
            clip: Clip::Range(1.0),
            learned_variance: config.loss.learned_variance(),
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
        let mut card = Card { sample, codec: codec.clone(), provenance: Some(provenance), ..Card::default() };
        self.conditioner.note(&mut card);
        let Networks { denoiser, encoder } = self.state.averages[0].networks(self.state.networks());
        let words = self.conditioner.words().map(|words| match encoder {
            Some(encoder) => Arc::new(words.with(encoder)),
            None => Arc::clone(words),
        });
        Model::assembled(denoiser, recipe, card, codec.into(), words.as_ref())
            .expect("the network was made for its codec and its conditioner")
    }

    /// Draws times by their distribution as it is now (`noise`), or as it was at the start (the configuration's).
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

    /// One optimiser step at `factor` times the peak learning rate; the word for what blew up, if it did.
    pub(super) fn step(&mut self, factor: f64) -> Result<Outcome, String> {
        let train = &self.config.train;
        let (batch, part) = (train.batch, self.part());
        let from = self.counters.nimg;
        let mut order = std::mem::take(&mut self.order);
        let mut gradients = Accumulated::default();
        let mut losses = Vec::new();
        let (mut quantiles, mut corrections) = (Vec::new(), Vec::new());
        for k in self.collective.share(train.accumulate) {
            let start = from + (k * part) as u64;
            let examples = self.examples();
            let draws = self.drawer(&self.noise, &examples).train(&mut order, start, part, from, batch);
            quantiles.extend(draws.quantiles.iter().copied());
            corrections.extend(draws.each.iter().map(|draw| draw.correction));
            let (conditioner, noise, dropout) =
                (&self.conditioner, &self.noise, Some(draws::dropout_seed(train.seed, start)));
            let of = |networks: &Networks| {
                self.config.loss.losses(&Context { networks, conditioner, noise, draws: &draws, dropout })
            };
            losses.extend(self.state.accumulate(of, &mut gradients));
        }
        self.order = order;
        let losses = self.collective.gather(losses);
        let loss = tree::sum(&losses) / batch as f64;
        let gradients = self.collective.sum_in_order(gradients.total());
        let gradient_norm = gradients.norm() / batch as f64;
        for (name, value) in [("the loss", loss), ("the gradient", gradient_norm)] {
            if !value.is_finite() {
                return Err(format!("{name} is {value}"));
            }
        }
        self.losses.explodes(loss).map_or(Ok(()), Err)?;
        let clip = if train.clip > 0.0 { (train.clip / gradient_norm.max(1e-12)).min(1.0) } else { 1.0 };
        let update = Update { lr: train.lr * factor, step: self.counters.step, gradient_scale: clip / batch as f64 };
        if let TimingKind::Importance(timing) = &mut self.noise.timing {
            let (quantiles, corrections) = (self.collective.gather(quantiles), self.collective.gather(corrections));
            let losses = losses.iter().zip(corrections).map(|(loss, correction)| loss / correction);
            timing.observe(&quantiles.into_iter().zip(losses).collect::<Vec<_>>());
        }
        self.counters.step += 1;
        self.counters.nimg += batch as u64;
        self.state.update(gradients, &update);
        Ok(Outcome { loss, gradient_norm, lr: update.lr })
    }

    /// Pictures that a validation looks at.
    pub(super) fn validated(&self) -> usize {
        validation::PICTURES.min(self.split.held_out.len())
    }

    /// The mean loss of the averaged network on held-out pictures, always with the same noise.
    pub(super) fn validate(&self) -> Option<f64> {
        let held_out = &self.split.held_out[..self.validated()];
        let losses = self.losses_on(held_out);
        (!held_out.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }

    fn losses_on(&self, indices: &[usize]) -> Vec<f64> {
        let networks = self.state.averages[0].networks(self.state.networks());
        let examples = self.examples();
        let drawer = self.drawer(&self.config.noise, &examples);
        validation::losses(&*self.config.loss, &networks, &drawer, indices, self.part(), Asked::Own)
    }

    /// Evaluates the network on as many pictures as one part of a batch has, for the time that takes; how many they were.
    pub(super) fn try_out(&self) -> usize {
        let some = &self.split.train[..self.part().min(self.split.train.len())];
        self.losses_on(some).len()
    }
}

/// The configuration with what its condition came to for the data.
fn told(mut config: Config, conditioner: &Conditioner) -> Result<Config, TrainError> {
    let (condition, now) = (&mut config.condition, conditioner.fingerprint());
    if !condition.fingerprint.is_empty() && condition.fingerprint != now {
        let problem =
            "what is said of the pictures there is no longer what the run began with: give it back, or begin a new run";
        return Err(TrainError::wrong(format!("condition.from = {:?}: {problem}", condition.from)));
    }
    (condition.kind, condition.fingerprint) = (conditioner.kind().into(), now.into());
    Ok(config)
}

/// Whether there is memory to train these networks: their parameters with their gradients, what the optimizer keeps and averages, and the features
/// of one part of a batch, which the way back needs again.
fn afford(config: &Config, network: &NetworkConfig, networks: &Networks, shape: [usize; 3]) -> Result<(), TrainError> {
    let train = &config.train;
    let parameters = networks.parameters() as u64;
    let copies = (2 + config.optimizer.keeps().len() + train.ema.len()) as u64;
    let part = train.batch / train.accumulate;
    let features = network.features(shape);
    let bytes = parameters.saturating_mul(4 * copies).saturating_add(features.saturating_mul(2 * part as u64));
    let what = format!("a step of {part} pictures through a network of {:.1} M parameters", parameters as f64 / 1e6);
    Ok(memory::afford(&what, bytes)?)
}
