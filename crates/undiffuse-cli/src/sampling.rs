//! How a model is sampled, as every command that samples takes it.

use undiffuse::Model;
use undiffuse::math::prelude::{SolverKind, SpacingKind};
use undiffuse::model::SampleDefaults;
use undiffuse::request::{RequestError, SampleSettings};

use crate::common::usage;

/// `--solver`, `--spacing`, `--steps`, `--eta`, `--guidance`.
#[derive(clap::Args, Clone, Debug)]
pub struct Sampling {
    /// Steps of the solver, which sets how often the network is evaluated in each; the model's own number when not given
    #[arg(long)]
    pub steps: Option<usize>,
    /// How to step, such as dpmpp-2m or ddim:eta=0.5; `undiffuse plan --list` lists them
    #[arg(long)]
    pub solver: Option<SolverKind>,
    /// Which times to visit, such as karras or trailing
    #[arg(long)]
    pub spacing: Option<SpacingKind>,
    /// The solver's eta: 0 is deterministic, 1 as noisy as the forward process
    #[arg(long)]
    pub eta: Option<f64>,
    /// Classifier-free guidance: 1 is none, more follows what is asked for more closely
    #[arg(long)]
    pub guidance: Option<f64>,
}

impl Sampling {
    /// Whether anything was asked for.
    pub fn is_given(&self) -> bool {
        let Self { steps, solver, spacing, eta, guidance } = self;
        steps.is_some() || solver.is_some() || spacing.is_some() || eta.is_some() || guidance.is_some()
    }

    /// The model's settings with what was asked for in their place.
    ///
    /// # Errors
    /// Settings that the solver or the model does not have.
    pub fn settings(&self, model: &Model) -> anyhow::Result<SampleDefaults> {
        let Self { steps, solver, spacing, eta, guidance } = self.clone();
        SampleSettings { solver, spacing, steps, eta, guidance }.over(model).map_err(refused)
    }
}

/// A request that the model cannot fulfil, as a mistake on the command line.
pub fn refused(e: RequestError) -> anyhow::Error {
    usage(format!("--{e}"))
}
