//! The folder of a training run: the only place that opens what is in one.
//!
//! ```text
//! runs/NAME/
//!   config.toml       the resolved configuration; its presence makes the folder a run
//!   data.sha256       fingerprint of the pictures that the run began with
//!   length.json       the length, written before the learning rate depends on it
//!   clock             seconds that the present stretch of a budgeted run has taken, written while it trains
//!   metrics.jsonl     one line a step, validation or divergence
//!   samples/          grids of samples along the way
//!   checkpoints/      the newest states, each one file
//!   model/            the averaged network as a diffusers folder
//!   lock              held while a program trains
//!   train.log         what a training that a service started has said
//! ```
//!
//! A run may come from a stranger. What is read of one is a regular file of a limited size, and no link in it is followed.
//! What needs the trainer's types (configuration, length, checkpoints, data) is in [`train`](crate::train), on the same
//! [`RunFolder`].

mod lock;
mod log;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use undiffuse_nn::networks::FOLDERS;

use crate::files::{self, FileError, at};

pub(crate) use log::LogWriter;
pub use log::{LogEntry, LogLine, LogReader, Step};

/// The file whose presence makes a folder a run.
pub const CONFIG_FILE: &str = "config.toml";
pub(crate) const LENGTH_FILE: &str = "length.json";
const DATA_FILE: &str = "data.sha256";
const LOG_FILE: &str = "metrics.jsonl";
const CLOCK_FILE: &str = "clock";
const OUTPUT_FILE: &str = "train.log";
const SAMPLES: &str = "samples";

/// The most that is read of a text file of the run.
const TEXT_BYTES: u64 = 4 << 20;
/// The most that is read of a grid of samples.
const SAMPLE_BYTES: u64 = 64 << 20;
/// The end of a training's output that is looked at.
const OUTPUT_BYTES: u64 = 256 << 10;
/// The most entries of a folder that are looked at.
const ENTRIES: usize = 100_000;

