//! `undiffuse reproduce`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use undiffuse_papers::{
    EXPERIMENTS, Error, Experiment, ExperimentEvent, ExperimentOptions, ExperimentReport, Row, find,
};

use crate::common::{Machine, usage};
use crate::output::{show, show_json, table};

/// Repeat a paper's experiment from scratch: its table beside ours, its figure drawn. Without a name, list them.
#[derive(clap::Args)]
pub struct Args {
    /// Which experiment
    name: Option<String>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the figures; reproduce/<name> when not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// A run of seconds that shows that everything works; its numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Time between two lines of news.
const EVERY: Duration = Duration::from_secs(3);

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(name) = &args.name else {
        let line = |e: &Experiment| json!({ "name": e.name, "paper": e.paper, "doc": e.doc });
        match args.json {
            true => show_json(&EXPERIMENTS.iter().map(line).collect())?,
            false => show(&list())?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let experiment = find(name).map_err(|e| usage(e.to_string()))?;
    let device = args.machine.open()?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("reproduce").join(experiment.name));
    let options = ExperimentOptions { out, seed: args.seed, device, quick: args.quick };
    let began = Instant::now();
    let mut told: Option<Instant> = None;
    let report = experiment.run(&options, &mut |ExperimentEvent { progress, text }| {
        if told.is_none_or(|t| t.elapsed() >= EVERY) {
            told = Some(Instant::now());
            crate::output::remark(&format!("{:>3.0} %  {text}", 100.0 * progress));
        }
    });
    let report = report.map_err(|e: Error| anyhow::anyhow!("{name}: {e}"))?;
    let seconds = began.elapsed().as_secs_f64();
    match args.json {
        true => show_json(&to_json(experiment, &args, &report, seconds))?,
        false => show(&to_text(experiment, &args, &report, seconds))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let width = EXPERIMENTS.iter().map(|e| e.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for e in EXPERIMENTS {
        text += &format!("{:<width$}  {}\n{:width$}  {}\n", e.name, e.doc, "", e.paper);
    }
    text + "\nundiffuse reproduce NAME trains it from scratch.\n"
}

fn to_text(experiment: &Experiment, args: &Args, report: &ExperimentReport, seconds: f64) -> String {
    let digits = |v: f64| if v.abs() < 1000.0 { format!("{v:.3}") } else { format!("{v:.0}") };
    let goal = |row: &Row| match row.goal.map(|g| (g.low, g.high)) {
        Some((Some(low), Some(high))) => format!("{} to {}", digits(low), digits(high)),
        Some((Some(low), None)) => format!("≥ {}", digits(low)),
        Some((None, Some(high))) => format!("≤ {}", digits(high)),
        _ => String::new(),
    };
    let width = report.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| {
            let error = row.error.map(|e| format!(" ± {e:.3}")).unwrap_or_default();
            let met = match row.met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            vec![
                format!("{:<width$}", row.what),
                row.paper.map(digits).unwrap_or_default() + if row.derived { " *" } else { "" },
                digits(row.ours) + &error,
                row.unit.into(),
                goal(row),
                met.into(),
            ]
        })
        .collect();
    let mut text = format!("{}: {} ({})\n\n", experiment.name, experiment.doc, experiment.paper);
    if args.quick {
        text += "A quick run: everything was done, nothing was learnt. The numbers mean nothing.\n\n";
    }
    text += &table(&["", "paper", "ours", "", "goal", ""], &rows);
    text.push('\n');
    if report.rows.iter().any(|row| row.derived) {
        text += "* Not printed in the paper: computed from numbers that are.\n";
    }
    report.notes.iter().for_each(|note| text += &format!("{note}\n"));
    report.figures.iter().for_each(|figure| text += &format!("figure {}\n", figure.display()));
    text + &format!("{seconds:.0} s, seed {}\n", args.seed)
}

fn to_json(experiment: &Experiment, args: &Args, report: &ExperimentReport, seconds: f64) -> Value {
    let row = |row: &Row| {
        json!({
            "what": row.what,
            "paper": row.paper,
            "paper_derived": row.derived,
            "ours": row.ours,
            "standard_error": row.error,
            "unit": row.unit,
            "low": row.goal.and_then(|g| g.low),
            "high": row.goal.and_then(|g| g.high),
            "met": row.met(),
        })
    };
    json!({
        "name": experiment.name,
        "paper": experiment.paper,
        "seed": args.seed,
        "quick": args.quick,
        "seconds": seconds,
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "notes": report.notes,
        "figures": report.figures,
    })
}
