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
mod folder;
pub mod length;
mod lock;
mod metrics;
pub mod network;
pub mod presets;
mod preview;
mod state;
mod trainer;
pub mod validation;
mod watchdog;

pub use config::{Config, ConfigError, EPOCHS_MAX, IMAGES_MAX, LrSchedule};
pub use event::{Event, Preview, Started, Step, TrainError};
pub use folder::{data_path, held_out};
pub use length::parse_duration;
pub use lock::is_training;
pub use metrics::log;
pub use trainer::{Resume, Trainer};

/// The file whose presence makes a folder a run.
pub const CONFIG_FILE: &str = "config.toml";
