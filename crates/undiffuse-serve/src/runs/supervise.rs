//! Trainings as child processes: `undiffuse train` in a process group of its own, with a log beside its run. Each saves and ends
//! when its standard input does: that is how it is stopped, and why none outlives the service, however that ends.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use undiffuse::run::RunFolder;
use undiffuse::train::presets;

use super::lock;
use crate::options::Training;
use crate::problem::Problem;

/// A training that ends within this time was refused: what it said last is told.
const EARLY: Duration = Duration::from_secs(2);
/// The longest name of a run.
const NAME: usize = 64;
/// The parts of a configuration that requests may set, besides what they have words for.
const SECTIONS: [&str; 6] = ["data", "network", "noise", "loss", "train", "sample"];

/// A training to start. Whatever is left out is the preset's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StartRun)]
pub struct Start {
    /// The name of the new run: letters, digits, `.`, `_` and `-`.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
    pub name: String,
    /// One of the data sets that `/api/v1/about` lists.
    pub dataset: String,
    /// One of the presets that `/api/v1/about` lists; the one for what the data say of their pictures when left out.
    #[serde(default)]
    pub preset: Option<String>,
    /// How long it may take, such as `10m` or `1h30m`.
    #[serde(default)]
    pub budget: Option<String>,
    /// Its length in pictures seen.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub images: Option<u64>,
    /// Its length in passes over the data.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Side of the pictures in pixels.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub size: Option<usize>,
    /// 1 for grey, 3 for colour.
    #[serde(default)]
    pub channels: Option<usize>,
    /// Mirror half of the pictures.
    #[serde(default)]
    pub flip: bool,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Settings of the configuration, such as `train.lr`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub set: BTreeMap<String, Value>,
}

/// How much longer a run is to be; at most one of them. Without any it goes on to its planned end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ResumeRun)]
pub struct Extend {
    /// How much more time it may take, such as `10m`.
    pub budget: Option<String>,
    /// Pictures at its new end.
    pub images: Option<u64>,
    /// Passes over the data at its new end.
    pub epochs: Option<f64>,
}

/// The trainings that this service has started.
#[derive(Debug)]
pub struct Supervisor {
    device: String,
    live: Arc<Mutex<HashMap<PathBuf, Live>>>,
    /// Whether trainings may be started; held while one is, so that two requests do not both find that none is running.
    open: tokio::sync::Mutex<bool>,
}

