//! A model's likelihood on pictures of a dataset: which pictures, which levels, both numbers.
//!
//! [`bound`](mod@super::bound) and [`flow`](mod@super::flow) work on tensors and plans. Here is what any program needs around
//! them: [`Source`] finds the pictures, [`Job`] readies them for a model, [`measure`] does all of it in one call.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use undiffuse_data::{DataError, Dataset, Options, names};
use undiffuse_math::likelihood::bits_per_dim;
use undiffuse_math::noise;
use undiffuse_math::ode::DormandPrince;
use undiffuse_math::prelude::{Grid, Last, Plan, SpacingKind};
use undiffuse_math::spacing::{GridError, LogSnr, Trailing};

use super::bound::{self, Bound, StepVariance};
use super::flow::{self, Flow, FlowError, Trace};
use super::{Dequantize, Estimate, Meaningless, Pictures, to_host};
use crate::Model;
use crate::denoise::Network;
use crate::model::ModelError;
use crate::run::RunFolder;
use crate::train::TrainError;

/// Numbers in a picture for which exact traces are still a matter of seconds.
pub const EXACT_LIMIT: usize = 256;

/// Which of the two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Both, and their difference.
    #[default]
    Both,
    /// The variational bound.
    Bound,
    /// The ODE's likelihood.
    Ode,
}

/// Variance of the chain's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variance {
    /// The posterior's, DDPM's fixed_small.
    #[default]
    Posterior,
    /// The forward process's, DDPM's fixed_large.
    Forward,
    /// Analytic-DPM's, from the model's errors on other pictures of the data.
    Optimal,
    /// The network's own, for models that were trained with it.
    Learned,
}

/// What is measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Which of the two numbers.
    pub which: Which,
    /// Pictures, drawn by `seed`; all when there are fewer.
    pub images: usize,
    /// Seed of the choice of pictures and of all noise.
    pub seed: u64,
    /// Steps of the chain; the schedule's timesteps, or 1000, when not given.
    pub steps: Option<usize>,
    /// Which levels the chain visits; every timestep, or equal intervals of log-SNR, when not given.
    pub spacing: Option<SpacingKind>,
    /// Steps evaluated for each picture; 0 is all of them.
    pub evaluations: usize,
    /// Variance of the chain's steps.
    pub variance: Variance,
    /// What stands for a pixel value in the ODE.
    pub dequantize: Dequantize,
    /// How the ODE's divergence is found.
    pub trace: Trace,
    /// Error that the ODE's integrator allows in a step, relative and absolute.
    pub tolerance: f64,
    /// Pictures computed at a time; results do not depend on it beyond rounding.
    pub batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            which: Which::Both,
            images: 128,
            seed: 0,
            steps: None,
            spacing: None,
            evaluations: 50,
            variance: Variance::Posterior,
            dequantize: Dequantize::Gaussian,
            trace: Trace::Rademacher(1),
            tolerance: 1e-4,
            batch: 64,
        }
    }
}

impl Settings {
    /// Whether a bound is computed: for itself, or for the rounding that the ODE shares with it.
    fn needs_bound(&self) -> bool {
        self.which != Which::Ode || self.dequantize == Dequantize::Gaussian
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeasureError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the model at `{0}` is not inside a run, so it has no held-out pictures of its own: name pictures")]
    NoPictures(PathBuf),
    #[error("the run's own held-out pictures cannot be read; name other pictures: {0}")]
    HeldOut(#[source] TrainError),
    #[error("{name} holds {count} pictures: at least 2 are needed")]
    TooFew { name: String, count: usize },
    #[error(
        "{count} of the pictures of {name} are of no class that the model knows, and it has not learnt to go without one: \
         name pictures of its classes"
    )]
    NoClass { name: String, count: usize },
    #[error("the model's pictures are {width}×{height}; only square ones can be measured")]
    NotSquare { width: usize, height: usize },
    #[error("the levels of the chain: {0}")]
    Grid(#[from] GridError),
    #[error(transparent)]
    Meaningless(#[from] Meaningless),
    #[error(
        "an exact trace takes a gradient for each of a picture's {0} numbers at every evaluation; it is for at most {EXACT_LIMIT}"
    )]
    Exact(usize),
    #[error(
        "optimal variances need the model's errors on other pictures than the {0} that are measured: measure fewer of the data's"
    )]
    NoSpare(usize),
    #[error(transparent)]
    Flow(FlowError),
    #[error("interrupted: a mean over the pictures done so far would not be the one asked for")]
    Interrupted,
}

