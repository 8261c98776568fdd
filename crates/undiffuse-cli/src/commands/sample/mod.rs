//! `undiffuse sample`.

mod inputs;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::data::{Image, Options, encode_png, grid};
use undiffuse::denoise::{Cond, Denoise, Inpaint, Posterior};
use undiffuse::math::diffusers::Corrector;
use undiffuse::math::likelihood::with_optimal_variance;
use undiffuse::math::ode::DormandPrince;
use undiffuse::math::prelude::Plan;
use undiffuse::model::SampleDefaults;
use undiffuse::nn::weights::{self, Named};
use undiffuse::request::{facts, mask, picture};
use undiffuse::sample::{Noise, Progress, noises};
use undiffuse::{Model, adaptive};
use undiffuse::likelihood::check_noisy_end;
use undiffuse::likelihood::flow::FlowError;

use crate::common::{self, INTERRUPTED, Machine, usage};
use crate::sampling::{Sampling, refused};
use crate::ui::{bars::Bar, live::Live};
use inputs::{errors, read_noise};

/// Make new pictures with a trained model.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, or a diffusers folder with a UNet2DModel
    model: PathBuf,
    /// How many pictures; 16 when not given, or as many as --init-noise holds
    #[arg(short, long = "number")]
    n: Option<usize>,
    #[command(flatten)]
    sampling: Sampling,
    /// Noise of ancestral sampling (--solver ddpm) by the model's own errors, from the nll.json that `undiffuse nll` wrote
    /// \[Bao22\]: meant for few steps
    #[arg(long, value_name = "nll.json", conflicts_with = "init_image")]
    optimal_variance: Option<PathBuf>,
    /// Langevin corrections before each evaluation of a plan, with this signal-to-noise ratio, such as 0.16 \[Song21, Algorithm 4\]
    #[arg(long, value_name = "SNR")]
    corrector: Option<f64>,
    /// Corrections before each evaluation
    #[arg(long, default_value_t = 1, requires = "corrector")]
    corrections: usize,
    /// Integrate the ODE from the schedule's noisiest level to its cleanest instead of walking a plan: the error that each
    /// picture allows in a step, relative and absolute, such as 1e-3
    #[arg(long, value_name = "TOLERANCE", conflicts_with_all = ["solver", "steps", "spacing", "eta", "corrector", "init_noise", "init_image"])]
    adaptive: Option<f64>,
    /// Seed of the first picture; the others count up. A picture depends on its seed and the settings alone
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Class, or several that take turns: separated by commas, or each with its own --class. All in turn when not given
    ///
    /// A class is named as it is spelt, or without regard to case where that can mean one class only; a name with commas in it is
    /// taken as a whole. `#3`, or a bare 3 where no class's name is a number, is the class of label 3; `none` is no class, where
    /// the model can do without. A class that is called `#3` or `none` goes first; then `##3` is the label.
    #[arg(long, allow_hyphen_values = true)]
    class: Vec<String>,
    /// Pictures computed at a time; results do not depend on it
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Size of the pictures as WIDTHxHEIGHT; the model's own when not given
    #[arg(long, value_parser = parse_size)]
    size: Option<(usize, usize)>,
    /// Noise to start from instead of seeds: a safetensors file with `init_noise [N, C, H, W]` and, for solvers that
    /// add noise, `noise.0`, `noise.1`, …
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "seed")]
    init_noise: Option<PathBuf>,
    /// Start from this picture instead of noise
    #[arg(long, value_name = "IMAGE")]
    init_image: Option<PathBuf>,
    /// How much of the way is walked again with --init-image: 0 keeps the picture, 1 forgets it; 0.6 when not
    /// given, 1 for ddim-inverse
    #[arg(long, requires = "init_image")]
    strength: Option<f64>,
    /// Paint only where this picture is white; keep --init-image, or believe --observed, where it is black
    #[arg(long, value_name = "IMAGE")]
    mask: Option<PathBuf>,
    /// Pictures that this one could be a noisy version of; where --mask is given, only its black part was seen
    #[arg(long, value_name = "IMAGE", conflicts_with = "init_image")]
    observed: Option<PathBuf>,
    /// Standard deviation of the noise on --observed, for pixels in [-1, 1]
    #[arg(long, default_value_t = 0.3, requires = "observed")]
    observed_noise: f64,
    /// Folder for the pictures; samples/<model name> when not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also write the raw result as the tensor `sample` of this safetensors file; after `--solver ddim-inverse`, as the
    /// `init_noise` from which --init-noise walks back to the picture
    #[arg(long, value_name = "FILE.safetensors")]
    raw: Option<PathBuf>,
    /// Progress without pictures, also on a terminal
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    machine: Machine,
}