/// A child at work; a task of its own waits for it and holds its standard input.
#[derive(Debug)]
struct Live {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Supervisor {
    /// For trainings on this device.
    pub fn new(device: String) -> Self {
        Self { device, live: Arc::default(), open: tokio::sync::Mutex::new(true) }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<PathBuf, Live>> {
        lock(&self.live)
    }

    /// Whether a training that was started here is at work in the folder.
    pub fn is_alive(&self, run: &Path) -> bool {
        self.live().contains_key(&resolved(run))
    }

    /// Starts a training; the folder of its run.
    ///
    /// # Errors
    /// See [`Runs::start`](super::Runs::start).
    pub async fn start(&self, training: &Training, request: &Start) -> Result<RunFolder, Problem> {
        let arguments = request.arguments(training)?;
        let open = self.open.lock().await;
        self.idle(*open)?;
        let run = RunFolder::new(training.runs.join(&request.name));
        let fresh = fs::create_dir_all(&training.runs).and_then(|()| fs::create_dir(run.path()));
        fresh.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let detail = format!("there is a run `{}` already: resume it, or choose another name", request.name);
                Problem { field: Some("name".into()), ..Problem::new(StatusCode::CONFLICT, "exists", detail) }
            }
            _ => Problem::internal(format!("cannot create the run's folder: {e}")),
        })?;
        let started = self.launch(training, &run, arguments).await;
        if started.is_err() {
            // Where nothing came of it, the name is free again.
            run.remove_unbegun();
        }
        started.map(|()| run)
    }

    /// Resumes the run in the folder.
    ///
    /// # Errors
    /// See [`Runs::resume`](super::Runs::resume).
    pub async fn resume(&self, training: &Training, run: &RunFolder, extension: &Extend) -> Result<(), Problem> {
        let mut arguments = vec![String::from("--resume"), text(run.path())?];
        arguments.extend(length(&extension.budget, extension.images, extension.epochs)?);
        let open = self.open.lock().await;
        self.idle(*open)?;
        self.launch(training, run, arguments).await
    }

    /// Asks the training in the folder to save and end; whether there is one.
    pub fn stop(&self, run: &Path) -> bool {
        self.live().get(&resolved(run)).is_some_and(|live| live.stop.send(true).is_ok())
    }

    /// Asks all to save and end, and waits for so long.
    pub async fn close(&self, patience: Duration) {
        *self.open.lock().await = false;
        let all: Vec<_> = self.live().values().map(|live| (live.stop.clone(), live.ended.clone())).collect();
        let ends = all.into_iter().map(|(stop, mut ended)| async move {
            let _ = stop.send(true);
            let _ = ended.wait_for(Option::is_some).await;
        });
        let _ = timeout(patience, futures_util::future::join_all(ends)).await;
    }

    /// Two trainings would take the processor from each other.
    fn idle(&self, open: bool) -> Result<(), Problem> {
        if !open {
            return Err(Problem::unavailable("closing", "the service is shutting down; try again in a moment", 10));
        }
        let live = self.live();
        let Some(run) = live.keys().next() else { return Ok(()) };
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let detail = format!("run `{name}` is being trained, and one at a time is enough: stop it or wait for its end");
        Err(Problem::new(StatusCode::CONFLICT, "busy", detail))
    }

    async fn launch(&self, training: &Training, run: &RunFolder, arguments: Vec<String>) -> Result<(), Problem> {
        let log = run.open_output().map_err(|e| Problem::internal(e.to_string()))?;
        let errors = log.try_clone().map_err(|e| Problem::internal(format!("cannot write the log: {e}")))?;
        let mut command = Command::new(&training.program);
        command.arg("train").arg("--tied").arg("--plain").arg("--device").arg(&self.device).args(arguments);
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        // The child has no business with our clients.
        command.env_remove("UNDIFFUSE_TOKEN");
        // Ctrl-C at the service's terminal is for the service, which tells its trainings by itself.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn().map_err(|e| Problem::internal(format!("cannot start the trainer: {e}")))?;
        let (stop, stopping) = watch::channel(false);
        let (end, mut ended) = watch::channel(None);
        let (live, folder) = (Arc::clone(&self.live), resolved(run.path()));
        self.live().insert(folder.clone(), Live { stop, ended: ended.clone() });
        tokio::spawn(async move {
            let status = watched(child, stopping).await;
            lock(&live).remove(&folder);
            end.send_replace(Some(status));
        });
        match timeout(EARLY, ended.wait_for(Option::is_some)).await {
            Ok(Ok(status)) if status.is_some_and(|status| !status.success()) => {
                let said = run.output(20);
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                let detail = last.unwrap_or("the trainer ended at once without a word");
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "training_refused", detail))
            }
            _ => Ok(()),
        }
    }
}

/// The same folder has the same name, however it was reached.
pub(super) fn resolved(run: &Path) -> PathBuf {
    run.canonicalize().unwrap_or_else(|_| run.to_owned())
}

/// Whether the run was begun on one of the data sets that may be trained on.
///
/// # Errors
/// 403 for any other, and for a run that does not say.
pub(super) fn trained_on(training: &Training, run: &RunFolder) -> Result<(), Problem> {
    let data = run.config().ok().and_then(|config| Path::new(&config.data.path).canonicalize().ok());
    let entry = |data: PathBuf| {
        let mut entries = fs::read_dir(&training.datasets).into_iter().flatten().filter_map(Result::ok);
        entries.any(|entry| !hidden(&entry) && entry.path().canonicalize().is_ok_and(|path| path == data))
    };
    if data.is_some_and(entry) {
        return Ok(());
    }
    let detail = "this run was not begun on one of the data sets that may be trained on here, which --datasets names; resume it \
                  on the command line";
    Err(Problem::new(StatusCode::FORBIDDEN, "training_not_allowed", detail))
}

