//! Training: from a configuration to a run folder with a model in it.
//!
//! [`Trainer`] is an iterator of [`Event`]s. A program that trains is a `for` loop; what it does
//! with the events (draw, print, log, stop) is its own business.
//!
//! ```text
//! runs/NAME/
//!   config.toml       the resolved configuration
//!   length.json       the planned length, fixed before the learning rate depends on it
//!   metrics.jsonl     one line a step, validation or divergence
//!   samples/          grids of samples along the way
//!   checkpoints/      the newest states, each one file
//!   model/            the averaged network as a diffusers folder
//! ```

pub mod average;
pub mod checkpoint;
pub mod config;
pub mod draws;
mod event;
pub mod length;
mod metrics;
pub mod network;
pub mod presets;
mod preview;
mod state;
mod trainer;
pub mod validation;
mod watchdog;

pub use config::{Config, ConfigError, LrSchedule};
pub use event::{Event, Preview, Started, Step, TrainError};
pub use length::parse_duration;
pub use trainer::{Extension, Trainer, held_out};

/// The file whose presence makes a folder a run.
pub const CONFIG_FILE: &str = "config.toml";
