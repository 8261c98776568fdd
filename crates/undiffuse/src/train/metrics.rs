//! `metrics.jsonl`: one JSON object a line, appended as things happen.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::files::{self, FileError, at};

pub(super) const LOG_FILE: &str = "metrics.jsonl";

/// The lines of a run's log, oldest first, of whatever kind; nothing where there is none. A killed program leaves the last one
/// half-written: what is no JSON is an error in its place, and the others count.
pub fn log(run: &Path) -> Vec<serde_json::Result<Value>> {
    let file = files::open_inside(run, LOG_FILE.as_ref()).ok();
    let bytes = file.and_then(|file| files::read_all(file, u64::MAX).ok()).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(serde_json::from_slice).collect()
}

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
    pub fn open(run: &Path, nimg: u64) -> Result<Self, FileError> {
        let path = run.join(LOG_FILE);
        let file = files::append(&path)?;
        let bytes = files::read_all(file, u64::MAX).map_err(at("read", &path))?;
        let holds = |line: &&[u8]| {
            let line = serde_json::from_slice::<Value>(line).unwrap_or_default();
            line["event"] == "diverged" || line["nimg"].as_u64().is_some_and(|n| n <= nimg)
        };
        let kept = bytes.split(|byte| *byte == b'\n').filter(holds).collect::<Vec<_>>();
        let kept: Vec<u8> = kept.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        if kept != bytes {
            files::write(&path, &kept)?;
        }
        Ok(Self(files::append(&path)?, path.display().to_string()))
    }

    /// Appends a line.
    pub fn write(&mut self, line: &Line) -> Result<(), FileError> {
        let mut text = serde_json::to_string(line).expect("metrics serialise");
        text.push('\n');
        self.0.write_all(text.as_bytes()).map_err(at("write", Path::new(&self.1)))
    }
}
