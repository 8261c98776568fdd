//! A model's likelihood on pictures of a dataset: which pictures, which levels, both numbers.
//!
//! [`bound`](mod@super::bound) and [`flow`](mod@super::flow) work on tensors and plans. Here is what any program needs around
//! them: [`TestSet`] finds the pictures, [`Measurement`] readies them for a model, [`measure`] does all of it in one call.

mod settings;
mod test_set;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;
use undiffuse_data::DataError;
use undiffuse_math::likelihood::bits_per_dim;
use undiffuse_math::ode::DormandPrince;
use undiffuse_math::prelude::{Grid, Last, Plan, SpacingKind};
use undiffuse_math::spacing::{GridError, LogSnr, Trailing};

pub use settings::{LikelihoodSettings, Variance, Which};
pub use test_set::{TestSet, pictures};

use super::bound::{self, Bound, BoundSettings, StepVariance};
use super::flow::{self, Flow, FlowError, FlowSettings, Trace};
use super::{Dequantize, Estimate, Meaningless, TestPictures};
use crate::Model;
use crate::codec::AnyCodec;
use crate::condition::{RequestError, Told};
use crate::denoise::Denoiser;
use crate::model::{ModelError, Outline};
use crate::train::TrainError;

/// Numbers in a picture for which exact traces are still a matter of seconds.
pub const EXACT_LIMIT: usize = 256;

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
    #[error("{count} of the pictures of {name} can't be told to the model, which has not learned to go without: {why}")]
    Untold { name: String, count: usize, why: String },
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

/// The levels of the chain: `steps` of `spacing`, or every timestep of the model's schedule, or else 1000 equal
/// intervals of log-SNR.
///
/// # Errors
/// No steps, or more than the schedule has timesteps.
pub fn grid<'a>(model: &'a Model, steps: Option<usize>, spacing: Option<&SpacingKind>) -> Result<Grid<'a>, GridError> {
    let schedule = &model.recipe.schedule;
    let timesteps = schedule.discrete_steps();
    let named = spacing.and_then(|spacing| spacing.named());
    let steps = steps.or(named).or(timesteps).unwrap_or(1000);
    let spacing = spacing.cloned().unwrap_or_else(|| match timesteps == Some(steps) {
        true => Trailing::default().into(),
        false => LogSnr {}.into(),
    });
    Grid::new(&**schedule, &*spacing, steps, Last::Clean)
}

/// The part of a measurement that is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikelihoodStage {
    /// The model's errors on other pictures, for optimal variances.
    Errors,
    /// The variational bound.
    Bound,
    /// The ODE.
    Ode,
}

/// How far a stage is, in units of which each picture has `per_image`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LikelihoodProgress {
    /// What is at work.
    pub stage: LikelihoodStage,
    /// Units done.
    pub done: usize,
    /// Units in all.
    pub total: usize,
    /// Units of a picture.
    pub per_image: usize,
}

/// A measurement that is ready to run: everything that can be wrong has been checked.
#[derive(Debug)]
pub struct Measurement<'a> {
    /// The model; the ODE needs it on an autodiff device, see [`load`].
    pub model: &'a Model,
    /// How.
    pub settings: &'a LikelihoodSettings,
    /// The chain of the bound; the ODE runs between its ends.
    pub plan: Plan,
    /// The pictures.
    pub pictures: TestPictures,
    /// Those of them that had to be resized.
    pub resized: usize,
    /// What the data tell the model of their pictures.
    pub told: Told,
    /// Other pictures, where variances come from errors.
    spare: TestPictures,
    /// Name and fingerprint of the data.
    data: (String, String),
}

/// Whether a model with this codec says how probable pixels are.
fn has_likelihood(codec: &AnyCodec) -> Result<(), Meaningless> {
    if codec.is_orthonormal() { Ok(()) } else { Err(Meaningless::Codec(codec.to_string())) }
}

