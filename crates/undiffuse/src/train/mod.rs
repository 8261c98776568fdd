//! Training: from a configuration to a run folder with a model in it.
//!
//! [`Trainer`] is an iterator of [`Event`]s. A program that trains is a `for` loop; what it does
//! with the events (draw, print, log, stop) is its own business. What a run leaves is in its [`RunFolder`](crate::run).

pub mod average;
pub mod checkpoint;
mod clock;
pub mod collective;
pub mod config;
pub mod draws;
mod event;
mod folder;
mod journal;
mod kept;
mod layers;
mod learner;
pub mod length;
pub mod loss;
pub mod network;
pub mod networks;
pub mod noise;
mod pace;
pub mod presets;
mod preview;
mod state;
mod task;
mod trainer;
pub mod validation;
mod watchdog;

pub use crate::condition::ConditionConfig;
pub use config::{Config, ConfigError, EPOCHS_MAX, IMAGES_MAX, LrSchedule};
pub use event::{Event, Preview, Started, TrainError};
pub use length::parse_duration;
pub use trainer::{Resume, Trainer};

pub use crate::run::Step;
