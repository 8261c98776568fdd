//! What is written of a run, by one rank alone: log, checkpoints, grids of samples, the model.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use undiffuse_data::encode_png;

use super::learner::Learner;
use super::length::Length;
use super::{Event, Preview, TrainError, checkpoint, preview};
use crate::run::{LogLine, LogWriter, RunFolder};

/// A run's folder, open for writing.
pub(super) struct Journal {
    pub run: RunFolder,
    log: LogWriter,
    saved: Instant,
    // Held, not read: dropping it lets another program have the run.
    _lock: File,
}

/// Takes a run for this program.
pub(super) fn lock(run: &RunFolder) -> Result<File, TrainError> {
    run.lock()?.ok_or_else(|| TrainError::Locked(run.path().to_owned()))
}

impl Journal {
    /// The journal of a run that stands at `nimg` pictures and that `lock` has taken for this program.
    pub(super) fn open(run: RunFolder, nimg: u64, lock: File) -> Result<Self, TrainError> {
        let log = run.log_writer(nimg)?;
        Ok(Self { run, log, saved: Instant::now(), _lock: lock })
    }

    /// Adds a line to the log.
    pub(super) fn note(&mut self, line: &LogLine) -> Result<(), TrainError> {
        Ok(self.log.write(line)?)
    }

    /// Writes down the length, before anything depends on it.
    pub(super) fn decide(&self, length: &Length) -> Result<(), TrainError> {
        self.run.write_length(length)
    }

    /// Whether the last checkpoint is so many seconds old.
    pub(super) fn is_save_due(&self, seconds: f64) -> bool {
        self.saved.elapsed().as_secs_f64() >= seconds
    }

    /// Writes a checkpoint.
    pub(super) fn save(&mut self, learner: &mut dyn Learner, length: &Length) -> Result<Event, TrainError> {
        let (counters, tensors) = learner.state(length.until());
        let path = checkpoint::save(&self.run.checkpoints(), &counters, &tensors)?;
        self.saved = Instant::now();
        Ok(Event::Saved { nimg: counters.nimg, path })
    }

    /// Writes the model as it is now.
    pub(super) fn write_model(&self, learner: &dyn Learner) -> Result<PathBuf, TrainError> {
        let path = self.run.model();
        learner.product().save(&path)?;
        Ok(path)
    }

    /// Samples the model as it is now; nothing where it makes no pictures, or the network no numbers of them.
    pub(super) fn preview(&self, learner: &dyn Learner) -> Result<Option<Preview>, TrainError> {
        let Some(model) = learner.product().model() else { return Ok(None) };
        let Some(grid) = preview::preview(&model)? else { return Ok(None) };
        let nimg = learner.counters().nimg;
        let path = self.run.write_sample(nimg, &encode_png(&grid, &[])?)?;
        Ok(Some(Preview { nimg, path, grid }))
    }
}
