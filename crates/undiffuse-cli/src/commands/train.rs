//! `undiffuse train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::condition;
use undiffuse::data::{Dataset, Opening};
use undiffuse::train::{Config, EPOCHS_MAX, Event, IMAGES_MAX, Resume, Trainer, presets};

use crate::common::{self, INTERRUPTED, Machine, usage};
use crate::ui::{self, Setting, bars, summary::Summary, text};

/// Train a model on a folder of images: of words where they have captions, else of their classes.
#[derive(clap::Args)]
pub struct Args {
    /// Images: a folder, a .zip or .tar(.gz) of one, or idx files; their captions in a metadata.jsonl, or in a .txt beside each.
    /// The bundled Fashion-MNIST when not given.
    /// With --resume, where the same images are now
    #[arg(long)]
    data: Option<PathBuf>,
    /// Recipe to start from. When not given: words where at least half of the images have captions, else quick
    #[arg(long, value_parser = preset_names())]
    preset: Option<String>,
    /// A TOML file over the preset
    #[arg(long)]
    config: Option<PathBuf>,
    /// Run folder; runs/<data name> when not given
    #[arg(long)]
    run: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// With --resume: start the run over, whatever it has learned. Its model stays until there is another
    #[arg(long, requires = "resume", conflicts_with = "length")]
    restart: bool,
    /// Train the run in this folder once more, from its start, by its configuration and by what its length.json says was decided
    /// on its length, with the clock off: the same weights to the bit. Into RUN-replay when --run is not given
    #[arg(long, value_name = "RUN", conflicts_with_all = ["resume", "length"])]
    replay: Option<PathBuf>,
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
    #[arg(long, group = "length", value_parser = clap::value_parser!(u64).range(1..=IMAGES_MAX))]
    images: Option<u64>,
    /// Length in passes over the data
    #[arg(long, group = "length", value_parser = epochs)]
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

fn epochs(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(epochs) if epochs > 0.0 && epochs <= EPOCHS_MAX => Ok(epochs),
        _ => Err(format!("a number above 0 and at most {EPOCHS_MAX:e} is needed")),
    }
}

