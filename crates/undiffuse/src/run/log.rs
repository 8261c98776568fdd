//! `metrics.jsonl`: one JSON object a line, appended as things happen.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{LOG_FILE, RunFolder};
use crate::files::{self, FileError, at};

/// The longest line that is read; the program's own are a few hundred bytes.
const LONGEST: u64 = 64 << 10;
/// The most that is read of a whole log: some million steps.
const MOST: u64 = 1 << 30;

/// A line of the log. What is no number, which JSON cannot say, is NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum LogLine {
    /// A step.
    Step(Step),
    /// The loss on held-out pictures.
    Validation {
        /// Pictures seen.
        #[serde(default)]
        nimg: u64,
        /// Mean loss.
        #[serde(default = "nan", deserialize_with = "number")]
        loss: f64,
    },
    /// Training blew up.
    Diverged {
        /// The step that was not done.
        #[serde(default)]
        step: u64,
        /// Pictures seen before it.
        #[serde(default)]
        nimg: u64,
        /// What was seen.
        #[serde(default)]
        what: String,
    },
}

/// One optimiser step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of this step, from 1.
    #[serde(default)]
    pub step: u64,
    /// Pictures seen after it.
    #[serde(default)]
    pub nimg: u64,
    /// The loss: the mean over the step's pictures.
    #[serde(default = "nan", deserialize_with = "number")]
    pub loss: f64,
    /// Norm of the gradient before clipping.
    #[serde(default = "nan", deserialize_with = "number")]
    pub gradient_norm: f64,
    /// Learning rate of the step.
    #[serde(default = "nan", deserialize_with = "number")]
    pub lr: f64,
    /// Pictures a second over the last steps.
    #[serde(default = "nan", deserialize_with = "number")]
    pub images_per_second: f64,
    /// Seconds since the program began with the run.
    #[serde(default = "nan", deserialize_with = "number")]
    pub seconds: f64,
    /// Pictures at the end, once planned.
    #[serde(skip)]
    pub until: Option<u64>,
}

fn nan() -> f64 {
    f64::NAN
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// What a reader of a log meets.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    /// The log was rewritten, as resuming a run may do, or is gone: what was read of it no longer counts.
    Restart,
    /// A line. What is no line of the program's, such as the half one of a killed program, is passed over.
    Line(LogLine),
}

/// Reads a log as it grows.
#[derive(Debug, Default)]
pub struct LogReader {
    /// Bytes read, whole lines only.
    read: u64,
    /// Whether what comes next is the rest of a line that is too long.
    within: bool,
    file: Option<u64>,
}

impl LogReader {
    /// Reads what was appended since the last time, `most` bytes at most. A line without its end is still being written, and
    /// comes when it is whole.
    pub fn read(&mut self, run: &RunFolder, most: u64, mut see: impl FnMut(LogEntry)) {
        let file = run.open(LOG_FILE).ok();
        let facts = file.as_ref().and_then(|file| file.metadata().ok());
        let id = facts.as_ref().and_then(identity);
        let length = facts.map_or(0, |facts| facts.len());
        if self.file != id || length < self.read {
            *self = Self { file: id, ..Self::default() };
            see(LogEntry::Restart);
        }
        let Some(mut file) = file.filter(|_| length > self.read) else { return };
        if file.seek(SeekFrom::Start(self.read)).is_err() {
            return;
        }
        let mut reader = BufReader::with_capacity(1 << 18, file.take(most));
        let mut line = Vec::new();
        while reader.by_ref().take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let whole = line.ends_with(b"\n");
            if !whole && line.len() < LONGEST as usize {
                return;
            }
            self.read += line.len() as u64;
            if whole
                && !self.within
                && let Ok(line) = serde_json::from_slice(&line)
            {
                see(LogEntry::Line(line));
            }
            self.within = !whole;
            line.clear();
        }
    }
}

/// What tells a file from another of the same name.
#[cfg(unix)]
fn identity(facts: &std::fs::Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(facts))
}

#[cfg(not(unix))]
fn identity(facts: &std::fs::Metadata) -> Option<u64> {
    let created = facts.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(created.as_nanos() as u64)
}

impl RunFolder {
    /// The lines of the log, oldest first; none where there is no log.
    pub fn log(&self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        LogReader::default().read(self, MOST, |entry| {
            if let LogEntry::Line(line) = entry {
                lines.push(line);
            }
        });
        lines
    }

    /// Opens the log of a run that stands at `nimg` pictures for writing, and drops the lines of steps that will be done again;
    /// divergences happened, whatever comes after.
    pub(crate) fn log_writer(&self, nimg: u64) -> Result<LogWriter, FileError> {
        let path = self.path().join(LOG_FILE);
        let bytes = files::read_all(files::append(&path)?, u64::MAX).map_err(at("read", &path))?;
        let holds = |line: &&[u8]| {
            let line = serde_json::from_slice::<Value>(line).unwrap_or_default();
            line["event"] == "diverged" || line["nimg"].as_u64().is_some_and(|n| n <= nimg)
        };
        let kept = bytes.split(|byte| *byte == b'\n').filter(holds).collect::<Vec<_>>();
        let kept: Vec<u8> = kept.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        if kept != bytes {
            files::write(&path, &kept)?;
        }
        Ok(LogWriter { file: files::append(&path)?, path })
    }
}

/// The log of a run, open for adding to it.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: File,
    path: PathBuf,
}

impl LogWriter {
    /// Adds a line.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub fn write(&mut self, line: &LogLine) -> Result<(), FileError> {
        let mut text = serde_json::to_string(line).expect("numbers and words serialise");
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(at("write", &self.path))
    }
}
