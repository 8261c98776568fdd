//! What a run's folder holds, and what can be made of it.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use undiffuse_data::{Dataset, HeldOut, Options, Progress};

use super::checkpoint::{self, Counters};
use super::config::Config;
use super::length::Length;
use super::metrics::LOG_FILE;
use super::state::State;
use super::{CONFIG_FILE, ConfigError, TrainError};
use crate::files;

pub(super) const LENGTH_FILE: &str = "length.json";
pub(super) const DATA_FILE: &str = "data.sha256";

/// Where a run's checkpoints lie.
pub fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

pub(super) fn model(run: &Path) -> PathBuf {
    run.join("model")
}

/// The configuration of the run in the folder.
///
/// # Errors
/// No run, a file that cannot be read, a configuration that cannot be used.
pub fn config(run: &Path) -> Result<Config, TrainError> {
    match run.join(CONFIG_FILE).is_file() {
        true => Ok(Config::from_toml(&files::read_text(&run.join(CONFIG_FILE))?)?),
        false => Err(TrainError::NoRun(run.to_owned())),
    }
}

/// Where the pictures of a run are. Runs note the full path; a relative one, from an older program or another's hand, is
/// tried from the current folder, then from the run's and those above it.
pub fn data_path(run: &Path, config: &Config) -> PathBuf {
    let path = Path::new(&config.data.path);
    if path.exists() || path.is_absolute() {
        return path.to_owned();
    }
    let run = fs::canonicalize(run).unwrap_or_else(|_| run.to_owned());
    run.ancestors().map(|folder| folder.join(path)).find(|place| place.exists()).unwrap_or_else(|| path.to_owned())
}

/// A path that means the same from everywhere.
pub(super) fn full_path(path: &Path) -> Result<String, TrainError> {
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let problem = || {
        let path = path.display();
        ConfigError(vec![format!("data.path: the name `{path}` is not Unicode: rename it, or give a link to it")])
    };
    Ok(full.into_os_string().into_string().map_err(|_| problem())?)
}

/// Refuses a folder for a new run that holds one, or what is left of one.
pub(super) fn refuse_used(run: &Path) -> Result<(), TrainError> {
    if run.join(CONFIG_FILE).exists() {
        return Err(TrainError::Exists(run.to_owned()));
    }
    let trained = checkpoint::numbered(&checkpoints(run)).iter().any(|(nimg, _)| *nimg > 0);
    match trained || has_begun(run) {
        true => Err(TrainError::Remains(run.to_owned())),
        false => Ok(()),
    }
}

/// Whether there is a model, or a step was logged.
fn has_begun(run: &Path) -> bool {
    files::current(&model(run)).exists() || fs::metadata(run.join(LOG_FILE)).is_ok_and(|log| log.len() > 0)
}

/// Refuses a run among the pictures that it is trained on; says if it lies below them.
pub(super) fn among(run: &Path, data: &Path) -> Result<Option<String>, TrainError> {
    let (Ok(inner), Ok(outer)) = (fs::canonicalize(run), fs::canonicalize(data)) else { return Ok(None) };
    if inner == outer {
        return Err(TrainError::AmongPictures(run.to_owned()));
    }
    let said =
        || format!("the run's folder `{}` lies inside the data: what it writes there is not trained on", run.display());
    Ok(inner.starts_with(&outer).then(said))
}

/// Removes what a run has learned, so that it begins anew.
pub(super) fn clear(run: &Path) -> Result<(), TrainError> {
    for path in checkpoint::all(&checkpoints(run)) {
        files::remove(&path)?;
    }
    Ok(files::remove(&run.join(LENGTH_FILE))?)
}

/// The run's planned length, where it has one.
pub(super) fn length(run: &Path) -> Result<Length, TrainError> {
    let path = run.join(LENGTH_FILE);
    if !path.exists() {
        return Ok(Length::default());
    }
    let parsed = serde_json::from_str::<Length>(&files::read_text(&path)?).map_err(|e| e.to_string());
    parsed.and_then(Length::checked).map_err(|e| TrainError::Lost {
        run: run.to_owned(),
        what: format!("`{LENGTH_FILE}`, which says how long it is, is damaged ({e})"),
    })
}

