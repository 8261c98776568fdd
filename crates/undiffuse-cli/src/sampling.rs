//! How a model is sampled, as every command that samples takes it.

use undiffuse::Model;
use undiffuse::math::prelude::{SolverKind, SpacingKind};
use undiffuse::model::SampleDefaults;
use undiffuse::request::{RequestError, SampleSettings};
use undiffuse::words::Emphasis;

use crate::common::usage;

/// `--solver`, `--spacing`, `--steps`, `--eta`, `--guidance`, and what goes with them.
#[derive(clap::Args, Clone, Debug)]
pub struct Sampling {
    /// Steps of the solver, which sets how often the network is evaluated in each; the model's own number when not given,
    /// or as many as --spacing names
    #[arg(long)]
    pub steps: Option<usize>,
    /// How to step, such as dpmpp-2m or ddim:eta=0.5; `undiffuse plan --list` lists them
    #[arg(long)]
    pub solver: Option<SolverKind>,
    /// Which times to visit, such as karras or trailing, or one by one, such as 'timesteps:at=999;499;0'
    #[arg(long)]
    pub spacing: Option<SpacingKind>,
    /// The solver's eta: 0 is deterministic, 1 as noisy as the forward process
    #[arg(long)]
    pub eta: Option<f64>,
    /// Classifier-free guidance: 1 is none, more follows what is asked for more closely
    #[arg(long)]
    pub guidance: Option<f64>,
    /// How far guided answers are scaled back to the deviation of those without guidance: 0 is not at all, 1 all the way; 0.7 is
    /// usual where pictures come out overexposed \[Lin24\]
    #[arg(long, value_name = "SHARE")]
    pub guidance_rescale: Option<f64>,
    /// The noise levels (sigma / alpha) with guidance, such as 0.3:5; all when not given \[Kynkaanniemi24\]
    #[arg(long, value_name = "LOW:HIGH", value_parser = parse_interval)]
    pub guidance_interval: Option<Interval>,
    /// Layers that are left out at the end of the text encoder, as diffusers counts them: AUTOMATIC1111's number less one
    #[arg(long, value_name = "N")]
    pub clip_skip: Option<usize>,
    /// What is made of words in brackets: original scales a chunk back to its mean, no-norm does not, none reads brackets as
    /// they stand
    #[arg(long, value_name = "HOW")]
    pub emphasis: Option<Emphasis>,
}

/// `LOW:HIGH`.
#[derive(Clone, Copy, Debug)]
pub struct Interval([f64; 2]);

fn parse_interval(text: &str) -> Result<Interval, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| !number.is_nan());
    let ends = text.split_once(':').and_then(|(low, high)| Some([number(low)?, number(high)?]));
    ends.map(Interval).ok_or_else(|| "write LOW:HIGH, such as 0.3:5".into())
}

impl Sampling {
    /// Whether anything was asked for.
    pub fn is_given(&self) -> bool {
        let Self { steps, solver, spacing, eta, guidance, .. } = self;
        let words = self.clip_skip.is_some() || self.emphasis.is_some();
        let guided = guidance.is_some() || self.guidance_rescale.is_some() || self.guidance_interval.is_some();
        steps.is_some() || solver.is_some() || spacing.is_some() || eta.is_some() || guided || words
    }

    /// The model's settings with what was asked for in their place.
    ///
    /// # Errors
    /// Settings that the solver or the model does not have.
    pub fn settings(&self, model: &Model) -> anyhow::Result<SampleDefaults> {
        let Self { steps, solver, spacing, eta, guidance, guidance_rescale, guidance_interval, clip_skip, emphasis } =
            self.clone();
        let guidance_interval = guidance_interval.map(|Interval(ends)| ends);
        let settings = SampleSettings {
            solver,
            spacing,
            steps,
            eta,
            guidance,
            guidance_rescale,
            guidance_interval,
            clip_skip,
            emphasis,
        };
        settings.over(model).map_err(refused)
    }
}

/// A request that the model cannot fulfil, as a mistake on the command line.
pub fn refused(e: RequestError) -> anyhow::Error {
    usage(format!("--{}: {}", e.field.replace('_', "-"), e.problem))
}
