//! `cargo xtask bench`: our figures, and beside them those of PyTorch and diffusers.
//!
//! [`rows`] says what is measured and which ratio is wanted, [`contenders`] how each program is started, [`measure`] runs
//! one, [`figures`] sums up, [`report`] writes the table.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

mod build;
mod contenders;
mod figures;
mod machine;
mod measure;
mod peer;
mod report;
mod rows;

use contenders::{Entry, Tools};
use figures::{Measured, Series};
use rows::{PIPELINES, ROWS, Row};

/// Time whole networks and `undiffuse sample`; with --peer in turn with PyTorch and diffusers.
#[derive(clap::Args)]
pub struct Args {
    /// Which rows there are
    #[arg(value_enum, default_value_t)]
    set: Set,
    /// Measure PyTorch and diffusers beside us and write a file in bench
    #[arg(long)]
    peer: bool,
    /// Only the rows whose name contains this, such as reference, step or grey28
    #[arg(long, value_name = "SUBSTRING", default_value = "", hide_default_value = true)]
    rows: String,
    /// How long one process measures after its warm-up; at least five runs
    #[arg(long, value_name = "S", default_value_t = 8.0)]
    seconds: f64,
    /// How often every program of a row has its turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Try torch.compile as well: minutes for every row; alone for all of them, or for those whose name contains a word
    #[arg(long, value_name = "SUBSTRING", num_args = 0..=1, default_missing_value = "")]
    compile: Option<String>,
    /// One round of batches of at most 2, to see that everything works: the figures mean nothing
    #[arg(long)]
    smoke: bool,
    /// Where the table goes; bench/RESULTS.md or PIPELINES.md, in target/bench for --rows and --smoke
    #[arg(long, value_name = "FILE.md")]
    out: Option<PathBuf>,
    /// The model folder of the `undiffuse sample` row; one of the quick preset is trained for seconds when not given
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A built `network` bench to run instead of building it
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// A built `undiffuse` to run instead of building it
    #[arg(long, value_name = "FILE")]
    undiffuse: Option<PathBuf>,
}

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Set {
    /// Networks that are trained here, at 28×28 to 64×64
    #[default]
    Networks,
    /// Stable Diffusion at 512×512, with random weights
    Pipelines,
}

impl Set {
    fn rows(self) -> &'static [Row] {
        match self {
            Self::Networks => ROWS,
            Self::Pipelines => PIPELINES,
        }
    }

    /// The file of the table.
    fn file(self) -> &'static str {
        match self {
            Self::Networks => "RESULTS.md",
            Self::Pipelines => "PIPELINES.md",
        }
    }
}

/// The root of the repository.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Runs the chore.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.rounds == 0 || !args.seconds.is_finite() || args.seconds < 0.0 {
        bail!("--rounds must be at least 1 and --seconds not negative");
    }
    let chosen: Vec<&Row> = args.set.rows().iter().filter(|row| row.name.contains(&args.rows)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = args.set.rows().iter().map(|row| row.name).collect();
        bail!("--rows {}: no row contains that; the rows are\n  {}", args.rows, names.join("\n  "));
    }
    let load = machine::load();
    if load.is_some_and(|load| load > 0.3) {
        eprintln!(
            "warning: something else is running here (load {:.2}); wait for it: the figures will be noisy, PyTorch's most of all",
            load.unwrap_or(0.0)
        );
    }
    let tools = tools(args, &chosen)?;
    let setting = report::Setting {
        machine: machine::describe(load),
        ours: build::versions(),
        peer: tools.peer.as_ref().map(peer::Peer::describe),
        rounds: if args.smoke { 1 } else { args.rounds },
        seconds: if args.smoke { 0.0 } else { args.seconds },
        smoke: args.smoke,
    };
    let out = tools.peer.as_ref().map(|_| destination(args));
    if let Some(folder) = out.as_ref().and_then(|out| out.parent()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut measured = Vec::new();
    for (k, row) in chosen.iter().enumerate() {
        let entries = tools.entries(row, setting.seconds, args.smoke, wants_compile(args, row));
        measured.push(row_of(row, &entries, setting.rounds, &format!("{}/{}", k + 1, chosen.len())));
        // After every row, so that an interrupted run leaves what it had.
        if let Some(out) = &out {
            fs::write(out, report::markdown(&setting, &measured))
                .with_context(|| format!("cannot write {}", out.display()))?;
        }
    }
    if args.smoke {
        println!("{}\n", report::SMOKE);
    }
    println!("{}", report::table(&measured));
    if let Some(out) = &out {
        println!("\nwritten: {}", out.display());
    }
    let failed: Vec<&str> = measured.iter().filter(|m| !m.failures.is_empty()).map(|m| m.row.name).collect();
    if !failed.is_empty() {
        bail!("something failed in: {}", failed.join(", "));
    }
    Ok(())
}

