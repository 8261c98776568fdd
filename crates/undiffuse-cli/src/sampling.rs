//! How a model is sampled, as every command that samples takes it.

use serde_json::json;
use undiffuse::Model;
use undiffuse::math::prelude::{SolverKind, SpacingKind};
use undiffuse::model::SampleDefaults;

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
    /// Classifier-free guidance: 1 is none, more follows the class more closely
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
        let own = model.sample_defaults();
        let mut solver = self.solver.clone().unwrap_or(own.solver);
        if let Some(eta) = self.eta {
            let mut options = solver.options();
            if !options.contains_key("eta") {
                let tag = solver.tag();
                return Err(usage(format!("--eta: the solver `{tag}` has no eta; ddim and euler-ancestral have")));
            }
            options.insert("eta".into(), json!(eta));
            options.insert("kind".into(), json!(solver.tag()));
            solver = SolverKind::from_value(options.into()).map_err(|e| usage(format!("--eta: {e}")))?;
        }
        let guidance = self.guidance.unwrap_or(own.guidance);
        if self.guidance.is_some_and(|g| g != 1.0) && model.card.null_class.is_none() {
            return Err(usage(
                "--guidance needs a model that was trained with classes and label dropout; this one was not",
            ));
        }
        if !guidance.is_finite() {
            return Err(usage("--guidance must be a number"));
        }
        let spacing = self.spacing.clone().unwrap_or(own.spacing);
        Ok(SampleDefaults { solver, spacing, steps: self.steps.unwrap_or(own.steps), guidance })
    }
}