impl Args {
    /// An option that is given and that a run which goes on, or is replayed, cannot follow, and why.
    fn decided(&self) -> Option<(&'static str, &'static str)> {
        const CONFIG: &str = "its settings are those in its config.toml, which may be edited";
        let options = [
            ("--preset", self.preset.is_some(), CONFIG),
            ("--config", self.config.is_some(), CONFIG),
            ("--set", !self.settings.is_empty(), CONFIG),
            ("--run", self.run.is_some() && self.resume.is_some(), "it stays in its folder"),
            ("--size", self.size.is_some(), "its network is made for pictures of one size"),
            ("--channels", self.channels.is_some(), "its network is made for pictures of so many channels"),
            ("--flip", self.flip, "whether pictures are mirrored was decided when it began"),
            ("--strict", self.strict, "which pictures count was decided when it began"),
            ("--seed", self.seed.is_some(), "everything random in it follows from the seed that it began with"),
        ];
        options.into_iter().find(|(_, given, _)| *given).map(|(option, _, why)| (option, why))
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let (Some(run), Some((option, why))) = (&args.resume, args.decided()) {
        let run = run.display();
        return Err(usage(format!("{option} cannot be used with --resume: the run `{run}` is resumed, and {why}")));
    }
    if let (Some(run), Some((option, why))) = (&args.replay, args.decided()) {
        let run = run.display();
        return Err(usage(format!("{option} cannot be used with --replay: it repeats the run `{run}`, and {why}")));
    }
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    if args.tied {
        common::stop_with_stdin();
    }
    let mut progress = bars::loading();
    let mut trainer = match (&args.resume, &args.replay) {
        (Some(run), _) => {
            let Args { images, epochs, restart, .. } = args;
            let (budget, data) = (args.budget.clone(), args.data.clone());
            let how = Resume { budget, images, epochs, data, restart };
            Trainer::resume(run, &how, &device, &mut progress)?
        }
        (None, Some(of)) => {
            let run = args.run.clone().unwrap_or_else(|| of.with_file_name(format!("{}-replay", name(of))));
            Trainer::replay(of, args.data.as_deref(), &run, &device, &mut progress)?
        }
        (None, None) => {
            let config = config(&args, &mut progress)?;
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
            crate::output::remark(&format!(
                "interrupted; continue with: undiffuse train --resume {}",
                text::shell(trainer.run())
            ));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    drop(watch);
    summary.print();
    Ok(ExitCode::SUCCESS)
}

/// What the dashboard is told beside the events.
fn setting(config: &Config, args: &Args) -> Setting {
    let budget =
        if args.resume.is_some() { args.budget.clone().unwrap_or_default() } else { config.train.budget.clone() };
    let (preset, data) = (config.preset.clone(), config.data.path.clone());
    Setting { preset, data, device: args.machine.device.clone(), budget }
}

/// The name of a run on this data: the last part of its path without its ending.
fn name(data: &Path) -> String {
    // Such as `.`.
    let named = if data.file_name().is_none() { data.canonicalize().ok() } else { None };
    let data = named.as_deref().unwrap_or(data);
    let name = data.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "run".into());
    let endings = [".gz", ".tgz", ".tar", ".zip"];
    endings.iter().fold(name, |name, ending| name.strip_suffix(ending).map(str::to_owned).unwrap_or(name))
}

fn config(args: &Args, progress: &mut dyn FnMut(Opening)) -> anyhow::Result<Config> {
    let text = |value: &str| undiffuse_toml_string(value);
    let mut settings = Vec::new();
    let mut set = |key: &str, value: Option<String>| settings.extend(value.map(|v| format!("{key}={v}")));
    let data = match (&args.data, &args.config) {
        (Some(data), _) => Some(data.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(bundled()),
    };
    let data = data.map(|path| match path.to_str() {
        Some(path) => Ok(text(path)),
        None => Err(usage(format!("the name `{}` is not Unicode: rename it, or give a link to it", path.display()))),
    });
    set("data.path", data.transpose()?);
    set("data.size", args.size.map(|n| n.to_string()));
    set("data.channels", args.channels.map(|n| n.to_string()));
    set("data.flip", args.flip.then(|| "true".into()));
    set("data.strict", args.strict.then(|| "true".into()));
    set("train.budget", args.budget.as_deref().map(text));
    set("train.images", args.images.map(|n| n.to_string()));
    set("train.epochs", args.epochs.map(|n| format!("{n:?}")));
    set("train.seed", args.seed.map(|n| n.to_string()));
    settings.extend(args.settings.iter().cloned());
    let layered = |preset: &str| Config::layered(preset, args.config.as_deref(), &settings);
    let config = layered(args.preset.as_deref().unwrap_or(presets::DEFAULT))?;
    if args.preset.is_some() || args.config.is_some() || config.condition.kind != condition::AUTO {
        return Ok(config);
    }
    let data = Dataset::open_with(Path::new(&config.data.path), &config.data.options(), progress)?;
    Ok(layered(presets::for_data(&data))?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches};

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("train"));
        Args::from_arg_matches(&command.try_get_matches_from([&["train"], words].concat())?)
    }

    /// Whoever adds an option has to say here whether a run that goes on follows it.
    #[test]
    fn every_option_is_followed_or_refused_when_a_run_goes_on() {
        const FOLLOWED: [&str; 10] =
            ["data", "resume", "restart", "budget", "images", "epochs", "plain", "tied", "device", "threads"];
        let command = Args::augment_args(clap::Command::new("train"));
        let mut refused = 0;
        // A run is replayed into another folder: what is refused then is the same, but for that.
        let unfit = ["help", "replay"];
        for option in command.get_arguments().filter_map(clap::Arg::get_long).filter(|name| !unfit.contains(name)) {
            let flag = format!("--{option}");
            let values = ["", "quick", "a=1", "1"].map(|value| [flag.as_str(), value]);
            let mut tries = values.iter().map(|words| if words[1].is_empty() { &words[..1] } else { &words[..] });
            let resume: &[&str] = if option == "resume" { &[] } else { &["--resume", "run"] };
            let args = tries.find_map(|words| parse(&[resume, words].concat()).ok()).expect(option);
            match FOLLOWED.contains(&option) {
                true => assert_eq!(args.decided(), None),
                false => {
                    assert_eq!(args.decided().map(|(option, _)| option), Some(flag.as_str()));
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 9);
    }

    #[test]
    fn lengths_are_numbers_that_mean_something() {
        let said = |words: &[&str]| parse(words).err().map(|e| e.to_string()).unwrap_or_default();
        for (words, part) in [
            (["--images", "0"], "not in 1..=1000000000000"),
            (["--images", "18446744073709551615"], "not in 1..="),
            (["--epochs", "0"], "above 0"),
            (["--epochs", "1e30"], "at most"),
            (["--epochs", "nan"], "above 0"),
            (["--epochs=-1", "--plain"], "above 0"),
        ] {
            assert!(said(&words).contains(part), "{words:?}: {}", said(&words));
        }
        assert_eq!((said(&["--images", "1"]), said(&["--epochs", "0.5"])), (String::new(), String::new()));
    }
}
