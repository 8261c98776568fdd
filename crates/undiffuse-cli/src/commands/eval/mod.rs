//! `undiffuse eval`.

mod compare;
mod inputs;
mod prior;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::burn::tensor::Device;
use undiffuse::data::{Cache, Dataset, names};
use undiffuse::likelihood::measure::LikelihoodSettings;
use undiffuse::run::RunFolder;
use undiffuse_eval::report::{Report, html, shown, verdict};
use undiffuse_eval::{
    EvalError, EvalProgress, EvalRequest, EvalStage, Evaluation, Judge, Known, Likelihood, Subject, evaluate,
};
use undiffuse_features::{self as features, FEATURES, FeatureError, Features};

use crate::common::{self, INTERRUPTED, Machine, Weights, usage};
use crate::output::{facts, remark, show, show_json, write};
use crate::sampling::Sampling;
use crate::ui::bars::{Bar, Bars};
use inputs::{Judged, Named, name, one_colour, own_data, run_or_model};

/// What pictures are worth beside real ones: quality, coverage, likelihood, copies, in one report.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, a diffusers folder, or pictures: a folder, a .zip or .tar(.gz) of
    /// one, or idx files
    #[arg(required_unless_present = "compare")]
    subject: Option<PathBuf>,
    /// Real pictures to compare with; those that a run was trained on when not given
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many pictures: of seeds 0, 1, 2… for a model, drawn from a folder; 10000, or the whole folder, when not given
    #[arg(short, long = "number")]
    n: Option<usize>,
    /// What turns pictures into vectors: `undiffuse features` lists them, or a .safetensors network of your own;
    /// mobilenet-v2 when its weights are there, else pixels
    #[arg(long)]
    features: Option<String>,
    /// Weights of that network, when they are not installed
    #[arg(long, value_name = "FILE", requires = "features")]
    weights: Option<PathBuf>,
    /// A CLIP that judges whether pictures show what was asked for: a run of `undiffuse train --preset clip`, or a folder as
    /// transformers has its parts. Best one that has seen none of the pictures, and of another seed than what it judges
    #[arg(long, value_name = "CLIP")]
    judge: Option<PathBuf>,
    /// What the model was trained on, to look for copies of it: pictures; the run's own, or --data, when not given
    #[arg(long, value_name = "DATA")]
    training: Option<PathBuf>,
    /// Pictures of the same kind that the model has not seen, for likelihoods and to tell copies from likeness; those that a
    /// run kept out of its training when not given
    #[arg(long, value_name = "DATA")]
    held_out: Option<PathBuf>,
    /// Of a prior, the folder of its CLIP; that of its run when not given
    #[arg(long, value_name = "FOLDER")]
    clip: Option<PathBuf>,
    /// Held-out pictures whose likelihood is measured; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 128)]
    likelihood: usize,
    /// Do not look for copies of training pictures
    #[arg(long)]
    no_audit: bool,
    #[command(flatten)]
    sampling: Sampling,
    /// Also extrapolate the Fréchet distance to infinitely many pictures (Chong and Forsyth 2020)
    #[arg(long)]
    extrapolate: bool,
    /// Bootstrap resamples behind each interval
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Seed of the measures' own random choices; pictures always have seeds from 0 on
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Side to which the pictures of a folder are cropped and resized; they must be of one size when not given
    #[arg(long)]
    size: Option<usize>,
    /// 1 to compare in grey, 3 in colour; as the pictures are when not given
    #[arg(long)]
    channels: Option<usize>,
    /// Pictures made at a time; results do not depend on it
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Folder for report.json and report.html; eval/<name> when not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print report.json instead of the table
    #[arg(long)]
    json: bool,
    /// Two report.json files side by side, instead of an evaluation
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"], conflicts_with = "subject")]
    compare: Option<Vec<PathBuf>>,
    /// A part of the protocol that may differ in --compare, such as generated.steps
    #[arg(long, value_name = "PART", requires = "compare", value_delimiter = ',')]
    allow: Vec<String>,
    #[command(flatten)]
    variant: Weights,
    #[command(flatten)]
    machine: Machine,
}

/// Pictures of a model when no number is given: what published distances use at least.
const USUAL: usize = 10_000;

