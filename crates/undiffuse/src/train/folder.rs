//! What of a run's folder is made of the trainer's types: configuration, length, checkpoints, data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use undiffuse_data::{Dataset, HeldOut, Opening};
use undiffuse_nn::weights::{Named, WeightsError};

use super::checkpoint::{self, Counters};
use super::config::Config;
use super::length::Length;
use super::{ConfigError, TrainError};
use crate::files;
use crate::run::{LENGTH_FILE, RunFolder};

impl RunFolder {
    /// The configuration.
    ///
    /// # Errors
    /// No run, a file that cannot be read, a configuration that cannot be used.
    pub fn config(&self) -> Result<Config, TrainError> {
        match self.config_text()? {
            Some(text) => Ok(Config::from_toml(&text)?),
            None => Err(TrainError::NoRun(self.path().to_owned())),
        }
    }

    /// The planned length; of no stretch where it is not planned yet.
    ///
    /// # Errors
    /// A file that cannot be read, or says what no run can be.
    pub fn length(&self) -> Result<Length, TrainError> {
        let Some(text) = self.text(LENGTH_FILE)? else { return Ok(Length::default()) };
        let parsed = serde_json::from_str::<Length>(&text).map_err(|e| e.to_string());
        parsed
            .and_then(Length::checked)
            .map_err(|e| self.lost(format!("`{LENGTH_FILE}`, which says how long it is, is damaged ({e})")))
    }

    /// Seconds of the budget of the last stretch of this run's `length`, and how many of them are used.
    pub fn budget(&self, length: &Length) -> Option<(f64, f64)> {
        let last = length.segments.last()?;
        let decided = last.decisions.last().map_or(0.0, |decision| decision.seconds);
        let timed = self.clock().filter(|(stretch, _)| stretch + 1 == length.segments.len());
        Some((last.budget?, timed.map_or(decided, |(_, seconds)| seconds.max(decided))))
    }

    pub(super) fn write_length(&self, length: &Length) -> Result<(), TrainError> {
        Ok(self.write(LENGTH_FILE, &serde_json::to_string_pretty(length).expect("numbers serialise"))?)
    }

    /// What the run cannot go on without.
    pub(super) fn lost(&self, what: String) -> TrainError {
        TrainError::Lost { run: self.path().to_owned(), what }
    }

    /// What `take` makes of the newest checkpoint that it can be made of, and what is wrong with newer ones.
    pub fn newest<T>(
        &self,
        mut take: impl FnMut(&Path, Counters, BTreeMap<String, Named>) -> Result<T, WeightsError>,
    ) -> (Option<T>, Vec<WeightsError>) {
        let mut broken = Vec::new();
        for path in checkpoint::all(&self.checkpoints()).into_iter().rev() {
            match checkpoint::load(&path).and_then(|(counters, tensors)| take(&path, counters, tensors)) {
                Ok(taken) => return (Some(taken), broken),
                Err(e) => broken.push(e),
            }
        }
        (None, broken)
    }

    /// Where the pictures are. Runs note the full path; a relative one, from an older program or another's hand, is tried from
    /// the current folder, then from the run's and those above it.
    pub fn data_path(&self, config: &Config) -> PathBuf {
        let path = Path::new(&config.data.path);
        if path.exists() || path.is_absolute() {
            return path.to_owned();
        }
        let run = fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        run.ancestors().map(|folder| folder.join(path)).find(|place| place.exists()).unwrap_or_else(|| path.to_owned())
    }

    /// The data at `path`, if they are those that the run began with.
    pub(super) fn open_data(
        &self,
        config: &Config,
        path: &Path,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<Dataset, TrainError> {
        if !path.exists() {
            return Err(TrainError::DataGone { run: self.path().to_owned(), path: path.to_owned() });
        }
        let data = Dataset::open_with(path, &config.data.options(), progress)?;
        let before =
            self.fingerprint().ok_or_else(|| self.lost("it does not say which pictures it began with".into()))?;
        if before != data.fingerprint() {
            let (path, now) = (path.display().to_string(), data.fingerprint().to_owned());
            return Err(TrainError::DataChanged { path, before, now });
        }
        Ok(data)
    }

    /// Its data, and which of the pictures were kept out of training.
    ///
    /// # Errors
    /// No run, data that cannot be read or are not those that the run began with.
    pub fn held_out(&self, progress: &mut dyn FnMut(Opening)) -> Result<(Dataset, Vec<usize>), TrainError> {
        let config = self.config()?;
        let data = self.open_data(&config, &self.data_path(&config), progress)?;
        let split = data.split(HeldOut::Fraction(config.data.held_out), config.train.seed);
        Ok((data, split.held_out))
    }

    /// Refuses a folder for a new run that holds one, or what is left of one.
    pub(super) fn refuse_used(&self) -> Result<(), TrainError> {
        let path = self.path();
        if self.exists() {
            return Err(TrainError::Exists(path.to_owned()));
        }
        let trained = checkpoint::numbered(&self.checkpoints()).iter().any(|(nimg, _)| *nimg > 0);
        match trained || self.has_learned() {
            true => Err(TrainError::Remains(path.to_owned())),
            false => Ok(()),
        }
    }

    /// Refuses a run among the pictures that it is trained on; says if it lies below them.
    pub(super) fn among(&self, data: &Path) -> Result<Option<String>, TrainError> {
        let run = self.path();
        let (Ok(inner), Ok(outer)) = (fs::canonicalize(run), fs::canonicalize(data)) else { return Ok(None) };
        if inner == outer {
            return Err(TrainError::AmongPictures(run.to_owned()));
        }
        let said = || {
            format!("the run's folder `{}` lies inside the data: what it writes there is not trained on", run.display())
        };
        Ok(inner.starts_with(&outer).then(said))
    }

    /// Removes what the run has learned, so that it starts over.
    pub(super) fn clear(&self) -> Result<(), TrainError> {
        for path in checkpoint::all(&self.checkpoints()) {
            files::remove(&path)?;
        }
        self.remove_clock()?;
        Ok(files::remove(&self.path().join(LENGTH_FILE))?)
    }
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