/// Where the pictures come from.
#[derive(Debug)]
pub struct Source {
    /// The dataset.
    pub data: Dataset,
    /// What they are called, in messages and reports.
    pub name: String,
    /// Which of its pictures may be drawn.
    pub candidates: Vec<usize>,
}

impl Source {
    /// The pictures at `data`, or those that the run around `model` kept out of its training, for pictures of
    /// `shape [C, H, W]`.
    ///
    /// # Errors
    /// Shapes that are not square, data that cannot be read, a model outside a run without data.
    pub fn open(model: &Path, data: Option<&Path>, shape: [usize; 3]) -> Result<Self, MeasureError> {
        let [channels, height, width] = shape;
        if height != width {
            return Err(MeasureError::NotSquare { width, height });
        }
        if let Some(path) = data {
            let options = Options { size: Some(height), channels: Some(channels), ..Options::default() };
            let data = Dataset::open(path, &options)?;
            let candidates = (0..data.len()).collect();
            return Ok(Self { data, name: names::of(path), candidates });
        }
        let run = RunFolder::find(model).ok_or_else(|| MeasureError::NoPictures(model.to_owned()))?;
        let (data, candidates) = run.held_out(&mut |_| {}).map_err(MeasureError::HeldOut)?;
        let name = format!("the held-out part of {}", names::of(data.path()));
        Ok(Self { data, name, candidates })
    }

    /// `n` of the pictures, or as many as there are, and the others, both in an order drawn by `seed`.
    ///
    /// # Errors
    /// Fewer than 2 pictures: a mean needs an error.
    pub fn choose(&self, n: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>), MeasureError> {
        let wanted = n.min(self.candidates.len());
        if wanted < 2 {
            return Err(MeasureError::TooFew { name: self.name.clone(), count: wanted });
        }
        let order = noise::shuffled(seed, u64::from(u32::MAX), self.candidates.len() as u32);
        let mut chosen: Vec<usize> = order.iter().map(|&i| self.candidates[i as usize]).collect();
        let others = chosen.split_off(wanted);
        Ok((chosen, others))
    }
}

/// Pictures of a dataset in the model's pixel range, and what they show in the model's terms.
pub fn pictures(model: &Model, data: &Dataset, indices: &[usize], seed: u64) -> Pictures {
    let mut x0 = Vec::new();
    data.batch(indices, &vec![false; indices.len()], &mut x0);
    let range = model.recipe.pixels;
    if range != (-1.0, 1.0) {
        x0.iter_mut().for_each(|x| *x = ((f64::from(*x) + 1.0) / 2.0 * (range.1 - range.0) + range.0) as f32);
    }
    let cond = indices.iter().map(|&i| model.conditioner.ask(data, i)).collect();
    let seeds = indices.iter().map(|&i| noise::bits(seed, i as u64, 0)).collect();
    let [channels, height, width] = model.picture_shape();
    let x0 = Tensor::from_data(TensorData::new(x0, [indices.len(), channels, height, width]), &Device::flex());
    let (shape, codec) = (model.latent_shape(), model.codec.clone());
    Pictures { shape, x0: to_host(codec.encode(x0)), codec, range, seeds, cond }
}

