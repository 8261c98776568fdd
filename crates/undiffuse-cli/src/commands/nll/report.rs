//! What a measurement says: lines for a person, JSON, charts.

use serde_json::{Value, json};
use undiffuse::condition::Ask;
use undiffuse::data::Image;
use undiffuse::data::figure::{Layer, Panel, figure};
use undiffuse::likelihood::Estimate;
use undiffuse::likelihood::bound::{Bound, BoundStep};
use undiffuse::likelihood::measure::{BoundBits, Measured, Measurement, OdeBits, Outcome};
use undiffuse::math::likelihood::bits_per_dim;

use super::{Args, Dequantization, TraceKind, model_name};

/// What is printed and what is written.
pub struct Report {
    /// Names and values for a person.
    pub lines: Vec<(&'static str, String)>,
    /// The same and more for programs.
    pub json: Value,
}

impl Report {
    pub fn new(args: &Args, job: &Measurement<'_>, outcome: &Outcome) -> Self {
        let measured = job.measured(outcome);
        let mut json = json!({ "protocol": protocol(args, job, &measured) });
        let mut lines = vec![("protocol", of_what(args, job, &measured))];
        if let (Some(bits), Some(bound)) = (&measured.bound, &outcome.bound) {
            json["bound"] = json!(bits);
            json["bound"]["curve"] = curve(job, bound);
            lines.push(("bound", bound_in_words(args, job, bits)));
        }
        if let Some(ode) = &measured.ode {
            json["ode"] = json!(ode);
            lines.push(("ode", ode_in_words(args, ode)));
        }
        if let Some(gap) = measured.bound_minus_ode {
            json["bound_minus_ode"] = json!(gap);
            lines.push(("bound − ode", shown(gap)));
        }
        Self { lines, json }
    }
}

/// The cleanest and the noisiest level.
fn ends(job: &Measurement<'_>) -> [f64; 2] {
    let rows = &job.plan.rows;
    [rows[rows.len() - 1].level.sigma_edm(), rows[0].level.sigma_edm()]
}

fn protocol(args: &Args, job: &Measurement<'_>, measured: &Measured) -> Value {
    let (model, [cleanest, noisiest]) = (job.model, ends(job));
    json!({
        "program": concat!("undiffuse ", env!("CARGO_PKG_VERSION")),
        "model": model_name(&args.model),
        "trained": model.card.provenance,
        "data": measured.data,
        "data_fingerprint": measured.data_fingerprint,
        "told": measured.told,
        "pictures": measured.images,
        "seed": args.seed,
        "dims": measured.dims,
        "schedule": model.recipe.schedule,
        "parameterization": model.recipe.parameterization,
        "steps": measured.steps,
        "evaluations_per_picture": job.evaluations() + 1,
        "variance": word(args.variance),
        "dequantization": word(args.dequantize),
        "trace": word(args.trace),
        "probes": args.probes,
        "tolerance": args.tolerance,
        "cleanest_sigma": cleanest,
        "noisiest_sigma": noisiest,
    })
}

/// What was measured on, and between which levels.
fn of_what(args: &Args, job: &Measurement<'_>, measured: &Measured) -> String {
    let told = job.pictures.cond.asks.iter().filter(|ask| **ask != Ask::None).count();
    let conditions = match (job.model.conditioner.field(), told) {
        (None, _) => "no conditions".to_owned(),
        (Some(field), n) if n == job.pictures.len() => format!("{} told", field.plural),
        (Some(field), n) => format!("{} told for {n}", field.plural),
    };
    let Measured { data, images, dims, .. } = measured;
    let (seed, [cleanest, noisiest]) = (args.seed, ends(job));
    format!(
        "{images} pictures of {data} (seed {seed}), {dims} numbers each, {conditions}\n\
         levels sigma/alpha {cleanest:.4} to {noisiest:.4}"
    )
}

fn bound_in_words(args: &Args, job: &Measurement<'_>, bits: &BoundBits) -> String {
    let (all, evaluations) = (job.plan.rows.len() - 1, job.evaluations());
    let parts = format!(
        "prior {:.4}, {all} steps {:.4}, reconstruction {:.4}",
        bits.prior.mean, bits.steps.mean, bits.reconstruction.mean
    );
    let drawn = if evaluations == all { "all".into() } else { format!("{evaluations} of the") };
    let how = format!("{} variance, {drawn} steps evaluated for each picture", word(args.variance));
    format!("{}\n{parts}\n{how}", shown(bits.bits_per_dim))
}

fn ode_in_words(args: &Args, ode: &OdeBits) -> String {
    let trace = match args.trace {
        TraceKind::Exact => word(args.trace),
        _ => format!("{}, probes {}", word(args.trace), args.probes),
    };
    let evaluations = ode.mean_evaluations;
    let how = format!("tolerance {:e}, trace {trace}; {evaluations:.0} evaluations a picture", args.tolerance);
    let what = match args.dequantize {
        Dequantization::Gaussian => "pixels rounded from the cleanest level, as in the bound",
        Dequantization::Uniform => {
            "uniform dequantisation: an upper bound; pixels that never change are counted too dear"
        }
    };
    format!("{}\n{how}\n{what}", shown(ode.bits_per_dim))
}

fn shown(e: Estimate) -> String {
    format!("{:.4} ± {:.4} bits/dim", e.mean, e.standard_error)
}

/// An option's value as it is given.
fn word(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

/// The course of the bound as JSON: rate and distortion of a code that stops at each row [Ho20, section 4.3].
fn curve(job: &Measurement<'_>, bound: &Bound) -> Value {
    let dims = job.pictures.dims();
    rate_distortion(job, bound)
        .into_iter()
        .zip(&bound.curve)
        .map(|((rate, distortion), step)| {
            json!({
                "time": step.time,
                "sigma": step.level.sigma_edm(),
                "log_snr": step.level.log_snr(),
                "pictures": step.count,
                "bits_per_dim": bits_per_dim(step.kl, dims),
                "error": step.error,
                "rate": rate,
                "distortion": distortion,
            })
        })
        .collect()
}

/// For each row: bits/dim sent before it, and the root mean square error of the guess then, in units of a pixel value.
fn rate_distortion(job: &Measurement<'_>, bound: &Bound) -> Vec<(f64, f64)> {
    let prior = bits_per_dim(Estimate::of(&bound.prior).mean, job.pictures.dims());
    let errors = bound.errors();
    let unit = 255.0 / (job.pictures.range.1 - job.pictures.range.0);
    let mut last = 0.0;
    bound
        .curve
        .iter()
        .zip(errors)
        .scan(prior, |rate, (step, error)| {
            let before = *rate;
            if step.count > 0 {
                last = bits_per_dim(step.kl, job.pictures.dims());
            }
            *rate += last;
            Some((before, unit * error.sqrt()))
        })
        .collect()
}

/// Points of a chart, at most.
const POINTS: usize = 60;

/// The mean of `of` over neighbouring rows, as many as give about [`POINTS`] points of equally many evaluations, by the
/// geometric mean of their levels.
fn smooth(bound: &Bound, of: impl Fn(usize, &BoundStep) -> f64) -> Vec<(f64, f64)> {
    let total: usize = bound.curve.iter().map(|s| s.count).sum();
    let (mut points, mut sums, mut count) = (Vec::new(), (0.0, 0.0), 0);
    for (row, step) in bound.curve.iter().enumerate() {
        let n = step.count as f64;
        if step.count > 0 {
            sums = (sums.0 + n * step.level.sigma_edm().ln(), sums.1 + n * of(row, step));
            count += step.count;
        }
        let last = row + 1 == bound.curve.len();
        // The last row, the reconstruction, stands by itself.
        if count > 0 && (count * POINTS >= total || last || row + 2 == bound.curve.len()) {
            points.push(((sums.0 / count as f64).exp(), sums.1 / count as f64));
            (sums, count) = ((0.0, 0.0), 0);
        }
    }
    points
}

/// The bound along the way, and progressive coding.
pub fn curves(args: &Args, job: &Measurement<'_>, bound: &Bound) -> Image {
    let dims = job.pictures.dims();
    let curve = rate_distortion(job, bound);
    let sigma = "sigma / alpha";
    let terms = smooth(bound, |_, step| bits_per_dim(step.kl, dims));
    let sent = bound.curve.iter().zip(&curve).map(|(s, (rate, _))| (s.level.sigma_edm(), *rate)).collect();
    let errors = smooth(bound, |_, step| step.error);
    let unit = 255.0 / (job.pictures.range.1 - job.pictures.range.0);
    let rates = smooth(bound, |row, _| curve[row].0);
    let coding = rates.iter().zip(&errors).map(|((_, rate), (_, error))| (*rate, unit * error.sqrt())).collect();
    let log = |title: &str, points| Panel { log_x: true, ..Panel::new(title, vec![Layer::line("", points)]) };
    let panels = [
        Panel { log_y: true, ..log("each step's term", terms) }.labels(sigma, "bits/dim"),
        log("sent before that level", sent).labels(sigma, "bits/dim"),
        Panel::new("progressive coding", vec![Layer::line("", coding)])
            .labels("rate (bits/dim)", "distortion (RMSE of 255)"),
        log("error of the guess", errors).labels(sigma, "mean square"),
    ];
    let title = format!("{}: {} pictures", model_name(&args.model), job.pictures.len());
    figure(&title, 2, (520, 380), &panels)
}
