//! Who takes part in a row, and how each program is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::peer::{Peer, script};
use super::root;
use super::rows::{PIPELINE, Row, STEPS, STEPS_OF_WORDS, THREADS, Task, Work};

/// What is asked for in the row from words.
const PROMPT: &str = "a red heart on a white wall";

/// A program with its words, ready to be run any number of times.
#[derive(Debug)]
pub struct Contender {
    /// The program.
    pub program: PathBuf,
    /// Its words.
    pub words: Vec<String>,
    /// What its environment has beside ours.
    pub environment: Vec<(&'static str, String)>,
    /// Who holds the watch.
    pub clock: Clock,
}

/// Who holds the watch.
#[derive(Debug)]
pub enum Clock {
    /// The program: its last line is JSON with `ms` and `peak_mb`.
    Own,
    /// We: from the start of the process to its first line, which it prints when this file is on disk.
    Ours(PathBuf),
}

impl Contender {
    /// Whether its start is part of the figure, so that it must have run once before.
    pub fn warms_file_cache(&self) -> bool {
        matches!(self.clock, Clock::Ours(_))
    }
}

/// A contender and its part in the row.
#[derive(Debug)]
pub struct Entry {
    /// Name in the table.
    pub name: &'static str,
    /// Whether this is the one that is to be faster.
    pub ours: bool,
    /// The program.
    pub contender: Contender,
}

/// What all rows run.
#[derive(Debug)]
pub struct Tools {
    /// `undiffuse-nn`'s bench.
    pub network: Option<PathBuf>,
    /// The command-line program.
    pub undiffuse: Option<PathBuf>,
    /// A model folder to sample from.
    pub model: Option<PathBuf>,
    /// PyTorch and diffusers, when they take part.
    pub peer: Option<Peer>,
    /// Where pictures go.
    pub scratch: PathBuf,
}

impl Tools {
    /// Everyone in this row, we last.
    pub fn entries(&self, row: &Row, seconds: f64, smoke: bool, compile: bool) -> Vec<Entry> {
        let batch = |task: &Task| if smoke { task.batch.min(2) } else { task.batch };
        let words = |task: &Task| -> Vec<String> {
            let file = root().join("xtask/bench/networks").join(task.network).with_extension("json");
            let network = if file.exists() { file } else { self.scratch.join(task.network) };
            vec![text(&network), task.what.into(), batch(task).to_string(), seconds.to_string()]
        };
        let ours = |name, ours, task: &Task, threads: usize| Entry {
            name,
            ours,
            contender: Contender {
                program: self.network.clone().unwrap_or_default(),
                words: words(task),
                environment: threads_of(threads),
                clock: Clock::Own,
            },
        };
        let mut entries: Vec<Entry> = match &row.work {
            Work::Network(task) => {
                let modes = ["eager", "channels_last"].into_iter().chain(compile.then_some("compile"));
                self.peers(modes, "network.py", |mode| {
                    (words(task).into_iter().chain([mode.to_owned()]).collect(), Clock::Own)
                })
            }
            Work::Sample => self.peers(["eager", "channels_last"], "sample.py", |mode| {
                let (model, png) = (self.model_folder(), self.scratch.join("sample-peer").join("0.png"));
                (vec![text(&model), text(&png), STEPS.to_string(), mode.into()], Clock::Ours(png))
            }),
            Work::Words => self.peers(["eager", "channels_last"], "pipeline.py", |mode| {
                let png = self.scratch.join("words-peer").join("0.png");
                let words = [text(&self.scratch.join(PIPELINE)), text(&png), STEPS_OF_WORDS.to_string(), PROMPT.into()];
                (words.into_iter().chain([mode.into()]).collect(), Clock::Ours(png))
            }),
            Work::Threads(task) => vec![ours("ours, 1 thread", false, task, 1)],
        };
        entries.push(match &row.work {
            Work::Network(task) | Work::Threads(task) => ours("ours", true, task, THREADS),
            Work::Sample => {
                let words = ["--solver", "ddim", "--guidance", "1"].map(str::to_owned);
                Entry { name: "ours", ours: true, contender: self.sample("sample", &self.model_folder(), STEPS, words) }
            }
            Work::Words => {
                let words = ["--prompt", PROMPT, "--guidance", "7.5"].map(str::to_owned);
                let folder = self.scratch.join(PIPELINE);
                Entry { name: "ours", ours: true, contender: self.sample("words", &folder, STEPS_OF_WORDS, words) }
            }
        });
        entries
    }