/// Far more than any figure needs, and years of sampling.
const PICTURES_MAX: usize = 100_000_000;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(reports) = &args.compare {
        return compare::run(&reports[0], &reports[1], &args.allow, args.json);
    }
    let Some(path) = &args.subject else { return Err(usage("name a model or a folder of pictures")) };
    args.check()?;
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    if prior::is_prior(path) {
        return prior::run(&args, path, &device);
    }
    let judged = Judged::open(&args, path, &device)?;
    let own = own_data(&args, path)?;
    let named = Named::open(&args, path, &judged)?;
    let Some(data) = named.data.as_ref().or(own.as_ref().map(|(data, _)| data)) else {
        return Err(usage("--data is missing: it names the real pictures to compare with"));
    };
    one_colour(path, &judged, data)?;
    let (network, note) = features(&args, data)?;
    let judge = args.judge.as_deref().map(|path| Judge::read(path, &device)).transpose()?;
    let notes: Vec<String> = note.into_iter().chain(assumed(&args, path, &judged, data)).collect();
    notes.iter().for_each(|note| remark(&format!("note: {note}")));
    let out = args.out.clone().unwrap_or_else(|| Path::new("eval").join(name(path)));
    std::fs::create_dir_all(&out).map_err(undiffuse::files::at("create", &out))?;
    let cache = Cache::Default.dir().map_or_else(|| out.join("cache"), |dir| dir.join("eval"));
    let (training, held_out) = known(data, own.as_ref(), &named);
    let request = EvalRequest {
        subject: judged.subject(&args, data)?,
        name: names::of(run_or_model(path).path()),
        n: judged.number(&args, path),
        data,
        original: judged.original(),
        likelihood: likelihood(&args, path, &judged, held_out.is_some(), &device),
        training: (!args.no_audit).then_some(training),
        held_out,
        judge: judge.as_ref(),
        features: &*network,
        settings: undiffuse_metrics::MetricOptions {
            seed: args.seed,
            resamples: args.resamples,
            extrapolate: args.extrapolate,
            ..undiffuse_metrics::MetricOptions::default()
        },
        cache: &cache,
    };
    if let Subject::Model(generator) = &request.subject {
        generator.note().iter().for_each(|note| remark(&format!("note: {note}")));
    }
    let mut bars = Bars::default();
    let evaluation = evaluate(&request, &mut |progress| {
        show_progress(&mut bars, progress);
        !common::interrupted()
    });
    bars.finish();
    let mut evaluation = match evaluation {
        Err(EvalError::Interrupted) => {
            remark("interrupted: the same command continues from here");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Err(e @ (EvalError::Plan(_) | EvalError::Shapes(_) | EvalError::TooFew { .. })) => {
            return Err(usage(e.to_string()));
        }
        other => other?,
    };
    evaluation.report.notes.extend(notes);
    finish(&args, &out, &evaluation)
}

impl Args {
    /// Refuses numbers that no evaluation can have.
    fn check(&self) -> anyhow::Result<()> {
        if self.n.is_some_and(|n| n < 2) || self.batch == 0 || self.resamples < 100 {
            return Err(usage("-n must be at least 2, --batch at least 1, --resamples at least 100"));
        }
        if let Some(n) = self.n.filter(|&n| n > PICTURES_MAX) {
            return Err(usage(format!("-n {n}: at most {PICTURES_MAX} pictures are judged")));
        }
        if self.likelihood == 1 {
            return Err(usage("--likelihood must be at least 2 (a mean needs an error), or 0 for none"));
        }
        Ok(())
    }
}

/// What the model was trained on, and what it has not seen: the pictures that were named, else those of its run, else `data`.
fn known<'a>(
    data: &'a Dataset,
    own: Option<&'a (Dataset, BTreeSet<usize>)>,
    named: &'a Named,
) -> (Known<'a>, Option<Known<'a>>) {
    let whole = |data: &'a Dataset| Known { data, indices: (0..data.len()).collect() };
    let (training, held_out) = match own {
        Some((data, held_out)) => {
            let training = (0..data.len()).filter(|i| !held_out.contains(i)).collect();
            (Known { data, indices: training }, Some(Known { data, indices: held_out.iter().copied().collect() }))
        }
        None => (whole(data), None),
    };
    let training = named.training.as_ref().map_or(training, whole);
    (training, named.held_out.as_ref().map(whole).or(held_out.filter(|known| !known.indices.is_empty())))
}

