//! What a measurement says: lines for a person, JSON, charts.

use serde_json::{Value, json};
use undiffuse::data::figure::{Layer, Panel, figure};
use undiffuse::data::{Dataset, Image};
use undiffuse::likelihood::Estimate;
use undiffuse::likelihood::bound::{self, Bound};
use undiffuse::likelihood::flow::Flow;
use undiffuse::math::likelihood::bits_per_dim;

use super::{Dequantization, Job, TraceKind, Which, filled, model_name};

/// What is printed and what is written.
pub struct Report {
    /// Names and values for a person.
    pub lines: Vec<(&'static str, String)>,
    /// The same and more for programs.
    pub json: Value,
}

impl Report {
    pub fn new(job: &Job<'_>, (data, name): (&Dataset, &str), bound: Option<&Bound>, flow: Option<&Flow>) -> Self {
        let Job { args, model, plan, pictures } = job;
        let shown = |e: Estimate| format!("{:.4} ± {:.4} bits/dim", e.mean, e.standard_error);
        let (first, last) = (plan.rows[0].level, plan.rows[plan.rows.len() - 1].level);
        let evaluations = job.evaluations().min(plan.rows.len() - 1);
        let protocol = json!({
            "program": concat!("undiffuse ", env!("CARGO_PKG_VERSION")),
            "model": args.model.display().to_string(),
            "trained": model.card.provenance,
            "data": name,
            "data_fingerprint": data.fingerprint(),
            "pictures": pictures.len(),
            "seed": args.seed,
            "dims": pictures.dims(),
            "schedule": model.recipe.schedule,
            "parameterization": model.recipe.parameterization,
            "steps": plan.rows.len(),
            "evaluations_per_picture": evaluations + 1,
            "variance": format!("{:?}", args.variance).to_lowercase(),
            "dequantization": format!("{:?}", args.dequantize).to_lowercase(),
            "trace": format!("{:?}", args.trace).to_lowercase(),
            "probes": args.probes,
            "tolerance": args.tolerance,
            "cleanest_sigma": last.sigma_edm(),
            "noisiest_sigma": first.sigma_edm(),
        });
        let mut json = json!({ "protocol": protocol });
        let told = |labels: &Vec<u32>| labels.iter().filter(|l| Some(**l) != model.card.null_class).count();
        let labels = match pictures.cond.labels.as_ref().map(told) {
            None => "none".to_owned(),
            Some(n) if n == pictures.len() => "told".to_owned(),
            Some(n) => format!("told for {n}"),
        };
        let mut lines = vec![(
            "protocol",
            format!(
                "{} pictures of {} (seed {}), {} numbers each, labels {}\nlevels sigma/alpha {:.4} to {:.4}",
                pictures.len(),
                name,
                args.seed,
                pictures.dims(),
                labels,
                last.sigma_edm(),
                first.sigma_edm(),
            ),
        )];
        let mut totals = None;
        if let Some(bound) = bound.filter(|_| args.only != Some(Which::Ode)) {
            let [total, prior, steps, reconstruction] =
                [&bound.total(), &bound.prior, &bound.steps, &bound.reconstruction].map(|nats| job.bits(nats));
            let curve = curve(job, bound);
            json["bound"] = json!({
                "bits_per_dim": total,
                "prior": prior,
                "steps": steps,
                "reconstruction": reconstruction,
                "per_picture": bound.total().iter().map(|n| bits_per_dim(*n, pictures.dims())).collect::<Vec<_>>(),
                "curve": curve,
            });
            let all = plan.rows.len() - 1;
            let parts = format!(
                "prior {:.4}, {all} steps {:.4}, reconstruction {:.4}",
                prior.mean, steps.mean, reconstruction.mean
            );
            let drawn = if evaluations == all { "all".into() } else { format!("{evaluations} of the") };
            let variance = format!("{:?}", args.variance).to_lowercase();
            let how = format!("{variance} variance, {drawn} steps evaluated for each picture");
            lines.push(("bound", format!("{}\n{parts}\n{how}", shown(total))));
            totals = Some(bound.total());
        }
        if let Some(flow) = flow {
            let rounding = match (args.dequantize, bound) {
                (Dequantization::Gaussian, Some(bound)) => bound.reconstruction.clone(),
                _ => vec![0.0; flow.nll.len()],
            };
            let nats: Vec<f64> = flow.nll.iter().zip(&rounding).map(|(a, b)| a + b).collect();
            let total = job.bits(&nats);
            let evaluations = flow.evaluations.iter().sum::<usize>() as f64 / flow.evaluations.len() as f64;
            json["ode"] = json!({
                "bits_per_dim": total,
                "per_picture": nats.iter().map(|n| bits_per_dim(*n, pictures.dims())).collect::<Vec<_>>(),
                "mean_evaluations": evaluations,
                "latent_mean_square": flow.latents.iter().flatten().map(|z| z * z).sum::<f64>() / (flow.latents.len() * pictures.dims()) as f64,
            });
            let (trace, probes) = (format!("{:?}", args.trace).to_lowercase(), args.probes);
            let trace = if args.trace == TraceKind::Exact { trace } else { format!("{trace}, probes {probes}") };
            let how = format!("tolerance {:e}, trace {trace}; {evaluations:.0} evaluations a picture", args.tolerance);
            let what = match args.dequantize {
                Dequantization::Gaussian => "pixels rounded from the cleanest level, as in the bound",
                Dequantization::Uniform => {
                    "uniform dequantisation: an upper bound; pixels that never change are counted too dear"
                }
            };
            lines.push(("ode", format!("{}\n{how}\n{what}", shown(total))));
            if let (Some(totals), Dequantization::Gaussian) = (totals, args.dequantize) {
                let gaps: Vec<f64> = totals.iter().zip(&nats).map(|(a, b)| a - b).collect();
                let gap = job.bits(&gaps);
                json["bound_minus_ode"] = json!(gap);
                lines.push(("bound − ode", shown(gap)));
            }
        }
        Self { lines, json }
    }
}

/// The course of the bound as JSON: rate and distortion of a code that stops at each row [Ho20, section 4.3].
fn curve(job: &Job<'_>, bound: &Bound) -> Value {
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
fn rate_distortion(job: &Job<'_>, bound: &Bound) -> Vec<(f64, f64)> {
    let prior = job.bits(&bound.prior).mean;
    let errors = filled(bound);
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
fn smooth(bound: &Bound, of: impl Fn(usize, &bound::Step) -> f64) -> Vec<(f64, f64)> {
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
pub fn curves(job: &Job<'_>, bound: &Bound) -> Image {
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
    let title = format!("{}: {} pictures", model_name(&job.args.model), job.pictures.len());
    figure(&title, 2, (520, 380), &panels)
}