/// The folder of a run, there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in this folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The run that a path means: its folder, or the `model/` inside it.
    pub fn find(path: &Path) -> Option<Self> {
        let around = path.parent().filter(|_| path.ends_with("model")).map(Self::new);
        around.into_iter().chain([Self::new(path)]).find(Self::exists)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether there is a run.
    pub fn exists(&self) -> bool {
        self.has(CONFIG_FILE)
    }

    /// Whether there is a run, or a training was at least started in the folder.
    pub fn is_started(&self) -> bool {
        self.exists() || self.has(OUTPUT_FILE)
    }

    /// Where its model lies.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// Where its checkpoints lie.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Whether there is a model, or a step was logged.
    pub(crate) fn has_learned(&self) -> bool {
        files::current(&self.model()).exists() || fs::metadata(self.0.join(LOG_FILE)).is_ok_and(|log| log.len() > 0)
    }

    /// Whether there is a file of this name, which no link counts as.
    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.0.join(name)).is_ok_and(|facts| facts.is_file())
    }

    fn open(&self, inside: impl AsRef<Path>) -> Result<File, FileError> {
        files::open_inside(&self.0, inside.as_ref())
    }

    /// A text file of the run; nothing where there is none.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, FileError> {
        let path = self.0.join(name);
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = files::read_all(self.open(name)?, TEXT_BYTES).map_err(at("read", &path))?;
        let text = String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
        text.map(Some).map_err(at("read", &path))
    }

    /// Writes a file of the run, whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), FileError> {
        files::write(&self.0.join(name), text.as_bytes())
    }

    /// The text of its configuration; nothing where there is none.
    ///
    /// # Errors
    /// A file that cannot be read, such as a link.
    pub fn config_text(&self) -> Result<Option<String>, FileError> {
        self.text(CONFIG_FILE)
    }

    /// Fingerprint of the pictures that it began with.
    pub fn fingerprint(&self) -> Option<String> {
        self.text(DATA_FILE).ok().flatten().map(|text| text.trim().to_owned())
    }

    pub(crate) fn write_fingerprint(&self, fingerprint: &str) -> Result<(), FileError> {
        self.write(DATA_FILE, fingerprint)
    }

    /// Which stretch of a budgeted run was last timed, and the seconds that it had taken.
    pub fn clock(&self) -> Option<(usize, f64)> {
        let text = self.text(CLOCK_FILE).ok()??;
        let (stretch, seconds) = text.trim().split_once(' ')?;
        let seconds = seconds.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0)?;
        Some((stretch.parse().ok()?, seconds))
    }

    /// Writes what [`clock`](Self::clock) reads, and opens the file to be written over: a kill needs no flush.
    pub(crate) fn open_clock(&self, text: &str) -> Result<File, FileError> {
        let path = self.0.join(CLOCK_FILE);
        files::write(&path, text.as_bytes())?;
        File::options().write(true).open(&path).map_err(at("write", &path))
    }

    pub(crate) fn remove_clock(&self) -> Result<(), FileError> {
        files::remove(&self.0.join(CLOCK_FILE))
    }

    /// The grids of samples, by pictures seen.
    pub fn samples(&self) -> BTreeMap<u64, PathBuf> {
        let folder = self.0.join(SAMPLES);
        let there = fs::symlink_metadata(&folder).is_ok_and(|facts| facts.is_dir());
        let entries = there.then(|| fs::read_dir(&folder).ok()).flatten().into_iter().flatten().take(ENTRIES);
        let grid = |entry: fs::DirEntry| {
            let name =
                entry.file_name().into_string().ok().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file()))?;
            let digits = name.strip_suffix(".png").filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
            Some((digits.parse().ok()?, entry.path()))
        };
        entries.filter_map(|entry| grid(entry.ok()?)).collect()
    }

    /// The PNG of the grid at so many pictures.
    pub fn sample(&self, nimg: u64) -> Option<Vec<u8>> {
        let path = self.samples().remove(&nimg)?;
        let file = self.open(path.strip_prefix(&self.0).ok()?).ok()?;
        files::read_all(file, SAMPLE_BYTES).ok()
    }

    /// Writes the grid of samples at so many pictures.
    pub(crate) fn write_sample(&self, nimg: u64, png: &[u8]) -> Result<PathBuf, FileError> {
        let folder = self.0.join(SAMPLES);
        files::create_folder(&folder)?;
        let path = folder.join(format!("{nimg:09}.png"));
        files::write(&path, png)?;
        Ok(path)
    }

    /// When it last changed.
    pub fn updated(&self) -> SystemTime {
        let files = [LOG_FILE, LENGTH_FILE, CONFIG_FILE, OUTPUT_FILE];
        let times = files.iter().filter_map(|file| fs::symlink_metadata(self.0.join(file)).ok()?.modified().ok());
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The file for what a training says, which is added to.
    ///
    /// # Errors
    /// Whatever the system says, and a link or another thing in its place.
    pub fn open_output(&self) -> Result<File, FileError> {
        files::append(&self.0.join(OUTPUT_FILE))
    }

    /// The last lines of what a training has said; empty where there is nothing.
    pub fn output(&self, lines: usize) -> String {
        let read = || -> Option<String> {
            let mut file = self.open(OUTPUT_FILE).ok()?;
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES))).ok()?;
            let mut bytes = Vec::new();
            file.take(OUTPUT_BYTES).read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Removes a folder in which a training was started that came to nothing: its output, the lock, and itself if it is empty.
    pub fn remove_unbegun(&self) {
        if !self.exists() {
            for file in [OUTPUT_FILE, lock::LOCK_FILE] {
                let _ = fs::remove_file(self.0.join(file));
            }
            let _ = fs::remove_dir(&self.0);
        }
    }

    /// Bytes that a look at the run takes in memory, about: its model and its newest checkpoint as they are read, and twice
    /// more as they are used.
    pub fn weight(&self) -> u64 {
        let largest = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES).filter_map(Result::ok);
            let files = entries.filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file));
            files.map(|facts| facts.len()).max().unwrap_or(0)
        };
        let networks = FOLDERS.iter().map(|network| self.model().join(network));
        let folders = networks.chain([self.checkpoints(), self.model()]).map(largest);
        folders.fold(0u64, |sum, bytes| sum.saturating_add(bytes.saturating_mul(3)))
    }
}
