//! A step of training, and all that it reads and changes: what every rank holds and does alike.

use burn::tensor::Device;
use undiffuse_data::{Dataset, HeldOut, names};
use undiffuse_nn::ops::optim::Update;
use undiffuse_nn::ops::tree;
use undiffuse_nn::weights::{Named, WeightsError};

use super::checkpoint::Counters;
use super::collective::{Alone, CollectiveKind};
use super::config::Config;
use super::draws::{self, Shuffled};
use super::length::Decision;
use super::networks::Learned;
use super::state::{Accumulated, TrainState};
use super::task::{Contrasting, Denoising, Material, Place, Product, Task};
use super::watchdog::Losses;
use super::{TrainError, validation};
use crate::memory;
use crate::model::Provenance;
use crate::run::RunFolder;

/// Networks that learn, whichever they are.
pub(super) trait Learner: Send {
    /// What they learn from, and how.
    fn on(&self) -> &Material;

    /// How far they have come.
    fn counters(&self) -> &Counters;

    /// Numbers in all parameters.
    fn parameters(&self) -> usize;

    /// Names of the classes that are told apart.
    fn classes(&self) -> &[String];

    /// What the owner of the data should know, one sentence each.
    fn warnings(&self) -> Vec<String>;

    /// Goes on from the newest checkpoint of the run that can be read; says what is wrong with newer ones.
    fn restore(&mut self, run: &RunFolder, device: &Device) -> Result<Vec<String>, TrainError>;

    /// What a checkpoint holds, of a run that is planned to end at `until` pictures.
    fn state(&mut self, until: Option<u64>) -> (Counters, Vec<Named>);

    /// One optimiser step at `factor` times the peak learning rate; the word for what blew up, if it did.
    fn step(&mut self, factor: f64) -> Result<Outcome, String>;

    /// Pictures that a validation looks at.
    fn validated(&self) -> usize;

    /// The mean loss of the averaged networks on held-out pictures, always with the same noise.
    fn validate(&mut self) -> Option<f64>;

    /// Evaluates the networks on as many pictures as one part of a batch has, for the time that takes; how many they were.
    fn try_out(&self) -> usize;

    /// What the run makes, as it is now: the first average of the weights.
    fn product(&self) -> Product;

    /// What rank 0 has decided.
    fn broadcast(&self, decision: Option<Decision>) -> Option<Decision>;
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

/// The learner that is configured; it has learned nothing yet.
pub(super) fn begin(config: Config, data: Dataset, device: &Device) -> Result<Box<dyn Learner>, TrainError> {
    Ok(match config.clip {
        Some(_) => Box::new(Pupil::<Contrasting>::new(config, data, device)?),
        None => Box::new(Pupil::<Denoising>::new(config, data, device)?),
    })
}

/// Networks that learn a task.
struct Pupil<T: Task> {
    on: Material,
    task: T,
    state: TrainState<T::Networks>,
    counters: Counters,
    order: Shuffled,
    losses: Losses,
    ranks: CollectiveKind,
}

impl<T: Task> Pupil<T> {
    fn new(config: Config, data: Dataset, device: &Device) -> Result<Self, TrainError> {
        let seed = config.train.seed;
        let split = data.split(HeldOut::Fraction(config.data.held_out), seed);
        let mut on = Material { config, data, split };
        let (task, networks) = T::begin(&mut on, &device.clone().autodiff())?;
        afford(&on, &networks, task.features(&on, &networks))?;
        let config = &on.config;
        let state =
            TrainState::new(task.begun(networks.initialized(seed)), config.optimizer.clone(), &config.train.ema);
        Ok(Self {
            on,
            task,
            state,
            counters: Counters::default(),
            order: Shuffled::default(),
            losses: Losses::default(),
            ranks: Alone::default().into(),
        })
    }