impl Args {
    /// How much of the way is walked from --init-image.
    fn strength(&self, model: &Model) -> f64 {
        self.strength.unwrap_or(if model.sample_defaults().solver.rises() { 1.0 } else { 0.6 })
    }
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let parse = |s: &str| s.trim().parse::<usize>().ok().filter(|&n| n > 0);
    let (w, h) = text.split_once('x').unwrap_or((text, text));
    match (parse(w), parse(h)) {
        (Some(w), Some(h)) => Ok((w, h)),
        _ => Err("write WIDTHxHEIGHT, such as 32x32".into()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    if args.batch == 0 || args.n == Some(0) || args.corrections == 0 {
        return Err(usage("-n, --batch and --corrections must be at least 1"));
    }
    // Less would overflow single precision as a variance; a hundredth of a pixel value is as good as none.
    if !(args.observed_noise >= 1e-4 && args.observed_noise.is_finite()) {
        return Err(usage(format!("--observed-noise {} must be a number from 1e-4 on", args.observed_noise)));
    }
    let model = Model::load(&args.model, &device)?;
    if let Some(bad) = [args.corrector, args.adaptive].into_iter().flatten().find(|x| !(*x > 0.0 && *x < 1.0)) {
        return Err(usage(format!("{bad}: --corrector and --adaptive take a number between 0 and 1")));
    }
    let settings = args.sampling.settings(&model)?;
    let mut model = model.with(settings.clone());
    if let Some((w, h)) = args.size {
        model.resize(h, w).map_err(|e| usage(format!("--size: {e}")))?;
    }
    if let Some(snr) = args.corrector {
        model.recipe.corrector = Some(Corrector { snr, steps: args.corrections });
    }
    for note in &model.recipe.notes {
        eprintln!("note: {note}");
    }
    let plan = model.plan().map_err(|e| usage(format!("--steps: {e}")))?;
    if settings.solver.rises() {
        check_inversion(&args, settings.solver.tag())?;
    }
    let plan = match &args.optimal_variance {
        Some(path) => {
            if settings.solver.tag() != "ddpm" {
                return Err(usage(format!("--optimal-variance is for --solver ddpm, not {}", settings.solver.tag())));
            }
            if model.recipe.learned_variance.is_some() {
                return Err(usage("--optimal-variance: this model has learnt the variance of its steps and goes by that"));
            }
            let (black, white) = model.recipe.pixels;
            // Two pixel values in the mean.
            let last = 2.0 / 255.0 * (white - black) * (std::f64::consts::PI / 2.0).sqrt();
            with_optimal_variance(plan, &errors(path, &model)?, last)
        }
        None => plan,
    };
    if args.adaptive.is_some() {
        let noisy = model.recipe.schedule.level(model.recipe.schedule.range().1);
        let end = check_noisy_end(noisy, &*model.recipe.parameterization);
        end.map_err(|e| anyhow::anyhow!("{}: {e}", args.model.display()))?;
    }
    let job = Job::new(&args, model, plan, &device)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => unused(&Path::new("samples").join(name(&args.model))),
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot create the folder `{}`", out.display()))?;
    job.run(&args, &settings, &out)
}

/// A walk up to noise starts from a picture and goes the whole way, with nothing of its own.
fn check_inversion(args: &Args, solver: &str) -> anyhow::Result<()> {
    if args.init_image.is_none() {
        return Err(usage(format!("--solver {solver} walks a picture up to its noise: give the picture with --init-image")));
    }
    if args.strength.is_some_and(|s| s != 1.0) {
        return Err(usage(format!("--solver {solver} walks the whole way up: --strength 1, or leave it out")));
    }
    if args.corrector.is_some() || args.mask.is_some() {
        return Err(usage(format!("--solver {solver} finds the noise of the picture as it is: no --corrector, no --mask")));
    }
    Ok(())
}

/// Everything that is the same for every batch.
struct Job {
    model: Model,
    plan: Plan,
    n: usize,
    /// One label a picture, for models with classes.
    labels: Option<Vec<u32>>,
    given: Option<Vec<Tensor<4>>>,
    init: Option<Tensor<4>>,
    observed: Option<Tensor<4>>,
    mask: Option<Tensor<4>>,
}

impl Job {
    fn new(args: &Args, model: Model, mut plan: Plan, device: &Device) -> anyhow::Result<Self> {
        let [c, h, w] = model.shape();
        if args.init_image.is_some() {
            let strength = args.strength(&model);
            if !(0.0..=1.0).contains(&strength) {
                return Err(usage(format!("--strength {strength} must be between 0 and 1")));
            }
            plan = model.plan_from(strength).map_err(|e| usage(format!("--steps: {e}")))?;
        }
        let needed = noises(&plan, model.recipe.corrector);
        let given = args.init_noise.as_ref().map(|path| read_noise(path, needed, [c, h, w], device)).transpose()?;
        let held = given.as_ref().map(|tensors| tensors[0].dims()[0]);
        let n = args.n.or(held).unwrap_or(16);
        if let Some(held) = held.filter(|&held| held != n) {
            return Err(usage(format!("-n {n}: --init-noise holds noise for {held} pictures; leave -n out")));
        }
        let classes = model.classes();
        let asked: Result<Vec<_>, _> = args.class.iter().map(|text| classes.list(text)).collect();
        let labels = classes.turns(&asked.map_err(refused)?.concat(), n);
        let open = |path: &PathBuf| Image::open(path, &Options::default());
        let tensor = |path: &PathBuf| -> anyhow::Result<Tensor<4>> { Ok(picture(&model, &open(path)?)) };
        let init = args.init_image.as_ref().map(tensor).transpose()?;
        let observed = args.observed.as_ref().map(tensor).transpose()?;
        let mask = match (&args.mask, args.init_image.as_ref().or(args.observed.as_ref())) {
            (None, _) => None,
            (Some(_), None) => return Err(usage("--mask needs a picture to keep: --init-image or --observed")),
            (Some(path), Some(other)) => {
                let (white, image) = (open(path)?, open(other)?);
                if (white.width, white.height) != (image.width, image.height) {
                    return Err(usage(format!(
                        "--mask `{}` is {}×{} pixels, `{}` is {}×{}: they must be of one size",
                        path.display(),
                        white.width,
                        white.height,
                        other.display(),
                        image.width,
                        image.height
                    )));
                }
                Some(mask(&model, &white))
            }
        };
        Ok(Self { model, plan, n, labels, given, init, observed, mask })
    }

    fn run(&self, args: &Args, settings: &SampleDefaults, out: &Path) -> anyhow::Result<ExitCode> {
        let mut denoiser: Box<dyn Denoise + '_> = self.model.denoiser(settings.guidance);
        if let (Some(known), Some(mask)) = (&self.init, &self.mask) {
            denoiser = Box::new(Inpaint { inner: denoiser, known: known.clone(), mask: mask.clone() });
        }
        if let Some(observed) = &self.observed {
            let [_, _, h, w] = observed.dims();
            let seen = match &self.mask {
                Some(mask) => 1.0 - mask.clone(),
                None => Tensor::ones([1, 1, h, w], &observed.device()),
            };
            let (black, white) = self.model.recipe.pixels;
            let std = args.observed_noise * (white - black) / 2.0;
            let precision = seen / (std * std);
            denoiser = Box::new(Posterior { inner: denoiser, observed: observed.clone(), precision });
        }
        let mut shown = Shown::new(args, self);
        let (mut images, mut raw) = (Vec::new(), Vec::new());
        for from in (0..self.n).step_by(args.batch) {
            let seeds = from..self.n.min(from + args.batch);
            let x = match args.adaptive {
                Some(tolerance) => self.integrate(&*denoiser, args.seed, seeds, tolerance, &mut shown)?,
                None => self.walk(&*denoiser, args.seed, seeds, &mut shown),
            };
            let Some(x) = x else {
                shown.finish();
                eprintln!("interrupted: {} of {} pictures are in {}", images.len(), self.n, out.display());
                return Ok(ExitCode::from(INTERRUPTED));
            };
            if args.raw.is_some() {
                raw.extend(x.clone().into_data().try_into_vec_as::<f32>().context("cannot read the result")?);
            }
            for (k, image) in self.model.images(x).into_iter().enumerate() {
                self.write(args, settings, out, from + k, &image)?;
                images.push(image);
            }
        }
        shown.finish();
        let columns = match self.model.card.classes.len() {
            classes @ 4..=12 if self.n > classes && args.class.is_empty() => classes,
            _ => (self.n as f64).sqrt().ceil() as usize,
        };
        // Beside the folder, which holds nothing but its pictures: `eval` and `train` read it as it is.
        let sheet = beside(out, "-grid.png");
        write_png(&sheet, &grid(&images, columns, 2), &[])?;
        if let Some(path) = &args.raw {
            let [c, h, w] = self.model.shape();
            // A walk up to noise ends in what --init-noise starts from: over the standard deviation there.
            let (first, last) = (self.plan.rows[0].level, self.plan.rows[self.plan.rows.len() - 1].to);
            let name = if last.log_snr() < first.log_snr() {
                raw.iter_mut().for_each(|x| *x = (f64::from(*x) / last.scale()) as f32);
                "init_noise"
            } else {
                "sample"
            };
            let tensor = Named { name: name.into(), shape: vec![self.n, c, h, w], values: raw };
            fs::write(path, weights::to_bytes(&[tensor], &[]))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        let pictures = if self.n == 1 { "picture" } else { "pictures" };
        println!("{} {pictures} in {}, all of them in {}", self.n, out.display(), sheet.display());
        Ok(ExitCode::SUCCESS)
    }

    fn cond(&self, pictures: &Range<usize>) -> Cond {
        Cond { labels: self.labels.as_ref().map(|l| l[pictures.clone()].to_vec()) }
    }

    /// Some of the pictures by the plan; `None` when interrupted.
    fn walk(
        &self,
        denoiser: &dyn Denoise,
        seed: u64,
        pictures: Range<usize>,
        shown: &mut Shown,
    ) -> Option<Tensor<4>> {
        let (from, count) = (pictures.start, pictures.len());
        let noise = match &self.given {
            Some(tensors) => Noise::Given(tensors.iter().map(|t| t.clone().narrow(0, from, count)).collect()),
            None => Noise::Seeds(pictures.clone().map(|k| seed.wrapping_add(k as u64)).collect()),
        };
        let cond = self.cond(&pictures);
        let mut walk = match &self.init {
            Some(init) => {
                let x0 = init.clone().repeat_dim(0, count);
                self.model.sample_from(denoiser, &self.plan, noise, x0, &cond)
            }
            None => self.model.sample(denoiser, &self.plan, noise, &cond),
        };
        for progress in walk.by_ref() {
            shown.step(self, &pictures, progress);
            if common::interrupted() {
                return None;
            }
        }
        Some(walk.finish())
    }

    /// Some of the pictures by the ODE; `None` when interrupted.
    fn integrate(
        &self,
        denoiser: &dyn Denoise,
        seed: u64,
        pictures: Range<usize>,
        tolerance: f64,
        shown: &mut Shown,
    ) -> anyhow::Result<Option<Tensor<4>>> {
        let schedule = &self.model.recipe.schedule;
        let integrator = DormandPrince { rtol: tolerance, atol: tolerance, ..DormandPrince::default() };
        let seeds: Vec<u64> = pictures.clone().map(|k| seed.wrapping_add(k as u64)).collect();
        let (cond, shape) = (self.cond(&pictures), self.model.shape());
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

    /// Writes picture number `k` with what made it in its text chunk.
    fn write(
        &self,
        args: &Args,
        settings: &SampleDefaults,
        out: &Path,
        k: usize,
        image: &Image,
    ) -> anyhow::Result<()> {
        let seed = args.seed.wrapping_add(k as u64);
        let label = self.labels.as_ref().map(|l| l[k]);
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let mut facts = facts(&self.model, &args.model.display().to_string(), settings, seed, label);
        let more = json!({
            "adaptive": args.adaptive,
            "optimal_variance": shown(&args.optimal_variance),
            "corrector": args.corrector.map(|snr| format!("{snr} × {}", args.corrections)),
            "size": args.size.map(|(w, h)| format!("{w}x{h}")),
            "init_noise": shown(&args.init_noise),
            "init_image": shown(&args.init_image),
            "strength": args.init_image.as_ref().map(|_| args.strength(&self.model)),
            "observed": shown(&args.observed),
            "observed_noise": args.observed.as_ref().map(|_| args.observed_noise),
            "mask": shown(&args.mask),
        });
        facts.extend(more.as_object().cloned().unwrap_or_default());
        // What did not make the picture is no fact of it.
        let foreign = match (args.adaptive, &self.given) {
            (Some(_), _) => ["solver", "spacing", "steps"].as_slice(),
            (_, Some(_)) => &["seed"],
            _ => &[],
        };
        foreign.iter().for_each(|&key| facts[key] = json!(null));
        let class = facts["class"].as_str();
        let suffix = class.map(|class| format!("-{}", file_part(class))).unwrap_or_default();
        let name = if self.given.is_some() { format!("{k:06}{suffix}.png") } else { format!("{seed:08}{suffix}.png") };
        write_png(&out.join(name), image, &[("undiffuse".into(), json!(facts).to_string())])
    }
}

/// What is to be seen while pictures are made.
struct Shown {
    live: Option<Live>,
    bar: Option<Bar>,
    rows: usize,
    n: usize,
    /// Evaluations of the pictures made by the ODE.
    evaluations: Vec<usize>,
}

impl Shown {
    fn new(args: &Args, job: &Job) -> Self {
        // The ODE has no rows to count.
        let rows = if args.adaptive.is_some() { 1 } else { job.plan.rows.len() };
        let live = if args.plain || args.adaptive.is_some() { None } else { Live::open() };
        let bar = live.is_none().then(|| Bar::new(job.n * rows, "sampling").rows_per_image(rows));
        Self { live, bar, rows, n: job.n, evaluations: Vec::new() }
    }

    fn step(&mut self, job: &Job, pictures: &Range<usize>, progress: Progress) {
        if let Some(bar) = &mut self.bar {
            bar.step(pictures.len());
        }
        if let Some(live) = self.live.as_mut().filter(|live| live.due() || progress.row == self.rows) {
            let Range { start, end } = pictures;
            let (row, rows) = (progress.row, self.rows);
            let status = format!("pictures {start}–{end} of {}, evaluation {row} of {rows}", self.n);
            live.show(&job.model.images(progress.denoised), &status);
        }
    }

    fn integrated(&mut self, evaluations: &[usize]) {
        self.evaluations.extend(evaluations);
        if let Some(bar) = &mut self.bar {
            bar.step(evaluations.len());
        }
    }

    fn finish(self) {
        self.bar.into_iter().for_each(Bar::finish);
        if let (Some(low), Some(high)) = (self.evaluations.iter().min(), self.evaluations.iter().max()) {
            let mean = self.evaluations.iter().sum::<usize>() as f64 / self.evaluations.len() as f64;
            println!("evaluations of the network for a picture: {low} to {high}, {mean:.0} in the mean");
        }
    }
}

fn write_png(path: &Path, image: &Image, text: &[(String, String)]) -> anyhow::Result<()> {
    fs::write(path, encode_png(image, text)?).with_context(|| format!("cannot write `{}`", path.display()))
}

/// `X-grid.png` for a folder `X`.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let folder = if folder.file_name().is_some() { folder } else { &real };
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    folder.with_file_name(name)
}

/// A class name as part of a file name, which may have 255 bytes.
fn file_part(name: &str) -> String {
    name.chars().take(50).map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// The name of a model: the run's, not `model`.
fn name(path: &Path) -> String {
    let folder = if path.ends_with("model") { path.parent().unwrap_or(path) } else { path };
    folder.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
}

/// `path`, or `path-2`, `path-3`… when it is taken.
fn unused(path: &Path) -> PathBuf {
    let numbered = |n: usize| PathBuf::from(format!("{}-{n}", path.display()));
    std::iter::once(path.to_owned())
        .chain((2..).map(numbered))
        .find(|p| !p.exists())
        .unwrap_or_else(|| path.to_owned())
}
