//! `undiffuse nll`.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::data::{encode_png, sheet_mark};
use undiffuse::likelihood::Dequantize;
use undiffuse::likelihood::Meaningless;
use undiffuse::likelihood::flow::Trace;
use undiffuse::likelihood::measure::{
    self, EXACT_LIMIT, LikelihoodProgress, LikelihoodSettings, LikelihoodStage, MeasureError, Measurement, TestSet,
};
use undiffuse::math::prelude::SpacingKind;

use crate::common::{self, INTERRUPTED, Machine, Weights, usage};
use crate::output::{facts, remark, show, show_json, stem, write};
use crate::ui::bars::{Bar, Bars};
use report::{Report, curves};

/// How many bits a model needs for pictures: the variational bound and the likelihood of its ODE, on the same pictures.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, or a diffusers folder
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
    weights: Weights,
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
    let said = |e| explain(e, &args.model);
    let model = measure::load(&args.model, args.weights.variant.as_deref(), &device).map_err(said)?;
    let settings = LikelihoodSettings { batch: model.at_once(args.batch)?, ..args.settings() };
    let source = TestSet::open(&args.model, args.data.as_deref(), model.picture_shape()).map_err(said)?;
    let job = Measurement::new(&model, &source, &settings).map_err(said)?;
    if job.resized > 0 {
        let [_, height, width] = model.picture_shape();
        let (resized, all) = (job.resized, job.pictures.len());
        remark(&format!(
            "note: {resized} of {all} pictures are not {width}×{height} pixels and were resized; the bits are those of the \
             resized pictures"
        ));
    }
    if let Some(lacking) = &job.told.lacking {
        remark(&format!("note: {lacking}. Pictures of which nothing is said are measured unconditionally"));
    }
    let outcome = match job.run(&mut bars()) {
        Err(MeasureError::Interrupted) => {
            remark(
                "interrupted: nothing is written, a mean over the pictures done so far would not be the one asked for",
            );
            return Ok(ExitCode::from(INTERRUPTED));
        }
        outcome => outcome.map_err(said)?,
    };
    let report = Report::new(&args, &job, &outcome);
    let out = args.out.clone().unwrap_or_else(|| Path::new("nll").join(model_name(&args.model)));
    std::fs::create_dir_all(&out).map_err(undiffuse::files::at("create", &out))?;
    write(&out.join("nll.json"), format!("{:#}\n", report.json).as_bytes())?;
    match outcome.bound.as_ref().filter(|_| args.only != Some(Which::Ode)) {
        Some(bound) => write(&out.join("nll.png"), &encode_png(&curves(&args, &job, bound), &[sheet_mark("curves")])?)?,
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

impl Args {
    fn settings(&self) -> LikelihoodSettings {
        LikelihoodSettings {
            which: match self.only {
                None => measure::Which::Both,
                Some(Which::Bound) => measure::Which::Bound,
                Some(Which::Ode) => measure::Which::Ode,
            },
            images: self.n,
            seed: self.seed,
            steps: self.steps,
            spacing: self.spacing.clone(),
            evaluations: self.evaluations,
            variance: match self.variance {
                Variance::Posterior => measure::Variance::Posterior,
                Variance::Forward => measure::Variance::Forward,
                Variance::Optimal => measure::Variance::Optimal,
                Variance::Learned => measure::Variance::Learned,
            },
            dequantize: match self.dequantize {
                Dequantization::Gaussian => Dequantize::Gaussian,
                Dequantization::Uniform => Dequantize::Uniform,
            },
            trace: match self.trace {
                TraceKind::Rademacher => Trace::Rademacher(self.probes),
                TraceKind::Gaussian => Trace::Gaussian(self.probes),
                TraceKind::Exact => Trace::Exact,
            },
            tolerance: self.tolerance,
            batch: self.batch,
        }
    }
}

/// An error in the words of the command line.
fn explain(e: MeasureError, model: &Path) -> anyhow::Error {
    match e {
        MeasureError::Model(e) => e.into(),
        MeasureError::Data(e) => e.into(),
        MeasureError::NoPictures(_) => {
            usage("--data is missing: the model is not inside a run, so it has no held-out pictures of its own")
        }
        MeasureError::HeldOut(e) => {
            anyhow::Error::new(e).context("the run's own held-out pictures cannot be read; name pictures with --data")
        }
        MeasureError::TooFew { .. } | MeasureError::NotSquare { .. } | MeasureError::Untold { .. } => {
            usage(e.to_string())
        }
        MeasureError::Grid(e) => usage(format!("--steps: {e}")),
        MeasureError::Meaningless(e @ Meaningless::NoVariance { .. }) => usage(e.to_string()),
        MeasureError::Meaningless(e) => anyhow::anyhow!("{}: {e}", model.display()),
        MeasureError::Exact(dims) => usage(format!(
            "--trace exact takes a gradient for each of a picture's {dims} numbers at every evaluation; it is for at most {EXACT_LIMIT}"
        )),
        MeasureError::NoSpare(n) => usage(format!(
            "--variance optimal measures the model's errors on other pictures than the {n} it reports on: lower -n"
        )),
        MeasureError::Flow(e) => anyhow::anyhow!("{}: {e}", model.display()),
        e @ MeasureError::Interrupted => e.into(),
    }
}

/// A bar for each stage, one after the other; stops when the program is interrupted.
fn bars() -> impl FnMut(LikelihoodProgress) -> bool {
    let mut bars = Bars::default();
    move |LikelihoodProgress { stage, done, total, per_image }| {
        let label = match stage {
            LikelihoodStage::Errors => "measuring errors",
            LikelihoodStage::Bound => "bound",
            LikelihoodStage::Ode => "ode",
        };
        bars.show(stage, done, || Bar::new(total, label).rows_per_image(per_image));
        if done == total {
            bars.finish();
        }
        !common::interrupted()
    }
}

/// The name of a model: the run's, not `model`.
fn model_name(path: &Path) -> String {
    stem(if path.ends_with("model") { path.parent().unwrap_or(path) } else { path })
}
