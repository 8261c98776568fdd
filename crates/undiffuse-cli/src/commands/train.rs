//! `undiffuse train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::train::{Config, Event, Extension, Trainer, presets};

use crate::common::{self, INTERRUPTED, Machine};
use crate::ui::{self, Setting, bars, summary::Summary, text};

/// Train a model on a folder of images.
#[derive(clap::Args)]
pub struct Args {
    /// Images: a folder, a .zip or .tar(.gz) of one, or idx files. The bundled Fashion-MNIST when not given
    #[arg(long)]
    data: Option<PathBuf>,
    /// Recipe to start from
    #[arg(long, default_value = presets::DEFAULT, value_parser = preset_names())]
    preset: String,
    /// A TOML file over the preset
    #[arg(long)]
    config: Option<PathBuf>,
    /// Run folder; runs/<data name> when not given
    #[arg(long)]
    run: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["data", "preset", "config", "run", "size", "channels", "seed", "settings"])]
    resume: Option<PathBuf>,
    /// Side of the pictures in pixels
    #[arg(long)]
    size: Option<usize>,
    /// 1 for grey, 3 for colour; by the pictures when not given
    #[arg(long)]
    channels: Option<usize>,
    /// Mirror half of the pictures (not for text, digits, or classes that differ by direction)
    #[arg(long)]
    flip: bool,
    /// Refuse data with pictures that cannot be decoded, instead of skipping them
    #[arg(long)]
    strict: bool,
    /// Wall-clock budget, such as 10m or 1h30m: the best model in the time there is
    #[arg(long, group = "length")]
    budget: Option<String>,
    /// Length in pictures seen
    #[arg(long, group = "length")]
    images: Option<u64>,
    /// Length in passes over the data
    #[arg(long, group = "length")]
    epochs: Option<f64>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Any setting of the configuration, such as train.lr=3e-4; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Progress as plain lines, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Stop and save when standard input ends: for programs that start trainings and should not be outlived by them
    #[arg(long, hide = true)]
    tied: bool,
    #[command(flatten)]
    machine: Machine,
}

fn preset_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(presets::ALL.iter().map(|(name, _)| *name))
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    if args.tied {
        common::stop_with_stdin();
    }
    let mut progress = bars::loading();
    let mut trainer = match &args.resume {
        Some(run) => {
            let extension =
                Extension { budget: args.budget.clone(), images: args.images, epochs: args.epochs };
            Trainer::resume(run, &extension, &device, &mut progress)?
        }
        None => {
            let config = config(&args)?;
            let run = args.run.clone().unwrap_or_else(|| Path::new("runs").join(name(Path::new(&config.data.path))));
            Trainer::create(config, &run, &device, &mut progress)?
        }
    };
    let mut watch = ui::watch(args.plain, setting(trainer.config(), &args));
    let mut summary = Summary::default();
    while let Some(event) = trainer.next() {
        let event = event?;
        watch.show(&event);
        summary.see(&event);
        if common::interrupted() && matches!(event, Event::Step(_)) {
            watch.show(&trainer.save()?);
            drop(watch);
            crate::output::remark(&format!("interrupted; continue with: undiffuse train --resume {}", text::shell(trainer.run())));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    drop(watch);
    summary.print();
    Ok(ExitCode::SUCCESS)
}

/// What the dashboard is told beside the events.
fn setting(config: &Config, args: &Args) -> Setting {
    let budget = if args.resume.is_some() { args.budget.clone().unwrap_or_default() } else { config.train.budget.clone() };
    let (preset, data) = (config.preset.clone(), config.data.path.clone());
    Setting { preset, data, device: args.machine.device.clone(), budget }
}

/// The name of a run on this data: the last part of its path without its ending.
fn name(data: &Path) -> String {
    let name = data.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "run".into());
    let endings = [".gz", ".tgz", ".tar", ".zip"];
    endings.iter().fold(name, |name, ending| name.strip_suffix(ending).map(str::to_owned).unwrap_or(name))
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let text = |value: &str| undiffuse_toml_string(value);
    let mut settings = Vec::new();
    let mut set = |key: &str, value: Option<String>| settings.extend(value.map(|v| format!("{key}={v}")));
    let data = match (&args.data, &args.config) {
        (Some(data), _) => Some(data.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(bundled()),
    };
    set("data.path", data.map(|d| text(&d.to_string_lossy())));
    set("data.size", args.size.map(|n| n.to_string()));
    set("data.channels", args.channels.map(|n| n.to_string()));
    set("data.flip", args.flip.then(|| "true".into()));
    set("data.strict", args.strict.then(|| "true".into()));
    set("train.budget", args.budget.as_deref().map(text));
    set("train.images", args.images.map(|n| n.to_string()));
    set("train.epochs", args.epochs.map(|n| format!("{n:?}")));
    set("train.seed", args.seed.map(|n| n.to_string()));
    settings.extend(args.settings.iter().cloned());
    Ok(Config::layered(&args.preset, args.config.as_deref(), &settings)?)
}

/// A TOML string literal.
fn undiffuse_toml_string(value: &str) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The images that come with the program: beside the working directory, or in the source tree that it was built from.
fn bundled() -> PathBuf {
    let here = Path::new("data/fashion-mnist");
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist"));
    if here.exists() { here.to_owned() } else { source.to_owned() }
}
