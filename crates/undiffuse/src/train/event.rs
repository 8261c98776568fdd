//! What a training run tells its consumer.

use std::path::PathBuf;

use undiffuse_data::{DataError, Image};
use undiffuse_math::solver::PlanError;

use super::config::ConfigError;
use crate::files::FileError;
use crate::memory::TooLarge;
use crate::model::ModelError;
use crate::run::Step;

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Everything is loaded; training begins or goes on.
    Started(Started),
    /// The end of a run with a budget was decided, from the clock; it is decided again as the run goes on.
    Planned {
        /// Pictures at the end.
        until: u64,
        /// Measured speed.
        images_per_second: f64,
        /// What is left of the budget.
        seconds_left: f64,
    },
    /// One optimiser step.
    Step(Step),
    /// The loss on held-out pictures.
    Validated {
        /// Pictures seen.
        nimg: u64,
        /// Mean loss.
        loss: f64,
    },
    /// Samples of the model as it is now.
    Preview(Preview),
    /// The state is safe on disk.
    Saved {
        /// Pictures seen.
        nimg: u64,
        /// The checkpoint.
        path: PathBuf,
    },
    /// The planned length is reached and the model written.
    Finished {
        /// Pictures seen.
        nimg: u64,
        /// The model folder.
        model: PathBuf,
    },
}

/// What a run works on.
#[derive(Clone, Debug)]
pub struct Started {
    /// The run folder.
    pub run: PathBuf,
    /// Pictures that are trained on.
    pub images: usize,
    /// Pictures kept for validation.
    pub held_out: usize,
    /// Side of the pictures.
    pub size: usize,
    /// Channels of the pictures.
    pub channels: usize,
    /// Names of the classes; empty for an unconditional model.
    pub classes: Vec<String>,
    /// Numbers in the network.
    pub parameters: usize,
    /// Pictures seen before, when a run is resumed.
    pub nimg: u64,
    /// Warnings about the data, each a sentence.
    pub warnings: Vec<String>,
}

/// Samples along the way.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Pictures seen.
    pub nimg: u64,
    /// Where the grid was written.
    pub path: PathBuf,
    /// The grid.
    pub grid: Image,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A checkpoint or model could not be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The folder holds a run already.
    #[error("`{0}` holds a run already: continue it with --resume {0}, or name another folder with --run")]
    Exists(PathBuf),
    /// There is no run in the folder.
    #[error("there is no run at `{0}`: it has no config.toml")]
    NoRun(PathBuf),
    /// The folder is no run, and holds what one has left.
    #[error(
        "`{0}` holds checkpoints, a model or a log of a run whose config.toml is gone: put that back, or name another folder with --run"
    )]
    Remains(PathBuf),
    /// The run would write into the folder of its pictures.
    #[error("`{0}` is the folder of the pictures: name another one for the run with --run")]
    AmongPictures(PathBuf),
    /// What a run would go on from is not there.
    #[error(
        "the run at `{run}` cannot go on: {what}. Put it back from a copy, or start over with: undiffuse train --resume {run} --restart. The model that is there is untouched"
    )]
    Lost {
        /// The run.
        run: PathBuf,
        /// What is missing or damaged.
        what: String,
    },
    /// Another program is training in the folder.
    #[error("another program is training in `{0}`")]
    Locked(PathBuf),
    /// The data are not where the run knows them.
    #[error(
        "the pictures of the run `{run}` are not at `{path}`: put them back, or say where they are now: undiffuse train --resume {run} --data PLACE"
    )]
    DataGone {
        /// The run.
        run: PathBuf,
        /// Where the pictures should be.
        path: PathBuf,
    },
    /// The data is not what the run began with.
    #[error(
        "the pictures at `{path}` are not those that this run began with: the fingerprint of all pixels and classes is {now} and was {before}. Say where the old ones are with --data, or start a new run"
    )]
    DataChanged {
        /// The data.
        path: String,
        /// Fingerprint that the run recorded.
        before: String,
        /// Fingerprint now.
        now: String,
    },
    /// The pictures' size and the network do not fit.
    #[error("{0}")]
    Network(String),
    /// A length that the run cannot have.
    #[error("{0}")]
    Length(String),
    /// The model cannot be sampled as it is configured.
    #[error("samples along the run cannot be made with these settings of [sample]: {0}")]
    Sample(#[from] PlanError),
    /// The network and a batch do not fit into memory.
    #[error("{0}; lower train.batch, or raise train.accumulate, which splits it")]
    TooLarge(#[from] TooLarge),
    /// Training blew up.
    #[error(
        "training diverged at step {step} ({nimg} images): {what}. Lower the learning rate: begin again with --set train.lr={advice:.1e}, or write train.lr = {advice:.1e} into the run's config.toml and continue from the last good checkpoint with --resume; it was not overwritten"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// Pictures seen before it.
        nimg: u64,
        /// What was seen.
        what: String,
        /// A learning rate to try.
        advice: f64,
    },
}

impl TrainError {
    /// A configuration that cannot be used.
    pub(super) fn wrong(problem: impl Into<String>) -> Self {
        Self::Config(ConfigError(vec![problem.into()]))
    }
}
