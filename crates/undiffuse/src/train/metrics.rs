//! `metrics.jsonl`: one JSON object a line, appended as things happen.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::files::{FileError, at};

/// The open log of a run.
pub struct Metrics(File, String);

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line<'a> {
    /// A step.
    Step(&'a super::Step),
    /// A validation.
    Validation {
        /// Pictures seen.
        nimg: u64,
        /// Mean loss.
        loss: f64,
    },
    /// Training blew up.
    Diverged {
        /// The step that was not done.
        step: u64,
        /// Pictures seen before it.
        nimg: u64,
        /// What was seen.
        what: &'a str,
    },
}

impl Metrics {
    /// Opens the log of a run that stands at `nimg` pictures, and drops the lines of steps that
    /// will be done again; divergences happened, whatever comes after.
    pub fn open(path: &Path, nimg: u64) -> Result<Self, FileError> {
        if let Ok(text) = fs::read_to_string(path) {
            let holds = |line: &&str| {
                let line = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
                line["event"] == "diverged" || line["nimg"].as_u64().is_some_and(|n| n <= nimg)
            };
            let kept: String = text.lines().filter(holds).flat_map(|line| [line, "\n"]).collect();
            if kept != text {
                crate::files::write(path, kept.as_bytes())?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(at("write", path))?;
        Ok(Self(file, path.display().to_string()))
    }

    /// Appends a line.
    pub fn write(&mut self, line: &Line) -> Result<(), FileError> {
        let mut text = serde_json::to_string(line).expect("metrics serialise");
        text.push('\n');
        self.0.write_all(text.as_bytes()).map_err(at("write", Path::new(&self.1)))
    }
}
