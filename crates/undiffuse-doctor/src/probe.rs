//! The network asked: losses of every set of weights on the same pictures, and its errors under every reading.

use undiffuse::Model;
use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::condition::Conditioner;
use undiffuse::denoise::{At, Denoise, Denoiser};
use undiffuse::examples::Encoded;
use undiffuse::likelihood::measure;
use undiffuse::math::prelude::ParameterizationKind;
use undiffuse::nn::params;
use undiffuse::train::Config;
use undiffuse::train::draws::Drawer;
use undiffuse::train::networks::{Learned, Networks};
use undiffuse::train::validation::{self, Asked};
use undiffuse_math::noise;

use super::pictures::spaced;
use super::{Checkpoint, DataStatistics};

/// Numbers of a network times pixels that may be evaluated for each set of weights.
const WORK: usize = 600_000_000_000;
/// Pictures that readings are compared on.
const READ: usize = 16;
/// Noise levels `sigma / alpha` that they are compared at: where a wrong reading is plain.
pub const SIGMAS: [f64; 4] = [0.2, 0.5, 1.0, 2.0];
/// The stream of this noise, beside those of training and sampling.
const STREAM: u64 = 0x44 << 56;

/// What a network answers on pictures of the data. Losses are of each picture, in the run's own loss, with the same noise for
/// all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// Whether the pictures were held out of training.
    pub held_out: bool,
    /// The raw weights.
    pub raw: Vec<f64>,
    /// Each average of the weights, with its relative width.
    pub averages: Vec<(f64, Vec<f64>)>,
    /// The first average on as many pictures of the training, when the others were held out.
    pub train: Vec<f64>,
    /// The first average, told nothing, for models that can be asked for something.
    pub unlabelled: Vec<f64>,
    /// The first average, told of each picture what another one shows.
    pub swapped: Vec<f64>,
}

/// The error of a model's guess when its answer is read one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The parameterisation.
    pub parameterization: String,
    /// Black and white in the model's numbers.
    pub range: (f64, f64),
    /// Root mean square error at each of four noise levels, for pictures in [−1, 1].
    pub errors: Vec<f64>,
}

impl Reading {
    /// Geometric mean of the errors; infinite where one is no number.
    pub fn error(&self) -> f64 {
        let logs = self.errors.iter().map(|e| e.ln()).sum::<f64>() / self.errors.len() as f64;
        if logs.is_finite() { logs.exp() } else { f64::INFINITY }
    }
}

impl Probe {
    /// Asks the weights of a checkpoint.
    pub fn of(
        networks: &Networks,
        state: &Checkpoint,
        config: &Config,
        conditioner: Conditioner,
        pictures: &DataStatistics,
        device: &Device,
    ) -> Option<Self> {
        let split = &pictures.split;
        let pixels = pictures.dataset.width() * pictures.dataset.height();
        let most = (WORK / (networks.parameters() * pixels).max(1)).clamp(8, validation::PICTURES);
        let held_out = split.held_out.len() >= 2;
        let chosen = if held_out { &split.held_out } else { &split.train };
        let n = chosen.len().min(most);
        let conditioner = conditioner.with_network(&networks.denoiser.config().io()).ok()?;
        let kept = config.kept_for(&pictures.dataset, &split.train).ok()?;
        let (data, codec, kept) = (&pictures.dataset, &config.codec, kept.as_ref());
        let examples = Encoded { data, codec, kept, conditioner: &conditioner };
        let drawer = Drawer {
            examples: &examples,
            indices: &split.train,
            noise: &config.noise,
            seed: config.train.seed,
            flip: false,
            conditioner: &conditioner,
            dropout: config.train.label_dropout,
        };
        let part = (config.train.batch / config.train.accumulate).clamp(1, 64);
        let told = |networks: &Networks, indices: &[usize], asked: Asked| {
            validation::losses(&*config.loss, networks, &drawer, indices, part, asked)
        };
        let ask = |networks: &Networks, indices: &[usize]| told(networks, indices, Asked::Own);
        let with = |prefix: &str| state.networks(networks, prefix, device);
        let averages = config
            .train
            .ema
            .iter()
            .enumerate()
            .map_while(|(k, &width)| Some((width, ask(&with(&format!("average.{k}."))?, &chosen[..n]))));
        let first = with("average.0.")?;
        let train = if held_out { ask(&first, &spaced(&split.train, n)) } else { Vec::new() };
        let otherwise = |sensible: bool, asked: Asked| match sensible {
            true => told(&first, &chosen[..n], asked),
            false => Vec::new(),
        };
        Some(Self {
            held_out,
            raw: ask(&with("raw.")?, &chosen[..n]),
            averages: averages.collect(),
            train,
            unlabelled: otherwise(conditioner.guides(), Asked::Nothing),
            swapped: otherwise(conditioner.field().is_some(), Asked::Another),
        })
    }
}

