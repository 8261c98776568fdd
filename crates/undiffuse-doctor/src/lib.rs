//! What ails a run: reads what a training left behind and says in sentences what is likely wrong, why, and what to change.
//!
//! [`diagnose`] reads a [`Run`] once and asks every line of [`CHECKS`] about it. A check is one function of what was read; it
//! answers nothing, or a [`Finding`] with its evidence. Whatever a run lacks (its data are gone, no model yet) is named in
//! [`Diagnosis::unseen`], and the checks that need it stay silent.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Kingma21 | Kingma et al., Variational diffusion models, arXiv:2107.00630 |
//! | Lin24 | Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv:2305.08891 |

mod checks;
mod facts;
mod log;
mod pictures;
mod probe;
mod run;
mod samples;
mod state;

use std::path::{Path, PathBuf};

use serde::Serialize;
use undiffuse::burn::tensor::Device;
use undiffuse::train::ConfigError;
use undiffuse::{FileError, device};

pub use checks::CHECKS;
pub use log::{Failure, Log};
pub use pictures::DataStatistics;
pub use probe::{Probe, Reading, SIGMAS};
pub use run::Run;
pub use samples::Samples;
pub use state::{Checkpoint, TensorFacts};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The pictures will be wrong.
    Problem,
    /// The pictures will be worse than they could be.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something that is likely wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub tag: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is likely wrong, a sentence.
    pub what: String,
    /// The numbers that say so, a line each.
    pub evidence: Vec<String>,
    /// What to change, with the flag or setting.
    pub change: String,
}

impl Finding {
    /// A finding without evidence yet; the check's tag is filled in by [`diagnose`].
    pub fn new(severity: Severity, what: impl Into<String>, change: impl Into<String>) -> Self {
        Self { tag: "", severity, what: what.into(), evidence: Vec::new(), change: change.into() }
    }

    /// With a line of evidence.
    #[must_use]
    pub fn because(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }
}

/// One thing that is looked at.
pub struct Check {
    /// Its name.
    pub tag: &'static str,
    /// What it looks for.
    pub about: &'static str,
    /// Looks.
    pub run: fn(&Run) -> Option<Finding>,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The run or model folder.
    pub path: PathBuf,
    /// Whether it is a training run, not a bare model.
    pub is_run: bool,
    /// What was looked at, names and values.
    pub facts: Vec<(&'static str, String)>,
    /// What is likely wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
    /// How many checks were asked.
    pub checks: usize,
}

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// Neither a run nor a model.
    #[error(
        "`{path}` is neither a training run nor a model: {missing}; give the folder that `undiffuse train` printed, or a diffusers folder"
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What it lacks.
        missing: String,
    },
    /// Of a CLIP.
    #[error(
        "`{0}` is of a CLIP, and the doctor examines what makes pictures: `undiffuse inspect` shows its losses, and what it is \
         worth `undiffuse eval --judge` says of captioned pictures"
    )]
    Clip(PathBuf),
    /// The run's configuration cannot be read.
    #[error("`{path}` cannot be understood: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No device to compute on.
    #[error(transparent)]
    Device(#[from] device::DeviceError),
}

/// Looks at a run of `undiffuse train`, or at a bare model folder, on the CPU.
///
/// # Errors
/// Folders that are neither; a configuration that cannot be read. Anything else that cannot be read is a finding or a line
/// in [`Diagnosis::unseen`].
pub fn diagnose(path: &Path) -> Result<Diagnosis, DoctorError> {
    examine(path, None, &device::open("cpu")?)
}

/// As [`diagnose`], without opening the pictures that a run's configuration names, for whoever does not trust it; `why` goes to
/// [`Diagnosis::unseen`].
///
/// # Errors
/// As [`diagnose`].
pub fn diagnose_without_data(path: &Path, why: &str) -> Result<Diagnosis, DoctorError> {
    look(path, Data::Closed(why), &device::open("cpu")?)
}

/// As [`diagnose`], with pictures for a model that has none of its own or a run whose data have moved, on a device.
///
/// # Errors
/// As [`diagnose`].
pub fn examine(path: &Path, data: Option<&Path>, device: &Device) -> Result<Diagnosis, DoctorError> {
    look(path, data.map_or(Data::Own, Data::At), device)
}

/// Where the pictures are.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Where the run's configuration says.
    Own,
    /// Here: for models that have none, and runs whose data moved.
    At(&'a Path),
    /// They are not to be opened, and this is why.
    Closed(&'a str),
}

fn look(path: &Path, data: Data, device: &Device) -> Result<Diagnosis, DoctorError> {
    let run = Run::read(path, data, device)?;
    let found = |check: &Check| (check.run)(&run).map(|finding| Finding { tag: check.tag, ..finding });
    let mut findings: Vec<Finding> = CHECKS.iter().filter_map(found).collect();
    findings.sort_by_key(|f| f.severity);
    Ok(Diagnosis {
        path: path.to_owned(),
        is_run: run.config.is_some(),
        facts: run.facts(),
        findings,
        unseen: run.unseen,
        checks: CHECKS.len(),
    })
}