/// The levels of the chain: `steps` of `spacing`, or every timestep of the model's schedule, or else 1000 equal
/// intervals of log-SNR.
///
/// # Errors
/// No steps, or more than the schedule has timesteps.
pub fn grid<'a>(model: &'a Model, steps: Option<usize>, spacing: Option<&SpacingKind>) -> Result<Grid<'a>, GridError> {
    let schedule = &model.recipe.schedule;
    let timesteps = schedule.discrete_steps();
    let steps = steps.or(timesteps).unwrap_or(1000);
    let spacing = spacing.cloned().unwrap_or_else(|| match timesteps == Some(steps) {
        true => Trailing::default().into(),
        false => LogSnr {}.into(),
    });
    Grid::new(&**schedule, &*spacing, steps, Last::Clean)
}

/// The part of a measurement that is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The model's errors on other pictures, for optimal variances.
    Errors,
    /// The variational bound.
    Bound,
    /// The ODE.
    Ode,
}

/// How far a stage is, in units of which each picture has `per_image`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is at work.
    pub stage: Stage,
    /// Units done.
    pub done: usize,
    /// Units in all.
    pub total: usize,
    /// Units of a picture.
    pub per_image: usize,
}

/// A measurement that is ready to run: everything that can be wrong has been checked.
#[derive(Debug)]
pub struct Job<'a> {
    /// The model; the ODE needs it on an autodiff device, see [`load`].
    pub model: &'a Model,
    /// How.
    pub settings: &'a Settings,
    /// The chain of the bound; the ODE runs between its ends.
    pub plan: Plan,
    /// The pictures.
    pub pictures: Pictures,
    /// Those of them that had to be resized.
    pub resized: usize,
    /// Other pictures, where variances come from errors.
    spare: Pictures,
    /// Name and fingerprint of the data.
    data: (String, String),
}

/// Loads a model for a measurement: gradients by the picture, never by the weights.
///
/// # Errors
/// Folders that are no model.
pub fn load(path: &Path, variant: Option<&str>, device: &Device) -> Result<Model, ModelError> {
    let mut model = Model::load_variant(path, variant, &device.clone().autodiff())?;
    model.network = model.network.no_grad();
    Ok(model)
}

/// Loads the model at `path`, with the weights of a variant or the usual ones, and measures it on the pictures at `data`, or on
/// those that its run kept out of training.
///
/// `progress` stops the work by answering false.
///
/// # Errors
/// Whatever [`MeasureError`] names.
pub fn measure(
    path: &Path,
    variant: Option<&str>,
    data: Option<&Path>,
    settings: &Settings,
    device: &Device,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<Measured, MeasureError> {
    let model = load(path, variant, device)?;
    let source = Source::open(path, data, model.picture_shape())?;
    let job = Job::new(&model, &source, settings)?;
    let outcome = job.run(progress)?;
    Ok(job.measured(&outcome))
}

/// Both measurements, in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The bound. The ODE's rounding is its reconstruction, so it is here (with a single evaluation of the steps) even
    /// when the ODE alone was asked for, unless pixels are dequantised by uniform noise.
    pub bound: Option<Bound>,
    /// The ODE.
    pub flow: Option<Flow>,
}

impl<'a> Job<'a> {
    /// Draws the pictures and lays the plan.
    ///
    /// # Errors
    /// Whatever [`MeasureError`] names.
    pub fn new(model: &'a Model, source: &Source, settings: &'a Settings) -> Result<Self, MeasureError> {
        let [_, height, width] = model.picture_shape();
        if !model.codec.is_orthonormal() {
            return Err(Meaningless::Codec(model.codec.tag()).into());
        }
        let (chosen, others) = source.choose(settings.images, settings.seed)?;
        let resized = chosen.iter().filter(|&&i| source.data.original_size(i) != (width, height)).count();
        let plan =
            super::plan(&grid(model, settings.steps, settings.spacing.as_ref())?, &*model.recipe.parameterization)?;
        let latent = model.latent_shape();
        let learned =
            model.recipe.learned_variance.is_some() && model.network.config().io().channels_out == 2 * latent[0];
        if settings.variance == Variance::Learned && !learned {
            return Err(Meaningless::NoVariance { channels: latent[0] }.into());
        }
        let lost = chosen.iter().filter(|&&i| model.accepts(&model.conditioner.ask(&source.data, i)).is_err()).count();
        if lost > 0 {
            return Err(MeasureError::NoClass { name: source.name.clone(), count: lost });
        }
        let dims = latent.iter().product();
        if settings.trace == Trace::Exact && dims > EXACT_LIMIT {
            return Err(MeasureError::Exact(dims));
        }
        let spare = match settings.variance {
            Variance::Optimal if settings.needs_bound() => &others[..chosen.len().min(others.len())],
            _ => &[],
        };
        if settings.variance == Variance::Optimal && settings.needs_bound() && spare.len() < 2 {
            return Err(MeasureError::NoSpare(chosen.len()));
        }
        Ok(Self {
            pictures: pictures(model, &source.data, &chosen, settings.seed),
            spare: pictures(model, &source.data, spare, settings.seed + 1),
            data: (source.name.clone(), source.data.fingerprint().to_owned()),
            model,
            settings,
            plan,
            resized,
        })
    }

