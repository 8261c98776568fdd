//! `undiffuse nll`.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::burn::module::Module;
use undiffuse::data::{Dataset, Options, encode_png};
use undiffuse::denoise::{Cond, Network};
use undiffuse::likelihood::bound::{self, Bound, StepVariance};
use undiffuse::likelihood::flow::{self, Flow, FlowError, Trace};
use undiffuse::likelihood::{self, Dequantize, Estimate, Meaningless, Pictures};
use undiffuse::math::likelihood::bits_per_dim;
use undiffuse::math::noise;
use undiffuse::math::ode::DormandPrince;
use undiffuse::math::prelude::{Grid, Last, Plan, SpacingKind};
use undiffuse::train::{CONFIG_FILE, held_out};
use anyhow::Context;
use undiffuse::Model;
use undiffuse::math::spacing::{LogSnr, Trailing};

use crate::common::{self, INTERRUPTED, Machine, usage};
use crate::output::{facts, show, show_json, stem, write};
use crate::ui::bars::Bar;
use report::{Report, curves};

/// How many bits a model needs for pictures: the variational bound and the likelihood of its ODE, on the same pictures.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, or a diffusers folder with a UNet2DModel
    model: PathBuf,
    /// Pictures that the model has not seen: a folder, a .zip or .tar(.gz) of one, or idx files; those that a run kept out
    /// of its training when not given
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many of them, drawn by --seed; all when there are fewer
    #[arg(short, long = "number", default_value_t = 128)]
    n: usize,
    /// One of the two alone
    #[arg(long, value_enum)]
    only: Option<Which>,
    /// Steps of the chain whose bound is computed; the schedule's timesteps, or 1000, when not given
    #[arg(long)]
    steps: Option<usize>,
    /// Which levels the chain visits; every timestep, or equal intervals of log-SNR, when not given
    #[arg(long)]
    spacing: Option<SpacingKind>,
    /// Steps evaluated for each picture, one drawn from each of so many strata; 0 is all of them
    #[arg(long, default_value_t = 50)]
    evaluations: usize,
    /// Variance of the chain's steps
    #[arg(long, value_enum, default_value = "posterior")]
    variance: Variance,
    /// What stands for a pixel value in the ODE: the noise of the cleanest level, or uniform noise as in most papers
    #[arg(long, value_enum, default_value = "gaussian")]
    dequantize: Dequantization,
    /// How the ODE's divergence is found: by random signs, by random numbers, or exactly (pictures of few numbers)
    #[arg(long, value_enum, default_value = "rademacher")]
    trace: TraceKind,
    /// Random probes of each picture
    #[arg(long, default_value_t = 1)]
    probes: usize,
    /// Error that the ODE's integrator allows in a step, relative and absolute
    #[arg(long, default_value_t = 1e-4)]
    tolerance: f64,
    /// Seed of the choice of pictures and of all noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures computed at a time; results do not depend on it beyond rounding
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Folder for nll.json and nll.png; nll/<model name> when not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The variational bound
    Bound,
    /// The ODE's likelihood
    Ode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Variance {
    /// The posterior's, DDPM's fixed_small
    Posterior,
    /// The forward process's, DDPM's fixed_large
    Forward,
    /// Analytic-DPM's, from the model's errors on other pictures of the data
    Optimal,
    /// The network's own, for models that were trained with it
    Learned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dequantization {
    Gaussian,
    Uniform,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TraceKind {
    Rademacher,
    Gaussian,
    Exact,
}

/// Numbers in a picture for which exact traces are still a matter of seconds.
const EXACT_LIMIT: usize = 256;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.n < 2 || args.batch == 0 || args.probes == 0 {
        return Err(usage("-n must be at least 2 (a mean needs an error), --batch and --probes at least 1"));
    }
    if !(args.tolerance > 0.0 && args.tolerance < 1.0) {
        return Err(usage(format!("--tolerance {} must lie between 0 and 1", args.tolerance)));
    }
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    // The ODE needs gradients by the picture, never by the weights.
    let mut model = Model::load(&args.model, &device.autodiff())?;
    model.network = model.network.no_grad();
    let [channels, height, width] = model.shape();
    if height != width {
        return Err(usage(format!("the model's pictures are {width}×{height}; only square ones can be measured")));
    }
    let Source { data, name, mut candidates } = Source::open(&args, height, channels)?;
    let order = noise::shuffled(args.seed, u64::from(u32::MAX), candidates.len() as u32);
    let wanted = args.n.min(candidates.len());
    if wanted < 2 {
        return Err(usage(format!("{name} holds {} pictures: at least 2 are needed", candidates.len())));
    }
    candidates = order.iter().map(|&i| candidates[i as usize]).collect();
    let (chosen, others) = candidates.split_at(wanted);
    let resized = chosen.iter().filter(|&&i| data.original_size(i) != (width, height)).count();
    if resized > 0 {
        eprintln!(
            "note: {resized} of {wanted} pictures are not {width}×{height} pixels and were resized; the bits are those of the resized pictures"
        );
    }
    let pictures = pictures(&model, &data, chosen, args.seed);
    let grid = grid(&model, &args)?;
    let plan = likelihood::plan(&grid, &*model.recipe.parameterization)
        .map_err(|e| anyhow::anyhow!("{}: {e}", args.model.display()))?;
    let answers = model.network.config().out_channels;
    if args.variance == Variance::Learned && answers != 2 * channels {
        return Err(usage(Meaningless::NoVariance { channels }.to_string()));
    }
    if args.trace == TraceKind::Exact && pictures.dims() > EXACT_LIMIT {
        return Err(usage(format!(
            "--trace exact takes a gradient for each of a picture's {} numbers at every evaluation; it is for at most {EXACT_LIMIT}",
            pictures.dims()
        )));
    }
    let job = Job { args: &args, model: &model, plan: &plan, pictures: &pictures };
    let interrupted = || {
        eprintln!("interrupted: nothing is written, a mean over the pictures done so far would not be the one asked for");
        Ok(ExitCode::from(INTERRUPTED))
    };
    let bound = match args.only {
        Some(Which::Ode) if args.dequantize == Dequantization::Uniform => None,
        _ => {
            let spare = self::pictures(&model, &data, &others[..wanted.min(others.len())], args.seed + 1);
            match job.bound(&spare)? {
                Some(bound) => Some(bound),
                None => return interrupted(),
            }
        }
    };
    let flow = match args.only {
        Some(Which::Bound) => None,
        _ => match job.flow() {
            Ok(flow) => Some(flow),
            Err(FlowError::Interrupted) => return interrupted(),
            Err(e) => return Err(anyhow::anyhow!("{}: {e}", args.model.display())),
        },
    };
    let report = Report::new(&job, (&data, &name), bound.as_ref(), flow.as_ref());
    let out = args.out.clone().unwrap_or_else(|| Path::new("nll").join(model_name(&args.model)));
    std::fs::create_dir_all(&out).map_err(undiffuse::files::at("create", &out))?;
    write(&out.join("nll.json"), format!("{:#}\n", report.json).as_bytes())?;
    match bound.as_ref().filter(|_| args.only != Some(Which::Ode)) {
        Some(bound) => write(&out.join("nll.png"), &encode_png(&curves(&job, bound), &[])?)?,
        // A picture of an earlier bound would not belong to the numbers beside it.
        None => drop(std::fs::remove_file(out.join("nll.png"))),
    }
    if args.json {
        show_json(&report.json)?;
    } else {
        let mut lines = report.lines;
        lines.push(("files", out.display().to_string()));
        show(&facts(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the pictures come from.
struct Source {
    data: Dataset,
    /// For messages.
    name: String,
    /// Which of them may be drawn.
    candidates: Vec<usize>,
}

impl Source {
    fn open(args: &Args, size: usize, channels: usize) -> anyhow::Result<Self> {
        if let Some(path) = &args.data {
            let options = Options { size: Some(size), channels: Some(channels), ..Options::default() };
            let data = Dataset::open(path, &options)?;
            let candidates = (0..data.len()).collect();
            return Ok(Self { data, name: path.display().to_string(), candidates });
        }
        let run = if args.model.ends_with("model") { args.model.parent() } else { Some(args.model.as_path()) };
        match run.filter(|run| run.join(CONFIG_FILE).is_file()) {
            None => Err(usage("--data is missing: the model is not inside a run, so it has no held-out pictures of its own")),
            Some(run) => {
                let said = "the run's own held-out pictures cannot be read; name pictures with --data";
                let (data, candidates) = held_out(run, &mut |_| {}).context(said)?;
                let name = format!("the held-out part of {}", data.path().display());
                Ok(Self { data, name, candidates })
            }
        }
    }
}

/// Pictures of a dataset in the model's pixel range, told to the model as what they are.
fn pictures(model: &Model, data: &Dataset, indices: &[usize], seed: u64) -> Pictures {
    let mut x0 = Vec::new();
    data.batch(indices, &vec![false; indices.len()], &mut x0);
    let range = model.recipe.pixels;
    if range != (-1.0, 1.0) {
        x0.iter_mut().for_each(|x| *x = ((f64::from(*x) + 1.0) / 2.0 * (range.1 - range.0) + range.0) as f32);
    }
    let names = &model.card.classes;
    let label = |i: usize| {
        let own = data.label(i)?;
        let name = data.classes().get(own as usize)?;
        let known = names.iter().position(|n| n.eq_ignore_ascii_case(name)).map(|p| p as u32);
        // Labels of idx files are numbers; those of two sets of words that differ mean nothing to each other.
        let numbers = |names: &[String]| names.iter().all(|n| n.parse::<u32>().is_ok());
        let alike = data.classes().len() == names.len() && (numbers(names) || numbers(data.classes()));
        known.or_else(|| alike.then_some(own))
    };
    let labels = model.network.config().num_class_embeds.map(|rows| {
        let none = model.card.null_class.unwrap_or(rows as u32 - 1);
        indices.iter().map(|&i| label(i).unwrap_or(none)).collect()
    });
    let seeds = indices.iter().map(|&i| noise::bits(seed, i as u64, 0)).collect();
    let shape = model.shape();
    Pictures { shape, x0, range, seeds, cond: Cond { labels } }
}

/// The levels of the chain.
fn grid<'a>(model: &'a Model, args: &Args) -> anyhow::Result<Grid<'a>> {
    let schedule = &model.recipe.schedule;
    let timesteps = schedule.discrete_steps();
    let steps = args.steps.or(timesteps).unwrap_or(1000);
    let spacing = args.spacing.clone().unwrap_or_else(|| match timesteps == Some(steps) {
        true => Trailing::default().into(),
        false => LogSnr {}.into(),
    });
    Grid::new(&**schedule, &*spacing, steps, Last::Clean).map_err(|e| usage(format!("--steps: {e}")))
}

/// What both measurements share.
struct Job<'a> {
    args: &'a Args,
    model: &'a Model,
    plan: &'a Plan,
    pictures: &'a Pictures,
}

impl Job<'_> {
    /// The network as it is: clipping would make the ODE's flow kinked.
    fn denoiser(&self) -> Network<'_> {
        let recipe = &self.model.recipe;
        let (schedule, parameterization) = (&recipe.schedule, &recipe.parameterization);
        Network { network: &self.model.network, schedule, parameterization }
    }

    fn evaluations(&self) -> usize {
        match (self.args.only, self.args.evaluations) {
            // The ODE borrows nothing but the reconstruction.
            (Some(Which::Ode), _) => 1,
            (_, 0) => usize::MAX,
            (_, n) => n,
        }
    }

    /// The bound; the errors that optimal variances are made of come from `spare` pictures.
    fn bound(&self, spare: &Pictures) -> anyhow::Result<Option<Bound>> {
        let variance = match self.args.variance {
            Variance::Posterior => StepVariance::Posterior,
            Variance::Forward => StepVariance::Forward,
            Variance::Learned => StepVariance::Learned,
            Variance::Optimal => {
                if spare.len() < 2 {
                    return Err(usage(format!(
                        "--variance optimal measures the model's errors on other pictures than the {} it reports on: lower -n",
                        self.pictures.len()
                    )));
                }
                match self.measure(spare, StepVariance::Posterior, "measuring errors") {
                    None => return Ok(None),
                    Some(bound) => StepVariance::Optimal(filled(&bound)),
                }
            }
        };
        Ok(self.measure(self.pictures, variance, "bound"))
    }

    fn measure(&self, pictures: &Pictures, variance: StepVariance, label: &str) -> Option<Bound> {
        let (batch, dequantize) = (self.args.batch, Dequantize::Gaussian);
        let settings = bound::Settings { evaluations: self.evaluations(), batch, dequantize, variance };
        let mut bar: Option<Bar> = None;
        let mut before = 0;
        let bound = bound::bound(&self.denoiser(), self.plan, pictures, &settings, &mut |done, total| {
            let per_picture = total / pictures.len().max(1);
            bar.get_or_insert_with(|| Bar::new(total, label).rows_per_image(per_picture)).step(done - before);
            before = done;
            !common::interrupted()
        });
        bar.into_iter().for_each(Bar::finish);
        bound
    }

    fn flow(&self) -> Result<Flow, FlowError> {
        let args = self.args;
        let trace = match args.trace {
            TraceKind::Rademacher => Trace::Rademacher(args.probes),
            TraceKind::Gaussian => Trace::Gaussian(args.probes),
            TraceKind::Exact => Trace::Exact,
        };
        let integrator = DormandPrince { rtol: args.tolerance, atol: args.tolerance, ..DormandPrince::default() };
        let settings = flow::Settings { trace, integrator, batch: args.batch, dequantize: args.dequantize() };
        let schedule = &self.model.recipe.schedule;
        // A hundredth of a batch at a time.
        let scale = |done: usize, share: f64| {
            done * 100 + (share * 100.0 * args.batch.min(self.pictures.len() - done) as f64) as usize
        };
        let mut bar = Bar::new(self.pictures.len() * 100, "ode").rows_per_image(100);
        let mut before = 0;
        let level_at = |log_snr| schedule.level_at(log_snr);
        let progress = &mut |done, share| {
            let now = scale(done, share);
            bar.step(now.saturating_sub(before));
            before = now.max(before);
            !common::interrupted()
        };
        let flow = flow::flow(&self.denoiser(), self.plan, &level_at, self.pictures, &settings, progress);
        bar.finish();
        flow
    }

    fn bits(&self, nats: &[f64]) -> Estimate {
        let dims = self.pictures.dims();
        Estimate::of(&nats.iter().map(|n| bits_per_dim(*n, dims)).collect::<Vec<_>>())
    }
}

impl Args {
    fn dequantize(&self) -> Dequantize {
        match self.dequantize {
            Dequantization::Gaussian => Dequantize::Gaussian,
            Dequantization::Uniform => Dequantize::Uniform,
        }
    }
}

/// The mean error at each row; rows that no picture visited take their nearest neighbours' on the noisy side.
fn filled(bound: &Bound) -> Vec<f64> {
    let first = bound.curve.iter().find(|s| s.count > 0).map_or(0.0, |s| s.error);
    bound
        .curve
        .iter()
        .scan(first, |last, step| {
            if step.count > 0 {
                *last = step.error;
            }
            Some(*last)
        })
        .collect()
}

/// The name of a model: the run's, not `model`.
fn model_name(path: &Path) -> String {
    stem(if path.ends_with("model") { path.parent().unwrap_or(path) } else { path })
}