    /// PyTorch in every mode, when it takes part.
    fn peers(
        &self,
        modes: impl IntoIterator<Item = &'static str>,
        file: &str,
        words: impl Fn(&str) -> (Vec<String>, Clock),
    ) -> Vec<Entry> {
        let Some(peer) = &self.peer else { return Vec::new() };
        let entry = |mode| {
            let (words, clock) = words(mode);
            let words = std::iter::once(text(&script(file))).chain(words).collect();
            let mut environment = threads_of(THREADS);
            environment.extend(peer.tcmalloc.iter().map(|path| ("LD_PRELOAD", text(path))));
            Entry {
                name: mode,
                ours: false,
                contender: Contender { program: peer.python.clone(), words, environment, clock },
            }
        };
        modes.into_iter().map(entry).collect()
    }

    /// `undiffuse sample` with the same solver, steps and number of evaluations as the twin in Python.
    fn sample(&self, name: &str, model: &Path, steps: usize, more: impl IntoIterator<Item = String>) -> Contender {
        // A folder of its own: it is emptied before each turn.
        let folder = self.scratch.join(format!("{name}-ours"));
        let out = folder.join("pictures");
        let mut words = vec!["sample".to_owned(), text(model), "--out".into(), text(&out)];
        words.extend(["-n", "1", "--plain", "--overwrite", "--steps"].map(str::to_owned));
        words.push(steps.to_string());
        words.extend(more);
        let program = self.undiffuse.clone().unwrap_or_default();
        // The picture is named after its seed and what was asked for; the sheet of all pictures is the last file written.
        let clock = Clock::Ours(folder.join("pictures-grid.png"));
        Contender { program, words, environment: threads_of(THREADS), clock }
    }

    /// The model folder itself, also when a run's folder was named.
    fn model_folder(&self) -> PathBuf {
        let named = self.model.clone().unwrap_or_default();
        let inner = named.join("model");
        if inner.join("model_index.json").exists() { inner } else { named }
    }
}

/// Every name that this or the other side reads the number of threads from.
fn threads_of(threads: usize) -> Vec<(&'static str, String)> {
    ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, threads.to_string())).to_vec()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Trains the quick preset's network for some seconds: what a picture costs depends on its shape, not on its quality.
pub fn train_quick(undiffuse: &Path, run: &Path) -> anyhow::Result<PathBuf> {
    if run.exists() {
        std::fs::remove_dir_all(run).with_context(|| format!("cannot remove {}", run.display()))?;
    }
    eprintln!("training a quick model in {}", run.display());
    let words = ["--plain", "--images", "640", "--set", "train.previews=0", "--data", "data/fashion-mnist", "--run"];
    let mut command = Command::new(undiffuse);
    let output = command.arg("train").args(words).arg(run).current_dir(root()).output();
    let output = output.with_context(|| format!("cannot start {}", undiffuse.display()))?;
    if !output.status.success() {
        bail!("{command:?} failed\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(run.to_owned())
}

/// Makes a pipeline as large as Stable Diffusion 1.5, once.
///
/// # Errors
/// Without the peer, who makes it, or the 5 GB that it takes.
pub fn make_pipeline(peer: Option<&Peer>, folder: &Path) -> anyhow::Result<()> {
    if folder.join("model_index.json").exists() {
        return Ok(());
    }
    let peer = peer.context("the pipeline is made by diffusers: add --peer for the first time")?;
    eprintln!("making a pipeline in {}", folder.display());
    let status = Command::new(&peer.python).arg(script("stable_diffusion.py")).arg(folder).status();
    let status = status.with_context(|| format!("cannot start {}", peer.python.display()))?;
    if !status.success() {
        bail!("stable_diffusion.py failed");
    }
    Ok(())
}