    /// Measures what the settings ask for; `progress` stops the work by answering false.
    ///
    /// # Errors
    /// An ODE that cannot be solved, an interruption.
    pub fn run(&self, progress: &mut dyn FnMut(Progress) -> bool) -> Result<Outcome, MeasureError> {
        let bound = match self.settings.needs_bound() {
            true => Some(self.bound(progress)?),
            false => None,
        };
        let flow = match self.settings.which {
            Which::Bound => None,
            _ => Some(self.flow(progress)?),
        };
        Ok(Outcome { bound, flow })
    }

    /// Steps of the chain evaluated for each picture, beside the last.
    pub fn evaluations(&self) -> usize {
        let wanted = match (self.settings.which, self.settings.evaluations) {
            // The ODE borrows nothing but the reconstruction.
            (Which::Ode, _) => 1,
            (_, 0) => usize::MAX,
            (_, n) => n,
        };
        wanted.min(self.plan.rows.len() - 1)
    }

    /// The network as it is: clipping would make the ODE's flow kinked.
    fn denoiser(&self) -> Network<'_> {
        self.model.reader()
    }

    fn bound(&self, progress: &mut dyn FnMut(Progress) -> bool) -> Result<Bound, MeasureError> {
        let variance = match self.settings.variance {
            Variance::Posterior => StepVariance::Posterior,
            Variance::Forward => StepVariance::Forward,
            Variance::Learned => StepVariance::Learned,
            Variance::Optimal => {
                let errors = self.chain(&self.spare, StepVariance::Posterior, Stage::Errors, progress)?;
                StepVariance::Optimal(errors.errors())
            }
        };
        self.chain(&self.pictures, variance, Stage::Bound, progress)
    }

    fn chain(
        &self,
        pictures: &Pictures,
        variance: StepVariance,
        stage: Stage,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Bound, MeasureError> {
        let (batch, dequantize) = (self.settings.batch, Dequantize::Gaussian);
        let settings = bound::Settings { evaluations: self.evaluations(), batch, dequantize, variance };
        bound::bound(&self.denoiser(), &self.plan, pictures, &settings, &mut |done, total| {
            progress(Progress { stage, done, total, per_image: total / pictures.len().max(1) })
        })
        .ok_or(MeasureError::Interrupted)
    }

    fn flow(&self, progress: &mut dyn FnMut(Progress) -> bool) -> Result<Flow, MeasureError> {
        let Settings { trace, tolerance, batch, dequantize, .. } = *self.settings;
        let integrator = DormandPrince { rtol: tolerance, atol: tolerance, ..DormandPrince::default() };
        let settings = flow::Settings { trace, integrator, batch, dequantize };
        let schedule = &self.model.recipe.schedule;
        let level_at = |log_snr| schedule.level_at(log_snr);
        // A hundredth of a batch at a time; steps that are tried again do not turn it back.
        let (n, mut furthest) = (self.pictures.len(), 0);
        let progress = &mut |done: usize, share: f64| {
            furthest = furthest.max(done * 100 + (share * 100.0 * batch.min(n - done) as f64) as usize);
            progress(Progress { stage: Stage::Ode, done: furthest, total: n * 100, per_image: 100 })
        };
        flow::flow(&self.denoiser(), &self.plan, &level_at, &self.pictures, &settings, progress).map_err(|e| match e {
            FlowError::Interrupted => MeasureError::Interrupted,
            e => MeasureError::Flow(e),
        })
    }

    /// The result in bits per dimension.
    pub fn measured(&self, outcome: &Outcome) -> Measured {
        let Settings { which, dequantize, .. } = *self.settings;
        let bits = |nats: &[f64]| nats.iter().map(|n| bits_per_dim(*n, self.pictures.dims())).collect::<Vec<f64>>();
        let estimate = |nats: &[f64]| Estimate::of(&bits(nats));
        let shown = outcome.bound.as_ref().filter(|_| which != Which::Ode);
        let bound = shown.map(|bound| BoundBits {
            bits_per_dim: estimate(&bound.total()),
            prior: estimate(&bound.prior),
            steps: estimate(&bound.steps),
            reconstruction: estimate(&bound.reconstruction),
            per_picture: bits(&bound.total()),
        });
        let nats = outcome.flow.as_ref().map(|flow| match (dequantize, &outcome.bound) {
            (Dequantize::Gaussian, Some(bound)) => {
                flow.nll.iter().zip(&bound.reconstruction).map(|(a, b)| a + b).collect::<Vec<f64>>()
            }
            _ => flow.nll.clone(),
        });
        let bound_minus_ode = match (shown, &nats, dequantize) {
            (Some(bound), Some(nats), Dequantize::Gaussian) => {
                Some(estimate(&bound.total().iter().zip(nats).map(|(a, b)| a - b).collect::<Vec<_>>()))
            }
            _ => None,
        };
        let ode = outcome.flow.as_ref().zip(nats).map(|(flow, nats)| {
            let count = (flow.latents.len() * self.pictures.dims()) as f64;
            OdeBits {
                bits_per_dim: estimate(&nats),
                per_picture: bits(&nats),
                mean_evaluations: flow.evaluations.iter().sum::<usize>() as f64 / flow.evaluations.len() as f64,
                latent_mean_square: flow.latents.iter().flatten().map(|z| z * z).sum::<f64>() / count,
            }
        });
        Measured {
            data: self.data.0.clone(),
            data_fingerprint: self.data.1.clone(),
            images: self.pictures.len(),
            seed: self.settings.seed,
            dims: self.pictures.dims(),
            steps: self.plan.rows.len(),
            settings: self.settings.clone(),
            bound,
            ode,
            bound_minus_ode,
        }
    }
}

