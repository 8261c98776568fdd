//! `undiffuse sample`.

mod args;
mod inputs;
pub(super) mod outputs;
mod settings;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::condition::Conditioner;
use undiffuse::data::{Image, Options, grid, sheet_mark};
use undiffuse::denoise::{Cond, Denoise, Posterior};
use undiffuse::files;
use undiffuse::likelihood::check_noisy_end;
use undiffuse::likelihood::flow::FlowError;
use undiffuse::math::likelihood::with_optimal_variance;
use undiffuse::math::ode::DormandPrince;
use undiffuse::math::prelude::{Plan, SolverKind};
use undiffuse::math::recipe::Corrector;
use undiffuse::model::{Origin, SampleDefaults};
use undiffuse::nn::weights::{self, Named};
use undiffuse::request::{self, picture};
use undiffuse::sample::{Noise, noises};
use undiffuse::words::prompt::loras;
use undiffuse::{Model, adaptive};
use undiffuse_serve::parameters::texts;

pub use args::Args;
pub use settings::again;

use crate::common::{self, INTERRUPTED, usage};
use crate::output::{remark, show};
use inputs::{errors, read_noise};
use outputs::{Outputs, Places, write_png};
use shown::Shown;

/// Pictures that are made where nobody says how many.
const MANY: usize = 16;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    args.check()?;
    let model = Model::load_adapted(&args.model, args.weights.variant.as_deref(), &args.lora, &device)?;
    let settings = args.sampling.settings(&model)?;
    let mut model = model.with(settings.clone());
    if let Some((w, h)) = args.size {
        model.resize(h, w).map_err(|e| usage(format!("--size: {e}")))?;
    }
    if let Some(side) = args.tiles {
        model.tile(side).map_err(|e| usage(format!("--tiles: {e}")))?;
    }
    if let Some(snr) = args.corrector {
        model.recipe.corrector = Some(Corrector { snr, steps: args.corrections });
    }
    for note in &model.recipe.notes {
        remark(&format!("note: {note}"));
    }
    let plan = plan(&args, &model, &settings)?;
    let job = Job::new(args, settings, model, plan, &device)?;
    let outputs = Outputs::open(&Places::of(&job.args))?;
    job.run(&outputs)
}

/// The steps of the walk, or those that would be walked where the ODE is integrated.
fn plan(args: &Args, model: &Model, settings: &SampleDefaults) -> anyhow::Result<Plan> {
    if settings.solver.rises() {
        args.check_inversion(settings.solver.tag())?;
    }
    if args.adaptive.is_some() {
        let noisy = model.recipe.schedule.level(model.recipe.schedule.range().1);
        let end = check_noisy_end(noisy, &*model.recipe.parameterization);
        end.map_err(|e| anyhow::anyhow!("{}: {e}", args.model.display()))?;
    }
    let plan = match args.init_image {
        Some(_) => model.plan_from(args.strength(model)),
        None => model.plan(),
    };
    let plan = plan.map_err(|e| usage(e.to_string()))?;
    let Some(path) = &args.optimal_variance else { return Ok(plan) };
    if !settings.solver.takes_variance() {
        let fit = SolverKind::ALL.iter().filter(|entry| (entry.default)().takes_variance()).map(|entry| entry.tag);
        let (fit, solver) = (fit.collect::<Vec<_>>().join(" or "), &settings.solver);
        return Err(usage(format!("--optimal-variance is for --solver {fit}, not {solver}")));
    }
    if model.recipe.learned_variance.is_some() {
        return Err(usage("--optimal-variance: this model has learnt the variance of its steps and goes by that"));
    }
    let (black, white) = model.recipe.pixels;
    // Two pixel values in the mean.
    let last = 2.0 / 255.0 * (white - black) * (std::f64::consts::PI / 2.0).sqrt();
    Ok(with_optimal_variance(plan, &errors(path, model)?, last))
}

/// Everything that is the same for every batch.
struct Job {
    args: Args,
    settings: SampleDefaults,
    model: Model,
    plan: Plan,
    n: usize,
    /// Pictures that are computed at a time.
    batch: usize,
    /// What each picture should show.
    cond: Cond,
    given: Option<Vec<Tensor<4>>>,
    /// The place of the first of `given` in its file.
    first: usize,
    /// What walks make of --init-image, with its --mask.
    origin: Origin,
    /// A noisy picture, and where it was seen.
    observed: Option<[Tensor<4>; 2]>,
    /// What pictures say of the LoRAs that were added.
    loras: Vec<Value>,
}

