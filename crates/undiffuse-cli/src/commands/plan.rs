//! `undiffuse plan`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use undiffuse::data::figure::{COLORS, Layer, Panel, figure};
use undiffuse::data::{Image, encode_png, sheet_mark};
use undiffuse::math::prelude::{
    Grid, Last, ParameterizationKind, Plan, Row, ScheduleKind, SolverKind, SpacingKind, TimingKind, WeightingKind,
};
use undiffuse::math::solver::PlanError;

use crate::common::usage;
use crate::output::{number, show, show_json, table, write};

/// Print a sampler as what it is: a table of numbers.
#[derive(clap::Args)]
pub struct Args {
    /// How time becomes noise
    #[arg(long, default_value = "linear")]
    schedule: ScheduleKind,
    /// Which times are visited
    #[arg(long, default_value = "trailing")]
    spacing: SpacingKind,
    /// How steps are taken
    #[arg(long, default_value = "ddim")]
    solver: SolverKind,
    /// Number of steps; 10 when not given, or as many as the spacing names
    #[arg(long)]
    steps: Option<usize>,
    /// List every schedule, spacing, solver, parameterization, weighting and timing, with their options
    #[arg(long, conflicts_with_all = ["schedule", "spacing", "solver", "steps"])]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also draw it: the levels it visits and the coefficients of its rows
    #[arg(long, value_name = "FILE.png", conflicts_with = "list")]
    draw: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match (args.list, args.json) {
        (true, true) => show_json(&registries().into_iter().map(|(kind, parts)| (kind, listed(&parts))).collect())?,
        (true, false) => show(&list())?,
        (false, json) => {
            let grid = Grid::new(&*args.schedule, &*args.spacing, args.steps(), Last::Clean);
            let plan = grid.map_err(PlanError::from).and_then(|grid| grid.plan(&*args.solver));
            let plan = plan.map_err(|e| usage(e.to_string()))?;
            if let Some(path) = &args.draw {
                write(path, &encode_png(&drawn(&args, &plan), &[sheet_mark("plan")])?)?;
            }
            if json { show_json(&to_json(&args, &plan))? } else { show(&to_text(&args, &plan))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn steps(&self) -> usize {
        self.steps.or(self.spacing.named()).unwrap_or(10)
    }
}

/// The time that the network is told for a row, in the schedule's unit.
fn time(schedule: &ScheduleKind, row: &Row) -> f64 {
    row.time.unwrap_or_else(|| schedule.time(row.level.log_snr()))
}

fn to_text(args: &Args, plan: &Plan) -> String {
    let header =
        ["step", "time", "alpha", "sigma", "log-SNR", "to alpha", "to sigma", "x(t) by lag", "D by lag", "noise"];
    let list = |values: &[f64]| values.iter().map(|&v| number(v)).collect::<Vec<_>>().join(", ");
    let rows: Vec<Vec<String>> = plan
        .rows
        .iter()
        .enumerate()
        .map(|(k, row)| {
            let levels = [
                time(&args.schedule, row),
                row.level.alpha,
                row.level.sigma,
                row.level.log_snr(),
                row.next.alpha,
                row.next.sigma,
            ];
            let mut cells = vec![(k + 1).to_string()];
            cells.extend(levels.map(number));
            cells.extend([list(&row.x), list(&row.denoised), number(row.noise)]);
            cells
        })
        .collect();
    let (schedule, spacing, solver) = (&args.schedule, &args.spacing, &args.solver);
    format!(
        "schedule {schedule}, spacing {spacing}, solver {solver}, {} steps\n\
         nfe {} (evaluations of the network); starts from {}\n\
         each row: x ← Σ x(t) by lag · x + Σ D by lag · D(x, level) + noise · ε\n\n{}",
        args.steps(),
        plan.nfe(),
        if solver.rises() {
            "a picture".into()
        } else {
            format!("noise of standard deviation {}", number(plan.init_noise_sigma))
        },
        table(&header, &rows),
    )
}

/// Levels and coefficients by evaluation.
fn drawn(args: &Args, plan: &Plan) -> Image {
    let by_row = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        plan.rows.iter().enumerate().filter_map(|(k, row)| Some((k as f64 + 1.0, of(row)?))).collect()
    };
    // A line and its points, in one colour.
    let marked = |name: String, color: [u8; 3], points: Vec<(f64, f64)>| {
        let (dots, color) = (points.clone(), Some(color));
        [Layer::Line { name, points, color }, Layer::Points { name: String::new(), points: dots, color, radius: 3 }]
    };
    let lags = |of: fn(&Row) -> &[f64]| -> Vec<Layer> {
        let deepest = plan.rows.iter().map(|row| of(row).len()).max().unwrap_or(0);
        let line = |lag: usize| {
            marked(format!("lag {lag}"), COLORS[lag % COLORS.len()], by_row(&|row| of(row).get(lag).copied()))
        };
        (0..deepest).flat_map(line).collect()
    };
    let one = |of: &dyn Fn(&Row) -> f64| Vec::from(marked(String::new(), COLORS[0], by_row(&|row| Some(of(row)))));
    let panels = [
        Panel { log_y: true, ..Panel::new("where D is asked", one(&|row| row.level.sigma_edm())) }
            .labels("evaluation", "sigma / alpha"),
        Panel::new("fresh noise", one(&|row| row.noise)).labels("evaluation", "coefficient"),
        Panel::new("past x", lags(|row| &row.x)).labels("evaluation", "coefficient"),
        Panel::new("past D", lags(|row| &row.denoised)).labels("evaluation", "coefficient"),
    ];
    let title = format!("{}, {} on {}: {} evaluations", args.solver, args.spacing, args.schedule, plan.nfe());
    figure(&title, 2, (480, 340), &panels)
}

fn to_json(args: &Args, plan: &Plan) -> Value {
    let row = |row: &Row| {
        json!({
            "time": time(&args.schedule, row),
            "level": row.level,
            "log_snr": row.level.log_snr(),
            "to": row.next,
            "x": row.x,
            "denoised": row.denoised,
            "noise": row.noise,
        })
    };
    json!({
        "schedule": args.schedule,
        "spacing": args.spacing,
        "solver": args.solver,
        "steps": args.steps(),
        "nfe": plan.nfe(),
        "start": plan.init_noise_sigma,
        "rows": plan.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

/// A line of a registry: tag, documentation, options at their defaults.
type Part = (&'static str, &'static str, Map<String, Value>);

/// Every registry by the name of its kind.
fn registries() -> Vec<(String, Vec<Part>)> {
    macro_rules! parts {
        ($($name:literal $kind:ident),+) => {
            vec![$(($name.to_owned(), $kind::ALL.iter().map(|e| (e.tag, e.doc, (e.default)().options())).collect())),+]
        };
    }
    parts!(
        "schedule" ScheduleKind, "spacing" SpacingKind, "solver" SolverKind,
        "parameterization" ParameterizationKind, "weighting" WeightingKind, "timing" TimingKind
    )
}

fn listed(parts: &[Part]) -> Value {
    parts.iter().map(|(tag, doc, options)| json!({ "name": tag, "doc": doc, "options": options })).collect()
}

fn list() -> String {
    let mut text = String::new();
    for (kind, parts) in registries() {
        text += &format!("{kind}\n");
        for (tag, doc, options) in parts {
            text += &format!("  {tag:<16} {doc}\n");
            if !options.is_empty() {
                let options = options.iter().map(|(name, value)| format!("{name}={}", written(value)));
                text += &format!("  {:16} {}\n", "", options.collect::<Vec<_>>().join(", "));
            }
        }
        text.push('\n');
    }
    text + "Options are written after the name: --schedule cosine:steps=500,beta_max=0.99\n"
}

/// An option's default for the list.
fn written(value: &Value) -> String {
    match value {
        Value::Null => "automatic".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{} numbers]", items.len()),
        other => other.to_string(),
    }
}