/// Puts the newest checkpoint that can be read into `state`, and says how long the run is; what is wrong with newer
/// checkpoints goes to `warnings`.
pub(super) fn restore(
    state: &mut State,
    config: &Config,
    run: &Path,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<(Counters, Length), TrainError> {
    let counters = newest(state, run, device, warnings)?;
    let length = length(run)?;
    let planned = counters.until.is_some() || config.train.budget.is_empty();
    match length.until() {
        None if planned => {
            let what = format!("its `{LENGTH_FILE}`, which says how long it is, is not there");
            Err(TrainError::Lost { run: run.to_owned(), what })
        }
        _ => Ok((counters, length)),
    }
}

fn newest(state: &mut State, run: &Path, device: &Device, warnings: &mut Vec<String>) -> Result<Counters, TrainError> {
    let mut damaged = Vec::new();
    for path in checkpoint::all(&checkpoints(run)).into_iter().rev() {
        let loaded = checkpoint::load(&path).map_err(|e| e.to_string()).and_then(|(counters, tensors)| {
            let fit = state.import(tensors, device).map_err(|e| format!("`{}`: {e}", path.display()));
            fit.map(|()| counters)
        });
        match loaded {
            Ok(counters) => {
                let skipped = damaged.into_iter().map(|problem| format!("a checkpoint is skipped: {problem}"));
                warnings.extend(skipped);
                return Ok(counters);
            }
            Err(problem) => damaged.push(problem),
        }
    }
    let lost = |what| Err(TrainError::Lost { run: run.to_owned(), what });
    match damaged.is_empty() {
        // Older programs saved nothing before the first steps.
        true if !has_begun(run) => Ok(Counters::default()),
        true => lost("it has no checkpoints".into()),
        false => lost(format!("none of its checkpoints can be read ({})", damaged.join("; "))),
    }
}

pub(super) fn open_data(
    config: &Config,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, TrainError> {
    let data = &config.data;
    let options = Options {
        size: (data.size > 0).then_some(data.size),
        channels: (data.channels > 0).then_some(data.channels),
        background: data.background,
        flip: data.flip,
        strict: data.strict,
        ..Options::default()
    };
    Ok(Dataset::open_with(path, &options, progress)?)
}

/// The data of a run at `path`, if they are those that it began with.
pub(super) fn open_unchanged(
    config: &Config,
    run: &Path,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, TrainError> {
    if !path.exists() {
        return Err(TrainError::DataGone { run: run.to_owned(), path: path.to_owned() });
    }
    let data = open_data(config, path, progress)?;
    let before = files::read_text(&run.join(DATA_FILE))?;
    if before.trim() != data.fingerprint() {
        let (path, now) = (path.display().to_string(), data.fingerprint().to_owned());
        return Err(TrainError::DataChanged { path, before: before.trim().into(), now });
    }
    Ok(data)
}

/// The data of the run in the folder `run`, and which of its pictures were kept out of training.
///
/// # Errors
/// No run, data that cannot be read or are not those that the run began with.
pub fn held_out(run: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(Dataset, Vec<usize>), TrainError> {
    let config = config(run)?;
    let data = open_unchanged(&config, run, &data_path(run, &config), progress)?;
    let split = data.split(HeldOut::Fraction(config.data.held_out), config.train.seed);
    Ok((data, split.held_out))
}

/// What is to be said of data before it is trained on.
pub(super) fn warnings(data: &Dataset) -> Vec<String> {
    let captions = (0..data.len()).filter(|&i| data.caption(i).is_some()).count();
    let said =
        || format!("{captions} of the pictures have captions, which training does not read: models know classes only");
    data.warnings().into_iter().chain((captions > 0).then(said)).collect()
}