fn hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// Waits for the end of a child, whose standard input ends when it is asked to stop.
async fn watched(mut child: Child, mut stopping: watch::Receiver<bool>) -> ExitStatus {
    // Waiting would end it at once.
    let tie = child.stdin.take();
    tokio::select! {
        status = child.wait() => return status.unwrap_or_default(),
        // An error means that nobody is left who could ask.
        _ = stopping.wait_for(|stop| *stop) => drop(tie),
    }
    child.wait().await.unwrap_or_default()
}

impl Start {
    /// The command line of the training.
    fn arguments(&self, training: &Training) -> Result<Vec<String>, Problem> {
        check_name(&self.name)?;
        let data = dataset(&training.datasets, &self.dataset)?;
        let known = |preset: &str| presets::ALL.iter().any(|(name, _)| *name == preset);
        if let Some(preset) = self.preset.as_deref().filter(|preset| !known(preset)) {
            let names: Vec<&str> = presets::ALL.iter().map(|(name, _)| *name).collect();
            let preset: String = preset.chars().take(80).collect();
            let detail = format!("there is no preset `{preset}`: choose from {}", names.join(", "));
            return Err(Problem::invalid("preset", detail));
        }
        let run = text(&training.runs.join(&self.name))?;
        let mut arguments = vec!["--data".into(), text(&data)?, "--run".into(), run];
        arguments.extend(self.preset.iter().map(|preset| format!("--preset={preset}")));
        arguments.extend(length(&self.budget, self.images, self.epochs)?);
        let numbers = [("--size", self.size), ("--channels", self.channels)];
        arguments.extend(numbers.iter().filter_map(|(flag, n)| Some(format!("{flag}={}", (*n)?))));
        arguments.extend(self.seed.map(|seed| format!("--seed={seed}")));
        arguments.extend(self.flip.then(|| "--flip".into()));
        for (key, value) in &self.set {
            arguments.push(format!("--set={key}={}", setting(key, value)?));
        }
        Ok(arguments)
    }
}

/// The trainer takes paths as text.
fn text(path: &Path) -> Result<String, Problem> {
    path.to_str().map(str::to_owned).ok_or_else(|| Problem::internal("a folder's name is no Unicode text"))
}

/// A name that is a single, visible entry of a folder whatever the system.
fn check_name(name: &str) -> Result<(), Problem> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if letters && (1..=NAME).contains(&name.len()) && !name.starts_with('.') {
        return Ok(());
    }
    let detail = format!("a run's name is 1 to {NAME} letters, digits, `.`, `_` or `-`, and does not start with a dot");
    Err(Problem::invalid("name", detail))
}

/// The entry of the folder with this name; names are compared with what is there, never joined to the path.
fn dataset(folder: &Path, name: &str) -> Result<PathBuf, Problem> {
    let mut entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let found = entries.find(|entry| !name.starts_with('.') && entry.file_name().to_str() == Some(name));
    found.map(|entry| entry.path()).ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        Problem::invalid("dataset", format!("there is no data set `{name}`; /api/v1/about lists those there are"))
    })
}

/// The arguments of a length, of which there is one at most.
fn length(budget: &Option<String>, images: Option<u64>, epochs: Option<f64>) -> Result<Option<String>, Problem> {
    if let Some(budget) = budget {
        undiffuse::train::length::parse_duration(budget).map_err(|e| Problem::invalid("budget", e))?;
    }
    if epochs.is_some_and(|epochs| !(epochs > 0.0 && epochs.is_finite())) {
        return Err(Problem::invalid("epochs", "give a number of passes above 0"));
    }
    let given = [
        budget.as_ref().map(|budget| format!("--budget={budget}")),
        images.map(|n| format!("--images={n}")),
        epochs.map(|n| format!("--epochs={n}")),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (length, None) => Ok(length),
        _ => Err(Problem::invalid("budget", "give the length once: budget, images or epochs")),
    }
}