/// What was measured, in bits per dimension; serialises as a part of reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Name of the data.
    pub data: String,
    /// SHA-256 of the decoded pixels and labels.
    pub data_fingerprint: String,
    /// Pictures.
    pub images: usize,
    /// Seed of their choice and of all noise.
    pub seed: u64,
    /// Numbers in a picture.
    pub dims: usize,
    /// Steps of the chain.
    pub steps: usize,
    /// The settings.
    pub settings: Settings,
    /// The variational bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<BoundBits>,
    /// The ODE's likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ode: Option<OdeBits>,
    /// What the bound gives away, picture by picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_minus_ode: Option<Estimate>,
}

/// The bound and its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoundBits {
    /// The sum of the parts.
    pub bits_per_dim: Estimate,
    /// `KL(q(x_T | x0) ‖ prior)`.
    pub prior: Estimate,
    /// The chain's steps.
    pub steps: Estimate,
    /// The rounding to pixel values.
    pub reconstruction: Estimate,
    /// The sum, of each picture.
    pub per_picture: Vec<f64>,
}

/// The ODE's likelihood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OdeBits {
    /// With the rounding, where pixels are rounded.
    pub bits_per_dim: Estimate,
    /// The same of each picture.
    pub per_picture: Vec<f64>,
    /// Network evaluations of a picture.
    pub mean_evaluations: f64,
    /// Mean square of the noisy ends over the prior's variance: 1 when all is well.
    pub latent_mean_square: f64,
}