impl Job {
    fn new(args: Args, settings: SampleDefaults, model: Model, plan: Plan, device: &Device) -> anyhow::Result<Self> {
        let needed = noises(&plan, model.recipe.corrector);
        let given = args
            .init_noise
            .as_ref()
            .map(|path| read_noise(path, args.init_index, needed, model.latent_shape(), device));
        let given = given.transpose()?;
        let held = given.as_ref().map(|tensors| tensors[0].dims()[0]);
        // Before anything is as long as there are pictures.
        args.n.map_or(Ok(()), |n| args.afford(n, model.picture_shape()))?;
        // Models of classes and numbers are small, and their asks take turns.
        let words = matches!(model.conditioner, Conditioner::Text(_));
        let cond = args.asking.cond(&model.conditioner, args.n.or(held).or((!words).then_some(MANY)))?;
        if words && let Some((name, scale)) = cond.every().find_map(|ask| loras(&model.conditioner.print(ask)).1.pop())
        {
            let file = format!("--lora {name}.safetensors:{scale}");
            return Err(usage(format!(
                "`<lora:{name}:{scale}>` stands in a prompt: name the file instead, such as {file}"
            )));
        }
        let n = args.n.or(held).unwrap_or(if words { cond.len() } else { MANY });
        if let Some(held) = held.filter(|&held| held != n) {
            return Err(usage(format!("-n {n}: --init-noise holds noise for {held} pictures; leave -n out")));
        }
        let batch = model.at_once(args.batch.min(n)).map_err(|e| match args.size {
            Some(_) => usage(format!("--size: {e}")),
            None => e.into(),
        })?;
        args.afford(n, model.picture_shape())?;
        let tensor = |path: &PathBuf| -> anyhow::Result<Tensor<4>> {
            Ok(picture(&model, &Image::open(path, &Options::default())?))
        };
        let init = args.init_image.as_ref().map(tensor).transpose()?;
        let observed = args.observed.as_ref().map(tensor).transpose()?;
        let mask = args.mask.as_ref().map(|path| mask(path, &args, &model)).transpose()?;
        if observed.is_some() && !model.codec.is_orthonormal() {
            return Err(usage(format!(
                "--observed: pixels are observed, and this model diffuses the latents of its {}; --init-image with --mask keeps a part",
                model.codec
            )));
        }
        let away = (0..n).any(|k| request::negative(&model, &cond, k).is_some());
        if away && (settings.guidance == 1.0 || model.is_distilled()) {
            remark("note: nothing is led away from --negative: the model is not guided");
        }
        model.prepare(&cond, init.is_some())?;
        if model.paints() && (init.is_none() || mask.is_none()) {
            let problem = "this model paints into pictures: give one with --init-image, and where to paint with --mask";
            return Err(usage(problem));
        }
        // Everything that was asked has been read.
        model.conditioner.release();
        let observed = observed.map(|observed| {
            let [_, _, h, w] = observed.dims();
            let seen = mask.clone().map_or_else(|| Tensor::ones([1, 1, h, w], &observed.device()), |mask| 1.0 - mask);
            [observed, seen]
        });
        let origin = init.map(|init| model.origin(init, mask, args.strength(&model))).unwrap_or_default();
        let cond = origin.told(cond);
        let lost: BTreeSet<String> = cond.every().filter_map(|ask| model.conditioner.lost(ask)).collect();
        lost.iter().for_each(|lost| remark(&format!("note: {lost}")));
        let first = args.init_index.unwrap_or(0);
        let loras = args.lora.iter().map(|adapter| adapter.facts().with_context(|| format!("cannot read {adapter}")));
        let loras = loras.collect::<anyhow::Result<_>>()?;
        Ok(Self { args, settings, model, plan, n, batch, cond, given, first, origin, observed, loras })
    }