    /// The first average of the weights.
    fn averaged(&self) -> T::Networks {
        self.state.averages[0].networks(self.state.networks())
    }
}

impl<T: Task> Learner for Pupil<T> {
    fn on(&self) -> &Material {
        &self.on
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn parameters(&self) -> usize {
        self.state.networks().parameters()
    }

    fn classes(&self) -> &[String] {
        self.task.classes()
    }

    fn warnings(&self) -> Vec<String> {
        self.on.data.warnings().into_iter().chain(self.task.warnings(&self.on)).collect()
    }

    fn restore(&mut self, run: &RunFolder, device: &Device) -> Result<Vec<String>, TrainError> {
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
        self.task.restore(&self.counters);
        Ok(broken.into_iter().map(|problem| format!("a checkpoint is skipped: {problem}")).collect())
    }

    fn state(&mut self, until: Option<u64>) -> (Counters, Vec<Named>) {
        self.task.note(&mut self.counters);
        (Counters { until, ..self.counters.clone() }, self.state.export())
    }

    fn step(&mut self, factor: f64) -> Result<Outcome, String> {
        let train = &self.on.config.train;
        let (batch, count, from) = (train.batch, self.on.part(), self.counters.nimg);
        let mut gradients = Accumulated::default();
        let (mut losses, mut drawn) = (Vec::new(), Vec::new());
        for k in self.ranks.share(train.accumulate) {
            let start = from + (k * count) as u64;
            let part = self.task.draw(&self.on, &mut self.order, Place { start, count, from });
            let dropout = Some(draws::dropout_seed(train.seed, start));
            let of = |networks: &T::Networks| self.task.losses(&self.on, networks, &part, dropout);
            losses.extend(self.state.accumulate(of, &mut gradients));
            drawn.push(part);
        }
        let losses = self.ranks.gather(losses);
        let loss = tree::sum(&losses) / batch as f64;
        let gradients = self.ranks.sum_in_order(gradients.total());
        let gradient_norm = gradients.norm() / batch as f64;
        for (name, value) in [("the loss", loss), ("the gradient", gradient_norm)] {
            if !value.is_finite() {
                return Err(format!("{name} is {value}"));
            }
        }
        self.losses.explodes(loss).map_or(Ok(()), Err)?;
        let clip = if train.clip > 0.0 { (train.clip / gradient_norm.max(1e-12)).min(1.0) } else { 1.0 };
        let update = Update { lr: train.lr * factor, step: self.counters.step, gradient_scale: clip / batch as f64 };
        self.task.observe(&drawn, &losses, &self.ranks);
        self.counters.step += 1;
        self.counters.nimg += batch as u64;
        self.state.update(gradients, &update);
        Ok(Outcome { loss, gradient_norm, lr: update.lr })
    }

    fn validated(&self) -> usize {
        validation::PICTURES.min(self.on.split.held_out.len())
    }

    fn validate(&mut self) -> Option<f64> {
        let held_out = &self.on.split.held_out[..self.validated()];
        let losses = self.task.measure(&self.on, &self.averaged(), held_out);
        let mean = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        self.counters.validation_loss = mean.or(self.counters.validation_loss);
        mean
    }

    fn try_out(&self) -> usize {
        let some = &self.on.split.train[..self.on.part().min(self.on.split.train.len())];
        self.task.measure(&self.on, &self.averaged(), some).len()
    }

    fn product(&self) -> Product {
        let config = &self.on.config;
        let provenance = Provenance {
            program: concat!("undiffuse ", env!("CARGO_PKG_VERSION")).into(),
            data: names::of(self.on.data.path()),
            data_fingerprint: self.on.data.fingerprint().into(),
            data_images: self.on.split.train.len(),
            preset: config.preset.clone(),
            seed: config.train.seed,
            images_seen: self.counters.nimg,
            ema: self.state.averages[0].width,
            validation_loss: self.counters.validation_loss,
        };
        self.task.product(&self.on, self.averaged(), provenance)
    }

    fn broadcast(&self, decision: Option<Decision>) -> Option<Decision> {
        self.ranks.broadcast(decision)
    }
}

/// Whether there is memory to train these networks: their parameters with their gradients, what the optimizer keeps and averages,
/// and the features of one part of a batch, which the way back needs again.
fn afford(on: &Material, networks: &impl Learned, features: u64) -> Result<(), TrainError> {
    let Config { train, optimizer, .. } = &on.config;
    let parameters = networks.parameters() as u64;
    let copies = (2 + optimizer.keeps().len() + train.ema.len()) as u64;
    let part = on.part();
    let bytes = parameters.saturating_mul(4 * copies).saturating_add(features.saturating_mul(2 * part as u64));
    let what = format!("a step of {part} pictures through a network of {:.1} M parameters", parameters as f64 / 1e6);
    Ok(memory::afford(&what, bytes)?)
}