/// A value of the configuration in TOML. Where the data lie is not for requests to say.
fn setting(key: &str, value: &Value) -> Result<String, Problem> {
    let invalid = |detail: String| Err(Problem::invalid("set", detail));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let parts: Vec<&str> = key.split('.').collect();
    if parts.len() < 2 || !parts.iter().all(|part| word(part)) || !SECTIONS.contains(&parts[0]) || key == "data.path" {
        let key: String = key.chars().take(80).collect();
        return invalid(format!("`{key}` cannot be set: give keys such as train.lr, in {}", SECTIONS.join(", ")));
    }
    let plain = |value: &Value| matches!(value, Value::Number(_) | Value::Bool(_) | Value::String(_));
    match value {
        // JSON's numbers, words and lists of them are also TOML's.
        Value::Array(items) if items.iter().all(plain) => Ok(value.to_string()),
        value if plain(value) => Ok(value.to_string()),
        _ => invalid(format!("`{key}` takes a number, true, false, a text, or a list of these")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn training(root: &Path) -> Training {
        fs::create_dir_all(root.join("data/flowers")).unwrap();
        Training { program: "/bin/false".into(), datasets: root.join("data"), runs: root.join("runs") }
    }

    #[test]
    fn a_request_is_a_command_line() {
        let root = tempfile::tempdir().unwrap();
        let request = Start {
            name: "cats".into(),
            dataset: "flowers".into(),
            budget: Some("10m".into()),
            size: Some(32),
            flip: true,
            set: [("train.lr".into(), json!(3e-4)), ("noise.schedule".into(), json!("cosine"))].into(),
            ..Start::default()
        };
        let arguments = request.arguments(&training(root.path())).unwrap();
        let path = |part: &str| root.path().join(part).to_str().unwrap().to_owned();
        let (data, run) = (path("data/flowers"), path("runs/cats"));
        let expected = ["--data", &data, "--run", &run, "--budget=10m", "--size=32", "--flip"];
        assert_eq!(arguments[..7], expected);
        assert_eq!(arguments[7..], ["--set=noise.schedule=\"cosine\"", "--set=train.lr=0.0003"]);
    }

    #[test]
    fn hostile_requests_are_refused_by_field() {
        let root = tempfile::tempdir().unwrap();
        let training = training(root.path());
        fs::create_dir_all(root.path().join("data/.hidden")).unwrap();
        let good = Start { name: "a".into(), dataset: "flowers".into(), ..Start::default() };
        let field = |request: Start| request.arguments(&training).unwrap_err().field.unwrap();
        for name in
            ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0", "a b", "ä", "a\n", &"x".repeat(65), "C:\\x"]
        {
            assert_eq!(field(Start { name: name.into(), ..good.clone() }), "name", "{name:?}");
        }
        for dataset in ["", ".", "..", "../data/flowers", "flowers/", "./flowers", "/etc", ".hidden", "flowers\0"] {
            assert_eq!(field(Start { dataset: dataset.into(), ..good.clone() }), "dataset", "{dataset:?}");
        }
        for key in
            ["data.path", "lr", "version.x", "train.", "train.lr=1 --run", "data.path.x=", "data .path", "preset.a"]
        {
            let set = [(key.to_owned(), json!("/etc"))].into();
            assert_eq!(field(Start { set, ..good.clone() }), "set", "{key}");
        }
        for value in [json!({"path": "/etc"}), json!([[1]]), json!(null)] {
            let set = [("train.lr".to_owned(), value)].into();
            assert_eq!(field(Start { set, ..good.clone() }), "set");
        }
        assert_eq!(field(Start { preset: Some("--help".into()), ..good.clone() }), "preset");
        assert_eq!(field(Start { budget: Some("soon".into()), ..good.clone() }), "budget");
        assert_eq!(field(Start { epochs: Some(-1.0), ..good.clone() }), "epochs");
        assert_eq!(field(Start { images: Some(1), epochs: Some(1.0), ..good }), "budget");
    }
}
