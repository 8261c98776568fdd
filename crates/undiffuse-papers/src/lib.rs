//! The papers' own experiments: trained from scratch in minutes, their tables beside ours, their figures drawn.
//!
//! ```no_run
//! use undiffuse_papers::{ExperimentOptions, find};
//! # fn main() -> Result<(), undiffuse_papers::Error> {
//! let report = find("heartbeat")?.run(&ExperimentOptions::new("figures"), &mut |event| println!("{}", event.text))?;
//! for row in &report.rows {
//!     println!("{}: {:.3} {} (paper: {:?})", row.what, row.ours, row.unit, row.paper);
//! }
//! # Ok(()) }
//! ```
//!
//! An experiment is one file in `src/experiments/` and one line in [`EXPERIMENTS`]; that line gives the name on the
//! command line, the list, and a place in the tests.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Efron11 | Efron, Tweedie's formula and selection bias |
//! | Goodfellow14 | Goodfellow et al., Generative adversarial networks, arXiv:1406.2661 |
//! | Ho20 | Ho et al., Denoising diffusion probabilistic models, arXiv:2006.11239 |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Karras24 | Karras et al., Analyzing and improving the training dynamics of diffusion models, arXiv:2312.02696 |
//! | Kingma15 | Kingma and Ba, Adam, arXiv:1412.6980 |
//! | Lin18 | Lin et al., PacGAN, arXiv:1712.04086 |
//! | Radford16 | Radford et al., Unsupervised representation learning with DCGAN, arXiv:1511.06434 |
//! | Sohl15 | Sohl-Dickstein et al., Deep unsupervised learning using nonequilibrium thermodynamics, arXiv:1503.03585 |
//! | Song19 | Song and Ermon, Generative modeling by estimating gradients of the data distribution, arXiv:1907.05600 |
//! | Song19b | Song et al., Sliced score matching, arXiv:1905.07088 |
//! | Song20 | Song and Ermon, Improved techniques for training score-based generative models, arXiv:2006.09011 |
//! | Srivastava17 | Srivastava et al., VEEGAN, arXiv:1705.07761 |
//! | Tancik20 | Tancik et al., Fourier features let networks learn high frequency functions in low dimensional domains, arXiv:2006.10739 |
//! | Vincent11 | Vincent, A connection between score matching and denoising autoencoders |
//! | Xu23b | Xu et al., Stable target field, arXiv:2302.00670 |

pub mod adam;
pub mod cnn;
pub mod coverage;
pub mod experiments;
pub mod gan;
pub mod learn;
pub mod mixture;
pub mod mlp;
mod report;
pub mod score;

use std::path::PathBuf;

pub use experiments::EXPERIMENTS;
pub use report::{ExperimentReport, Goal, Row};
use undiffuse::burn::tensor::Device;
use undiffuse_math::registry::did_you_mean;

/// What a run may be told.
#[derive(Clone, Debug)]
pub struct ExperimentOptions {
    /// Folder for figures; made when it is not there.
    pub out: PathBuf,
    /// Every random number of the run follows from it.
    pub seed: u64,
    /// Where tensors live.
    pub device: Device,
    /// A run of seconds that goes through every line of code and whose numbers mean nothing.
    pub quick: bool,
}

impl ExperimentOptions {
    /// A full run on the CPU with seed 0.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self { out: out.into(), seed: 0, device: Device::flex(), quick: false }
    }

    /// `full`, or `quick` in a quick run.
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// News of a running experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentEvent {
    /// How much is done, 0 to 1.
    pub progress: f64,
    /// One line on what was seen.
    pub text: String,
}

/// Hears the news of a running experiment.
pub type Listener<'a> = &'a mut dyn FnMut(ExperimentEvent);

/// Why an experiment gave no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No experiment has this name.
    #[error("unknown experiment `{name}`{hint}; known: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// Every name.
        known: String,
    },
    /// A figure or a folder could not be written, or data not be read.
    #[error(transparent)]
    File(#[from] undiffuse::FileError),
    /// Data that could not be read, or a picture that could not be encoded.
    #[error(transparent)]
    Data(#[from] undiffuse_data::DataError),
    /// Settings that make no walk.
    #[error(transparent)]
    Plan(#[from] undiffuse_math::solver::PlanError),
    /// Numbers that are no longer finite.
    #[error("{what} is not finite at step {step}: training diverged; try another seed, and report this one")]
    Diverged {
        /// Which number.
        what: &'static str,
        /// After so many steps.
        step: usize,
    },
    /// Anything that an experiment alone knows of.
    #[error("{0}")]
    Other(String),
}

/// What an experiment's file exports.
pub type Run = fn(&ExperimentOptions, Listener) -> Result<ExperimentReport, Error>;

/// One line of the registry.
pub struct Experiment {
    /// The name on the command line.
    pub name: &'static str,
    /// One line on what it shows.
    pub doc: &'static str,
    /// The paper and its table or figure.
    pub paper: &'static str,
    /// Trains, measures and draws.
    pub run: Run,
}

impl Experiment {
    /// Trains, measures and draws; the folder for figures is made first, so that a run of minutes does not end at it.
    ///
    /// # Errors
    /// A folder that cannot be made, and whatever the experiment itself meets.
    pub fn run(&self, options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
        std::fs::create_dir_all(&options.out).map_err(undiffuse::files::at("create", &options.out))?;
        (self.run)(options, hear)
    }
}

/// The experiment of that name.
///
/// # Errors
/// [`Error::Unknown`] with every name that is known, and the nearest one.
pub fn find(name: &str) -> Result<&'static Experiment, Error> {
    EXPERIMENTS.iter().find(|e| e.name == name).ok_or_else(|| {
        let known = || EXPERIMENTS.iter().map(|e| e.name);
        let hint = did_you_mean(name, known());
        Error::Unknown { name: name.to_owned(), hint, known: known().collect::<Vec<_>>().join(", ") }
    })
}