/// Errors of a model under its own reading, first, and every other.
pub fn readings(model: &Model, pictures: &DataStatistics) -> Vec<Reading> {
    let recipe = &model.recipe;
    let chosen =
        spaced(if pictures.split.held_out.len() >= 2 { &pictures.split.held_out } else { &pictures.split.train }, READ);
    let stated = recipe.parameterization.clone();
    let others =
        ParameterizationKind::ALL.iter().map(|e| (e.default)()).filter(|p| p.tag() != recipe.parameterization.tag());
    let swapped = (recipe.pixels.1, recipe.pixels.0);
    let half = if recipe.pixels == (-1.0, 1.0) { (0.0, 1.0) } else { (-1.0, 1.0) };
    let candidates = [(stated.clone(), recipe.pixels)]
        .into_iter()
        .chain(others.map(|p| (p, recipe.pixels)))
        .chain([(stated.clone(), half), (stated, swapped)]);
    candidates.map(|(p, range)| read(model, pictures, &chosen, &p, range)).collect()
}

fn read(
    model: &Model,
    pictures: &DataStatistics,
    chosen: &[usize],
    parameterization: &ParameterizationKind,
    range: (f64, f64),
) -> Reading {
    let schedule = &model.recipe.schedule;
    let cond = measure::pictures(model, &pictures.dataset, chosen, 0).cond;
    let mut x0 = Vec::new();
    pictures.dataset.batch(chosen, &vec![false; chosen.len()], &mut x0);
    let half = (range.1 - range.0) / 2.0;
    let scaled = x0.iter().map(|x| ((f64::from(*x) + 1.0) * half + range.0) as f32).collect::<Vec<_>>();
    let denoiser = Denoiser { parameterization, ..model.reader() };
    let shape = [chosen.len(), pictures.dataset.channels(), pictures.dataset.height(), pictures.dataset.width()];
    let z = model.codec.encode(Tensor::from_data(TensorData::new(scaled, shape), &Device::flex()));
    let shape = z.dims();
    let z: Vec<f64> = params::to_host(z.reshape([x0.len()])).into_iter().map(f64::from).collect();
    let mut eps = vec![0.0; x0.len()];
    let errors = SIGMAS.iter().enumerate().map(|(k, sigma)| {
        noise::normal(0, STREAM | k as u64, 0, &mut eps);
        // Noise in units of the range, so that every reading sees pictures that are as noisy.
        let level = schedule.level_at(-2.0 * (sigma * half.abs()).ln());
        let x: Vec<f32> =
            z.iter().zip(&eps).map(|(x, e)| (level.alpha * x + level.sigma * f64::from(*e)) as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(x, shape), &denoiser.device());
        let at = vec![At::from(level); chosen.len()];
        let guess = params::to_host(denoiser.denoise(x, &at, &cond).x0.reshape([z.len()]));
        let square = guess.iter().zip(&z).map(|(d, x)| (f64::from(*d) - x).powi(2)).sum::<f64>();
        (square / z.len() as f64).sqrt() / half.abs()
    });
    Reading { parameterization: parameterization.tag().to_owned(), range, errors: errors.collect() }
}
