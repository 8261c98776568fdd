//! Training runs: what their folders say, and trainings as child processes.

mod examine;
mod metrics;
mod scan;
mod supervise;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use undiffuse::data::names::last_part;
use undiffuse::model::ModelFolder;
use undiffuse::run::RunFolder;

pub use examine::{Examined, Finding};
pub use metrics::{Bucket, Curves, Diverged, Validation};
pub use supervise::{Extend, Start};

use crate::options::{ServeOptions, Training};
use crate::problem::Problem;
use metrics::{RunMetrics, Standing};
use supervise::Supervisor;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RunState)]
pub enum RunState {
    /// A program is at it.
    Training,
    /// Its planned length is reached and its model written.
    Finished,
    /// It can be resumed.
    Stopped,
    /// The loss blew up.
    Diverged,
    /// It has not taken a step.
    Empty,
}

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunInfo {
    /// Its id: the name of its folder, made unique.
    pub id: String,
    /// Where it stands.
    pub state: RunState,
    /// The preset that it started from.
    pub preset: String,
    /// Name of what it trains on.
    pub data: String,
    /// Pictures seen.
    pub images: u64,
    /// Pictures at the end, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Seconds that are left of its budget, where it has one; the end in pictures follows the clock then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// The mean loss of the last steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The last loss on held-out pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// The speed of the last steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Seconds of training, all sittings together.
    pub seconds: f64,
    /// When it last changed, in seconds since 1970.
    pub updated: f64,
    /// Its model, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Pictures seen at each of its grids of samples.
    pub samples: Vec<u64>,
    /// Whether this service has started it and it is alive: it can be stopped from here.
    pub ours: bool,
}

/// All runs under the service's paths.
#[derive(Debug)]
pub struct Runs {
    paths: Vec<PathBuf>,
    training: Option<Training>,
    supervisor: Supervisor,
    doctor: examine::Doctor,
    metrics: Mutex<HashMap<PathBuf, RunMetrics>>,
    /// The last look at all runs.
    seen: Mutex<Option<(Instant, Arc<Seen>)>>,
    /// Held while they are looked at.
    looking: Mutex<()>,
}

/// All runs by id, as they were at some time.
pub type Seen = BTreeMap<String, RunInfo>;

impl Runs {
    /// The runs under the paths of these options.
    pub fn new(options: &ServeOptions) -> Self {
        let device = options.device_name.clone();
        Self {
            paths: options.folders(),
            training: options.training.clone(),
            supervisor: Supervisor::new(device),
            doctor: examine::Doctor::default(),
            metrics: Mutex::default(),
            seen: Mutex::default(),
            looking: Mutex::default(),
        }
    }

    /// All runs, if they were looked at within this time.
    pub fn seen(&self, within: Duration) -> Option<Arc<Seen>> {
        let seen = lock(&self.seen);
        seen.as_ref().filter(|(at, _)| at.elapsed() < within).map(|(_, seen)| Arc::clone(seen))
    }

    /// As [`seen`](Self::seen), with a look where there was none; whoever comes meanwhile waits and has the same.
    pub fn look(&self, within: Duration) -> Arc<Seen> {
        let _one_for_all = lock(&self.looking);
        self.seen(within).unwrap_or_else(|| {
            let at = Instant::now();
            let describe = |(id, path): (String, PathBuf)| (id.clone(), self.describe(&id, &path));
            let all = Arc::new(self.folders().into_iter().map(describe).collect());
            *lock(&self.seen) = Some((at, Arc::clone(&all)));
            all
        })
    }

    /// The folder of each run, by id.
    fn folders(&self) -> BTreeMap<String, PathBuf> {
        let folders = scan::scan(&self.paths);
        self.logs().retain(|path, _| folders.values().any(|folder| folder == path));
        folders
    }

    /// The folder of a run.
    ///
    /// # Errors
    /// 404.
    pub fn folder(&self, id: &str) -> Result<PathBuf, Problem> {
        let missing = || {
            let id: String = id.chars().take(80).collect();
            Problem::not_found(format!("there is no run `{id}`; /api/v1/runs lists those there are"))
        };
        self.folders().remove(id).ok_or_else(missing)
    }