    /// The model, with what is known of the picture.
    fn denoiser(&self) -> Box<dyn Denoise + '_> {
        let denoiser = self.origin.keeping(self.model.denoiser(&self.settings));
        let Some([observed, seen]) = self.observed.clone() else { return denoiser };
        let (black, white) = self.model.recipe.pixels;
        let std = self.args.observed_noise * (white - black) / 2.0;
        Box::new(Posterior {
            inner: denoiser,
            codec: self.model.codec.clone(),
            observed,
            precision: seen / (std * std),
        })
    }

    fn run(&self, outputs: &Outputs) -> anyhow::Result<ExitCode> {
        let denoiser = self.denoiser();
        let mut shown = Shown::new(self);
        let (mut images, mut raw) = (Vec::new(), Vec::new());
        for from in (0..self.n).step_by(self.batch) {
            let pictures = from..self.n.min(from + self.batch);
            let x = match self.args.adaptive {
                Some(tolerance) => self.integrate(&*denoiser, pictures, tolerance, &mut shown)?,
                None => self.walk(&*denoiser, pictures, &mut shown)?,
            };
            let Some(x) = x else {
                shown.finish()?;
                let folder = outputs.folder.display();
                remark(&format!("interrupted: {} of {} pictures are in {folder}", images.len(), self.n));
                return Ok(ExitCode::from(INTERRUPTED));
            };
            let decoded = self.model.codec.decode(x.clone());
            if self.args.raw.is_some() {
                let result = if self.rises() { x } else { decoded.clone() };
                raw.extend(result.into_data().try_into_vec_as::<f32>().context("cannot read the result")?);
            }
            for (k, image) in self.model.pictures(decoded).into_iter().enumerate() {
                self.write(outputs, from + k, &image)?;
                images.push(image);
            }
        }
        shown.finish()?;
        let columns = match self.model.conditioner.all().len() {
            turns @ 4..=12 if self.n > turns && self.args.asking.is_empty() => turns,
            _ => (self.n as f64).sqrt().ceil() as usize,
        };
        write_png(&outputs.sheet, &grid(&images, columns, 2), &[sheet_mark("grid")])?;
        if let Some(path) = &self.args.raw {
            self.write_raw(path, raw)?;
        }
        let pictures = if self.n == 1 { "picture" } else { "pictures" };
        let (folder, sheet) = (outputs.folder.display(), outputs.sheet.display());
        show(&format!("{} {pictures} in {folder}, all of them in {sheet}\n", self.n))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes picture number `k`, named after its seed or its noise.
    fn write(&self, outputs: &Outputs, k: usize, image: &Image) -> anyhow::Result<()> {
        let facts = self.facts(k);
        let number = match &facts["seed"] {
            Value::Number(seed) => format!("{:0>8}", seed.to_string()),
            _ => format!("{:06}", self.first + k),
        };
        let shows = self.cond.asks.get(k).map(|ask| self.model.conditioner.title(ask));
        outputs.write(&number, shows.as_deref(), image, &texts(&facts, (image.width, image.height)))
    }

    /// Whether the walk leads from pictures to noise.
    fn rises(&self) -> bool {
        let ends = self.plan.rows.first().zip(self.plan.rows.last());
        ends.is_some_and(|(first, last)| last.next.log_snr() < first.level.log_snr())
    }

    fn write_raw(&self, path: &Path, mut raw: Vec<f32>) -> anyhow::Result<()> {
        // A walk up to noise ends in what --init-noise starts from: over the standard deviation there.
        let ([c, h, w], name) = match self.plan.rows.last().filter(|_| self.rises()) {
            Some(last) => {
                raw.iter_mut().for_each(|x| *x = (f64::from(*x) / last.next.scale()) as f32);
                (self.model.latent_shape(), "init_noise")
            }
            None => (self.model.picture_shape(), "sample"),
        };
        let tensor = Named { name: name.into(), shape: vec![self.n, c, h, w], values: raw };
        Ok(files::write(path, &weights::to_bytes(&[tensor], None))?)
    }

    /// Some of the pictures by the plan; `None` when interrupted.
    fn walk(
        &self,
        denoiser: &dyn Denoise,
        pictures: Range<usize>,
        shown: &mut Shown,
    ) -> anyhow::Result<Option<Tensor<4>>> {
        let (from, count) = (pictures.start, pictures.len());
        let noise = match &self.given {
            Some(tensors) => Noise::Given(tensors.iter().map(|t| t.clone().narrow(0, from, count)).collect()),
            None => Noise::Seeds(pictures.clone().map(|k| self.seed(k)).collect()),
        };
        let cond = self.cond.select(pictures.clone());
        let mut walk = self.model.sample_at(&self.origin, denoiser, &self.plan, noise, &cond);
        for progress in walk.by_ref() {
            shown.step(self, &pictures, progress);
            if common::interrupted() {
                return Ok(None);
            }
        }
        Ok(Some(walk.finish()?))
    }

    /// Some of the pictures by the ODE; `None` when interrupted.
    fn integrate(
        &self,
        denoiser: &dyn Denoise,
        pictures: Range<usize>,
        tolerance: f64,
        shown: &mut Shown,
    ) -> anyhow::Result<Option<Tensor<4>>> {
        let schedule = &self.model.recipe.schedule;
        let integrator = DormandPrince { rtol: tolerance, atol: tolerance, ..DormandPrince::default() };
        let seeds: Vec<u64> = pictures.clone().map(|k| self.seed(k)).collect();
        let (cond, shape) = (self.cond.select(pictures.clone()), self.model.latent_shape());
        let mut progress = |_| !common::interrupted();
        let sampled = adaptive::sample(denoiser, &**schedule, &seeds, shape, &cond, &integrator, &mut progress);
        match sampled {
            Ok((x, evaluations)) => {
                shown.integrated(&evaluations);
                Ok(Some(x))
            }
            Err(FlowError::Interrupted) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// The mask at `path`, for the picture that it keeps a part of.
fn mask(path: &Path, args: &Args, model: &Model) -> anyhow::Result<Tensor<4>> {
    let Some(other) = args.init_image.as_ref().or(args.observed.as_ref()) else {
        return Err(usage("--mask needs a picture to keep: --init-image or --observed"));
    };
    let mask = Image::open(path, &request::mask_options())?;
    let image = Image::open(other, &Options::default())?;
    if (mask.width, mask.height) != (image.width, image.height) {
        return Err(usage(format!(
            "--mask `{}` is {}×{} pixels, `{}` is {}×{}: they must be of one size",
            path.display(),
            mask.width,
            mask.height,
            other.display(),
            image.width,
            image.height
        )));
    }
    Ok(request::mask(model, &mask))
}