/// Loads a model for a measurement: gradients by the picture, never by the weights. A model that has no likelihood is not loaded.
///
/// # Errors
/// Folders that are no model, and models of latents that are no orthonormal map of pixels.
pub fn load(path: &Path, variant: Option<&str>, device: &Device) -> Result<Model, MeasureError> {
    has_likelihood(&Outline::read(path, variant)?.codec)?;
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
    settings: &LikelihoodSettings,
    device: &Device,
    progress: &mut dyn FnMut(LikelihoodProgress) -> bool,
) -> Result<Measured, MeasureError> {
    let model = load(path, variant, device)?;
    let source = TestSet::open(path, data, model.picture_shape())?;
    let job = Measurement::new(&model, &source, settings)?;
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

impl<'a> Measurement<'a> {
    /// Draws the pictures and lays the plan.
    ///
    /// # Errors
    /// Whatever [`MeasureError`] names.
    pub fn new(model: &'a Model, source: &TestSet, settings: &'a LikelihoodSettings) -> Result<Self, MeasureError> {
        let [_, height, width] = model.picture_shape();
        has_likelihood(&model.codec)?;
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
        let refused = |i: &usize| model.accepts(&model.conditioner.ask(&source.data, *i, 0)).err();
        let refused: Vec<RequestError> = chosen.iter().filter_map(refused).collect();
        if let Some(first) = refused.first() {
            let (name, count) = (source.name.clone(), refused.len());
            return Err(MeasureError::Untold { name, count, why: first.problem.clone() });
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
            told: model.conditioner.told_by(&source.data),
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
    pub fn run(&self, progress: &mut dyn FnMut(LikelihoodProgress) -> bool) -> Result<Outcome, MeasureError> {
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
    fn denoiser(&self) -> Denoiser<'_> {
        self.model.reader()
    }

    fn bound(&self, progress: &mut dyn FnMut(LikelihoodProgress) -> bool) -> Result<Bound, MeasureError> {
        let variance = match self.settings.variance {
            Variance::Posterior => StepVariance::Posterior,
            Variance::Forward => StepVariance::Forward,
            Variance::Learned => StepVariance::Learned,
            Variance::Optimal => {
                let errors = self.chain(&self.spare, StepVariance::Posterior, LikelihoodStage::Errors, progress)?;
                StepVariance::Optimal(errors.errors())
            }
        };
        self.chain(&self.pictures, variance, LikelihoodStage::Bound, progress)
    }

    fn chain(
        &self,
        pictures: &TestPictures,
        variance: StepVariance,
        stage: LikelihoodStage,
        progress: &mut dyn FnMut(LikelihoodProgress) -> bool,
    ) -> Result<Bound, MeasureError> {
        let (batch, dequantize) = (self.settings.batch, Dequantize::Gaussian);
        let settings = BoundSettings { evaluations: self.evaluations(), batch, dequantize, variance };
        bound::bound(&self.denoiser(), &self.plan, pictures, &settings, &mut |done, total| {
            progress(LikelihoodProgress { stage, done, total, per_image: total / pictures.len().max(1) })
        })
        .ok_or(MeasureError::Interrupted)
    }

    fn flow(&self, progress: &mut dyn FnMut(LikelihoodProgress) -> bool) -> Result<Flow, MeasureError> {
        let LikelihoodSettings { trace, tolerance, batch, dequantize, .. } = *self.settings;
        let integrator = DormandPrince { rtol: tolerance, atol: tolerance, ..DormandPrince::default() };
        let settings = FlowSettings { trace, integrator, batch, dequantize };
        let schedule = &self.model.recipe.schedule;
        let level_at = |log_snr| schedule.level_at(log_snr);
        // A hundredth of a batch at a time; steps that are tried again do not turn it back.
        let (n, mut furthest) = (self.pictures.len(), 0);
        let progress = &mut |done: usize, share: f64| {
            furthest = furthest.max(done * 100 + (share * 100.0 * batch.min(n - done) as f64) as usize);
            progress(LikelihoodProgress { stage: LikelihoodStage::Ode, done: furthest, total: n * 100, per_image: 100 })
        };
        flow::flow(&self.denoiser(), &self.plan, &level_at, &self.pictures, &settings, progress).map_err(|e| match e {
            FlowError::Interrupted => MeasureError::Interrupted,
            e => MeasureError::Flow(e),
        })
    }

    /// The result in bits per dimension.
    pub fn measured(&self, outcome: &Outcome) -> Measured {
        let LikelihoodSettings { which, dequantize, .. } = *self.settings;
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
            told: self.told.clone(),
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
    /// What the data told the model of their pictures.
    pub told: Told,
    /// Pictures.
    pub images: usize,
    /// Seed of their choice and of all noise.
    pub seed: u64,
    /// Numbers in a picture.
    pub dims: usize,
    /// Steps of the chain.
    pub steps: usize,
    /// The settings.
    pub settings: LikelihoodSettings,
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