    fn run(&self, id: &str) -> Result<RunFolder, Problem> {
        self.folder(id).map(RunFolder::new)
    }

    /// Every run, the one that changed last first.
    pub fn list(&self) -> Vec<RunInfo> {
        let mut all: Vec<RunInfo> = self.folders().iter().map(|(id, path)| self.describe(id, path)).collect();
        all.sort_by(|a, b| b.updated.total_cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
        all
    }

    /// A run.
    ///
    /// # Errors
    /// 404.
    pub fn info(&self, id: &str) -> Result<RunInfo, Problem> {
        Ok(self.describe(id, &self.folder(id)?))
    }

    fn describe(&self, id: &str, path: &Path) -> RunInfo {
        let run = RunFolder::new(path);
        let standing = self.metrics_of(&run, RunMetrics::standing);
        let config = run.config().ok();
        let length = run.length().unwrap_or_default();
        let has_model = ModelFolder::find(path).is_ok();
        let ours = self.supervisor.is_alive(path);
        let state = match standing {
            _ if ours || run.is_training() => RunState::Training,
            Standing { diverged: true, .. } => RunState::Diverged,
            Standing { images, .. } if has_model && length.until().is_some_and(|until| images >= until) => {
                RunState::Finished
            }
            Standing { images: 0, .. } => RunState::Empty,
            _ => RunState::Stopped,
        };
        RunInfo {
            id: id.to_owned(),
            state,
            preset: config.as_ref().map(|c| c.preset.clone()).unwrap_or_default(),
            data: config.map(|c| last_part(&c.data.path).to_owned()).unwrap_or_default(),
            images: standing.images,
            until: length.until(),
            seconds_left: run.budget(&length).map(|(seconds, used)| (seconds - used).max(0.0)),
            loss: standing.loss,
            validation: standing.validation,
            images_per_second: standing.images_per_second,
            seconds: standing.seconds,
            updated: updated(&run),
            model: has_model.then(|| id.to_owned()),
            samples: run.samples().into_keys().collect(),
            ours,
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<PathBuf, RunMetrics>> {
        lock(&self.metrics)
    }

    fn metrics_of<T>(&self, run: &RunFolder, of: impl FnOnce(&RunMetrics) -> T) -> T {
        let mut logs = self.logs();
        let metrics = logs.entry(run.path().to_owned()).or_default();
        metrics.update(run);
        of(metrics)
    }

    /// The curves of a run, of at most `points` points.
    ///
    /// # Errors
    /// 404.
    pub fn curves(&self, id: &str, points: usize) -> Result<Curves, Problem> {
        let run = self.run(id)?;
        Ok(self.metrics_of(&run, |metrics| metrics.curves(points)))
    }

    /// The configuration of a run as its file has it, but for the folder in which its data lie; empty where there is none yet.
    ///
    /// # Errors
    /// 404.
    pub fn config(&self, id: &str) -> Result<String, Problem> {
        Ok(without_path(&self.run(id)?.config_text().ok().flatten().unwrap_or_default()))
    }

    /// The PNG of the grid of samples at `nimg` pictures.
    ///
    /// # Errors
    /// 404.
    pub fn sample(&self, id: &str, nimg: u64) -> Result<Vec<u8>, Problem> {
        let missing = || Problem::not_found(format!("run `{id}` has no samples at {nimg} pictures"));
        self.run(id)?.sample(nimg).ok_or_else(missing)
    }

    /// The last `lines` lines that a training which this service started has written.
    ///
    /// # Errors
    /// 404.
    pub fn log(&self, id: &str, lines: usize) -> Result<String, Problem> {
        Ok(self.run(id)?.output(lines))
    }

    /// What is likely wrong with a run; a look takes a while. The pictures that it was trained on are looked at where clients may
    /// train on them: its configuration may name any folder of this machine. `room` says whether there are so many bytes.
    ///
    /// # Errors
    /// 404, 422 for a run that cannot be read, 503 while another is being looked at, and what `room` says.
    pub fn examine(&self, id: &str, room: impl FnOnce(u64) -> Result<(), Problem>) -> Result<Examined, Problem> {
        let run = self.run(id)?;
        let data = self.training.as_ref().is_some_and(|training| supervise::trained_on(training, &run).is_ok());
        self.doctor.examine(&run, updated(&run).to_bits(), data, room)
    }

    /// Starts a training in a new folder.
    ///
    /// # Errors
    /// 403 where that is not allowed, 409 where one is running or the name is taken, 422 for what the trainer refuses.
    pub async fn start(&self, request: Start) -> Result<RunInfo, Problem> {
        let training = self.training()?;
        let run = self.supervisor.start(training, &request).await?;
        self.by_path(run.path())
    }

    /// Resumes a training.
    ///
    /// # Errors
    /// As [`start`](Self::start), and 404.
    pub async fn resume(&self, id: &str, extension: Extend) -> Result<RunInfo, Problem> {
        let training = self.training()?;
        let (run, info) = (self.run(id)?, self.info(id)?);
        if info.state == RunState::Training {
            return Err(Problem::new(
                axum::http::StatusCode::CONFLICT,
                "already_training",
                format!("run `{id}` is being trained already"),
            ));
        }
        if info.state == RunState::Finished && extension == Extend::default() {
            let detail = format!("run `{id}` has reached its length: give a budget, images or epochs more");
            return Err(Problem::new(axum::http::StatusCode::CONFLICT, "finished", detail));
        }
        supervise::trained_on(training, &run)?;
        self.supervisor.resume(training, &run, &extension).await?;
        self.info(id)
    }

    /// Asks a training to save and end.
    ///
    /// # Errors
    /// 403 where that is not allowed, 404, 409 for a run that is not being trained, or not by this service.
    pub fn stop(&self, id: &str) -> Result<RunInfo, Problem> {
        self.training()?;
        let (path, info) = (self.folder(id)?, self.info(id)?);
        let conflict = |code, detail| Err(Problem::new(axum::http::StatusCode::CONFLICT, code, detail));
        match (self.supervisor.stop(&path), info.state) {
            (true, _) => Ok(info),
            (false, RunState::Training) => {
                conflict("not_ours", format!("run `{id}` was started elsewhere: stop it there with Ctrl-C"))
            }
            _ => conflict("not_training", format!("run `{id}` is not being trained")),
        }
    }

    /// Asks all trainings to save and end, and waits for so long.
    pub async fn close(&self, patience: Duration) {
        self.supervisor.close(patience).await;
    }

    fn training(&self) -> Result<&Training, Problem> {
        self.training.as_ref().ok_or_else(|| {
            let detail = "this service was started without --allow-train, so it starts and stops no trainings";
            Problem::new(axum::http::StatusCode::FORBIDDEN, "training_not_allowed", detail)
        })
    }

    fn by_path(&self, path: &Path) -> Result<RunInfo, Problem> {
        let folders = self.folders();
        let path = supervise::resolved(path);
        let found = folders.iter().find(|(_, folder)| supervise::resolved(folder) == path);
        found
            .map(|(id, path)| self.describe(id, path))
            .ok_or_else(|| Problem::internal("the run that was started has disappeared"))
    }
}

/// Locks; what a panic left behind is at worst read again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a run last changed, in seconds since 1970.
fn updated(run: &RunFolder) -> f64 {
    run.updated().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A configuration as the trainer writes it, with the name of the data in the place of their path.
fn without_path(config: &str) -> String {
    let mut in_data = false;
    let line = |line: &str| {
        in_data = if line.starts_with('[') { line.trim() == "[data]" } else { in_data };
        match line.split_once('=').filter(|(key, _)| in_data && key.trim() == "path") {
            Some((_, path)) => format!("path = {}\n", json!(last_part(path.trim().trim_matches(['"', '\''])))),
            None => format!("{line}\n"),
        }
    };
    config.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::train::Config;

    #[test]
    fn a_configuration_keeps_the_folder_of_its_data_to_itself() {
        for path in ["/home/ann/private/photos", "C:\\Users\\ann\\private\\photos", "/home/ann/private/it's \"photos"] {
            let settings = [format!("data.path={}", json!(path))];
            let written = Config::layered("quick", None, &settings).unwrap().to_toml();
            let mut read = Config::from_toml(&without_path(&written)).unwrap();
            assert_eq!(read.data.path, last_part(path));
            read.data.path = path.into();
            assert_eq!(read.to_toml(), written);
        }
    }
}