/// What is taken for the training set of a model that lies in no run.
fn assumed(args: &Args, path: &Path, judged: &Judged, data: &Dataset) -> Option<String> {
    let known = RunFolder::find(path).is_some() || args.training.is_some() || args.no_audit;
    (matches!(judged, Judged::Model { .. }) && !known).then(|| {
        let name = names::of(data.path());
        format!(
            "what the model was trained on is not known here: copies are looked for of `{name}`, or of --training DATA"
        )
    })
}

/// The likelihoods to be measured; none for pictures, nor for a model of which no unseen pictures are known.
fn likelihood<'a>(
    args: &'a Args,
    path: &'a Path,
    judged: &Judged,
    unseen: bool,
    device: &'a Device,
) -> Option<Likelihood<'a>> {
    match (judged, args.likelihood) {
        (Judged::Pictures(_), _) | (_, 0) => None,
        // Of a model that has no likelihood the report says so.
        (Judged::Model { model, .. }, _) if !unseen && model.codec.is_orthonormal() => {
            remark("note: no likelihood: no pictures that the model has not seen are known; --held-out names some");
            None
        }
        (Judged::Model { .. }, images) => Some(Likelihood {
            model: path,
            variant: args.variant.variant.as_deref(),
            data: args.held_out.as_deref(),
            settings: LikelihoodSettings { images, ..LikelihoodSettings::default() },
            device,
        }),
    }
}

fn finish(args: &Args, out: &Path, evaluation: &Evaluation) -> anyhow::Result<ExitCode> {
    let Evaluation { report, illustrations } = evaluation;
    let json = serde_json::to_value(report)?;
    write(&out.join("report.json"), format!("{json:#}\n").as_bytes())?;
    write(&out.join("report.html"), html(report, illustrations)?.as_bytes())?;
    if args.json {
        show_json(&json)?;
    } else {
        show(&table(report))?;
        show(&facts(&[("report", out.join("report.html").display().to_string())]))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The report as a terminal shows it.
fn table(report: &Report) -> String {
    let mut lines: Vec<(&str, String)> = report
        .figures
        .iter()
        .map(|figure| {
            let (value, interval) = shown(figure);
            (figure.name.as_str(), format!("{value:>10}  {interval}"))
        })
        .collect();
    let protocol = &report.protocol;
    lines.extend(report.audit.as_ref().map(|audit| ("copies", verdict(audit))));
    let speed = report.speed.as_ref().map(|speed| format!("{:.1} pictures/s", speed.images_per_second));
    lines.extend(speed.map(|speed| ("sampling", speed)));
    lines.push((
        "protocol",
        format!(
            "{}  {} judged, {} real, {} features",
            &report.fingerprint[..12],
            protocol.generated.images,
            protocol.data.images,
            protocol.features.network
        ),
    ));
    lines.extend(report.notes.iter().map(|note| ("note", note.clone())));
    facts(&lines)
}

/// The feature network, and what must be said about the choice.
fn features(args: &Args, data: &Dataset) -> anyhow::Result<(Box<dyn Features>, Option<String>)> {
    match &args.features {
        Some(spec) if spec == "pixels" && args.weights.is_some() => {
            Err(usage("--weights: the features `pixels` have no weights"))
        }
        Some(spec) => Ok((features::open(spec, args.weights.as_deref(), data)?, None)),
        None => match features::open(FEATURES[0].tag, None, data) {
            Err(e @ FeatureError::Missing { .. }) => {
                let note =
                    format!("pictures are judged by their pixels alone, which see little of what they show: {e}");
                Ok((features::open("pixels", None, data)?, Some(note)))
            }
            other => Ok((other?, None)),
        },
    }
}

/// A bar for each stage.
fn show_progress(bars: &mut Bars<EvalStage>, EvalProgress { stage, done, total }: EvalProgress) {
    let (label, rows) = match stage {
        EvalStage::RealVectors => ("vectors of the data".to_owned(), 1),
        EvalStage::Generating { rows } => ("sampling".to_owned(), rows),
        EvalStage::GeneratedVectors => ("vectors of the judged".to_owned(), 1),
        EvalStage::TrainingVectors => ("vectors of the training set".to_owned(), 1),
        EvalStage::Judging => ("vectors of the judge".to_owned(), 1),
        EvalStage::Measuring(tag) => (format!("measuring {tag}"), 1),
        EvalStage::Likelihood => ("likelihood".to_owned(), 1),
        EvalStage::Audit => ("looking for copies".to_owned(), 1),
    };
    bars.show(stage, done, || Bar::new(total, label).rows_per_image(rows));
}
