//! A training run.

use serde::Serialize;
use serde_json::json;
use undiffuse::model::ModelFolder;
use undiffuse::run::{LogLine, RunFolder};
use undiffuse::train::Config;
use undiffuse::train::checkpoint::Counters;
use undiffuse::train::length::Length;

use super::Findings;
use crate::output::facts;
use crate::ui::text::{duration, shell};

/// Steps that the recent loss is a mean of.
const RECENT: usize = 100;
/// Validations that are shown.
const VALIDATIONS: usize = 5;

pub fn inspect(run: &RunFolder) -> anyhow::Result<Findings> {
    let (config, length) = (run.config()?, run.length()?);
    let (counters, broken) = run.newest(|_, counters, _| Ok(counters));
    let broken: Vec<String> = broken.iter().map(|e| format!("this checkpoint will be skipped: {e}")).collect();
    let log = Log::read(run);
    let state = State::of(run, &config, &length, counters.as_ref());
    let counters = counters.unwrap_or_default();
    let until = length.until();
    let progress = match until {
        Some(until) => format!("{} of {until} images, {} steps", counters.nimg, counters.step),
        None => format!("{} images, {} steps; the end is not planned yet", counters.nimg, counters.step),
    };
    let mut found = vec![
        ("run", run.path().display().to_string()),
        ("data", config.data.path.clone()),
        (
            "recipe",
            format!(
                "preset {}, {}×{} pixels, seed {}",
                config.preset, config.data.size, config.data.size, config.train.seed
            ),
        ),
        ("saved at", progress),
        ("state", state.words(run)),
    ];
    let budget = Budget::of(run, &length);
    found.extend(budget.as_ref().map(|budget| ("budget", budget.words())));
    found.extend(log.loss().map(|(loss, n)| ("loss", format!("{loss:.4} (mean of the last {n} steps)"))));
    let shown = log.validations.iter().rev().take(VALIDATIONS).rev();
    let shown: Vec<String> = shown.map(|(nimg, loss)| format!("{loss:.4} at {nimg} images")).collect();
    found.extend((!shown.is_empty()).then(|| ("held out", shown.join("\n"))));
    found.extend(log.speed.map(|speed| ("speed", format!("{speed:.0} images/s"))));
    let model = run.model();
    let found_there = ModelFolder::find(&model).or_else(|_| ModelFolder::find_clip(&model)).is_ok();
    let model = found_there.then(|| model.display().to_string());
    found.push(("model", model.clone().unwrap_or_else(|| "none yet".into())));
    found.extend(broken.iter().map(|problem| ("warning", problem.clone())));
    let json = json!({
        "kind": "run",
        "path": run.path().display().to_string(),
        "config": config.to_table(),
        "step": counters.step,
        "nimg": counters.nimg,
        "until": until,
        "budget": budget,
        "state": state.tag(),
        "resumable": state.resumable(),
        "loss": log.loss().map(|(loss, _)| loss),
        "validation": log.validations.iter().map(|(nimg, loss)| json!({ "nimg": nimg, "loss": loss })).collect::<Vec<_>>(),
        "images_per_second": log.speed,
        "model": model,
        "broken_checkpoints": broken,
    });
    Ok(Findings { text: facts(&found), json })
}

/// The time of a run's last stretch, where time decides how long it is.
#[derive(Serialize)]
struct Budget {
    seconds: f64,
    used: f64,
    decisions: usize,
}

impl Budget {
    fn of(run: &RunFolder, length: &Length) -> Option<Self> {
        let (seconds, used) = run.budget(length)?;
        Some(Self { seconds, used, decisions: length.segments.last()?.decisions.len() })
    }

    fn words(&self) -> String {
        let (used, seconds) = (duration(self.used), duration(self.seconds));
        match self.decisions {
            0 => format!("{used} of {seconds} used; the end in pictures is not known yet"),
            n => format!("{used} of {seconds} used; the end in pictures follows the clock, and was decided {n} times"),
        }
    }
}

/// What can be done with a run now.
enum State {
    /// Another program has it.
    Training,
    /// The data cannot be found where it was.
    DataGone(String),
    /// The planned length is reached.
    Finished,
    /// What it would go on from is not there.
    Lost(&'static str),
    /// It can go on; from the start where nothing was saved.
    Interrupted { saved: bool },
}

impl State {
    fn of(run: &RunFolder, config: &Config, length: &Length, counters: Option<&Counters>) -> Self {
        if run.is_training() {
            return State::Training;
        }
        let data = run.data_path(config);
        match (counters, length.until()) {
            (None, _) => State::Lost("no checkpoint can be read"),
            (Some(Counters { until: Some(_), .. }), _) if length.segments.is_empty() => {
                State::Lost("its length.json is not there")
            }
            (Some(counters), Some(until)) if counters.nimg >= until => State::Finished,
            _ if !data.exists() => State::DataGone(data.display().to_string()),
            (Some(counters), _) => State::Interrupted { saved: counters.nimg > 0 },
        }
    }

    fn tag(&self) -> &'static str {
        match self {
            State::Training => "training",
            State::DataGone(_) => "data-gone",
            State::Finished => "finished",
            State::Lost(_) => "lost",
            State::Interrupted { .. } => "interrupted",
        }
    }

    fn resumable(&self) -> bool {
        matches!(self, State::Finished | State::Interrupted { .. })
    }

    fn words(&self, run: &RunFolder) -> String {
        let run = shell(run.path());
        match self {
            State::Training => "a program is training in it now".into(),
            State::DataGone(data) => {
                format!(
                    "its data `{data}` is not there; say where it is now with: undiffuse train --resume {run} --data PLACE"
                )
            }
            State::Finished => format!("finished; make it longer with: undiffuse train --resume {run} --budget 10m"),
            State::Lost(what) => format!("{what}; start over with: undiffuse train --resume {run} --restart"),
            State::Interrupted { saved: true } => format!("interrupted; continue with: undiffuse train --resume {run}"),
            State::Interrupted { saved: false } => {
                format!("nothing saved yet; begin again with: undiffuse train --resume {run}")
            }
        }
    }
}

/// `metrics.jsonl`, as far as it is of interest.
#[derive(Default)]
struct Log {
    losses: Vec<f64>,
    validations: Vec<(u64, f64)>,
    speed: Option<f64>,
}

impl Log {
    fn read(run: &RunFolder) -> Self {
        let mut log = Log::default();
        for line in run.log() {
            match line {
                LogLine::Validation { nimg, loss } if loss.is_finite() => log.validations.push((nimg, loss)),
                LogLine::Step(step) if step.loss.is_finite() => {
                    log.losses.push(step.loss);
                    log.speed = Some(step.images_per_second).filter(|speed| speed.is_finite());
                }
                _ => {}
            }
        }
        log
    }

    /// Mean over the last steps, and how many they are.
    fn loss(&self) -> Option<(f64, usize)> {
        let recent = &self.losses[self.losses.len().saturating_sub(RECENT)..];
        (!recent.is_empty()).then(|| (recent.iter().sum::<f64>() / recent.len() as f64, recent.len()))
    }
}