fn wants_compile(args: &Args, row: &Row) -> bool {
    args.compile.as_ref().is_some_and(|word| row.name.contains(word))
}

fn destination(args: &Args) -> PathBuf {
    match &args.out {
        Some(out) => out.clone(),
        None if args.smoke || !args.rows.is_empty() => scratch().join(args.set.file()),
        None => root().join("bench").join(args.set.file()),
    }
}

/// A folder for what a run leaves behind, outside version control.
fn scratch() -> PathBuf {
    root().join("target/bench")
}

/// Everything that must be there before the first measurement: programs built, Python ready, a model trained.
fn tools(args: &Args, rows: &[&Row]) -> anyhow::Result<Tools> {
    let scratch = scratch();
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let any = |is: fn(&rows::Work) -> bool| rows.iter().any(|row| is(&row.work));
    let samples = any(|work| matches!(work, rows::Work::Sample));
    let networks = any(|work| matches!(work, rows::Work::Network(_) | rows::Work::Threads(_)));
    let network = match &args.network {
        Some(network) => Some(network.clone()),
        None => networks.then(build::network).transpose()?,
    };
    let undiffuse = match &args.undiffuse {
        Some(undiffuse) => Some(undiffuse.clone()),
        None => {
            any(|work| matches!(work, rows::Work::Sample | rows::Work::Words)).then(build::undiffuse).transpose()?
        }
    };
    let model = match (&args.model, &undiffuse) {
        (Some(model), _) => Some(model.clone()),
        (None, Some(undiffuse)) if samples => Some(contenders::train_quick(undiffuse, &scratch.join("quick"))?),
        _ => None,
    };
    let peer = args.peer.then(peer::open).transpose()?;
    if args.set == Set::Pipelines {
        contenders::make_pipeline(peer.as_ref(), &scratch.join(rows::PIPELINE))?;
    }
    Ok(Tools { network, undiffuse, model, peer, scratch })
}

/// Every program of one row in turn, round after round. What fails is noted and not asked again.
fn row_of(row: &'static Row, entries: &[Entry], rounds: usize, place: &str) -> Measured {
    let mut series: Vec<Series> = entries.iter().map(Series::of).collect();
    let mut failures = Vec::new();
    for round in 0..=rounds {
        for (entry, series) in entries.iter().zip(&mut series) {
            // Round 0 only brings programs and libraries into the file cache, where start-up is part of the figure.
            if series.failed || (round == 0 && !entry.contender.warms_file_cache()) {
                continue;
            }
            let said = match measure::run(&entry.contender) {
                Ok(run) => {
                    let mut said = format!("{:.1} ms, {:.0} MB", run.ms, run.peak_mb);
                    if run.neighbours > report::DISTURBED {
                        said += &format!(" (other programs had {:.0} % of the machine)", 100.0 * run.neighbours);
                    }
                    if round > 0 {
                        series.runs.push(run);
                    }
                    said
                }
                Err(e) => {
                    series.failed = true;
                    failures.push(format!("{}: {e:#}", series.name));
                    format!("failed: {e:#}")
                }
            };
            eprintln!("[{place}] {} · round {round}/{rounds} · {}: {said}", row.name, series.name);
        }
    }
    Measured { row, series, failures }
}
