//! The parts that a scheduler config stands for.

use crate::{
    parameterization::ParameterizationKind,
    plan::Plan,
    schedule::ScheduleKind,
    solver::SolverKind,
    spacing::{Grid, GridError, Last, SpacingKind},
};
use serde::{Deserialize, Serialize};

/// How a model is to be sampled: everything that a diffusers scheduler config decides.
///
/// A sampler that runs [`Recipe::plan`] does, for each row: ask the denoiser; clip its answer by [`Recipe::clip`];
/// where [`Recipe::keep_eps`] is set and clipping changed `D` to `D_clipped`, move `x` by `alpha · (D_clipped - D)`;
/// step.
#[derive(Clone, PartialEq, Debug)]
pub struct Recipe {
    /// Time to noise level.
    pub schedule: ScheduleKind,
    /// How the network is read.
    pub parameterization: ParameterizationKind,
    /// Which times are visited.
    pub spacing: SpacingKind,
    /// Where given, `sigma_min` and `sigma_max` of a spacing along sigma are the ends of this one: Euler and Heun
    /// respace the sigmas of their timesteps.
    pub ends: Option<SpacingKind>,
    /// How steps are taken.
    pub solver: SolverKind,
    /// Where sampling ends.
    pub last: Last,
    /// How strong the initial noise is.
    pub start: Start,
    /// What is done to denoised images.
    pub clip: Clip,
    /// DDIM keeps the network's own eps when it clips the denoised image (`use_clipped_model_output = false`); the
    /// others derive it anew.
    pub keep_eps: bool,
    /// DDIM steps from timestep `t` to `t - ⌊T / steps⌋`, which is not the next timestep it visits unless the spacing
    /// divides evenly.
    pub stride: bool,
    /// Langevin steps at the level of each row, before it is run. Their size depends on the images, so no plan can
    /// hold them.
    pub corrector: Option<Corrector>,
    /// The pixel values that mean black and white.
    pub pixels: (f64, f64),
    /// What was ignored or differs from diffusers, in words, for a log.
    pub notes: Vec<String>,
}

/// The strength of the initial noise.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// `sqrt(alpha² + sigma²)` of the first level, as data of unit variance would have.
    #[default]
    Marginal,
    /// `sigma` of the first level.
    Noise,
}

/// What is done to denoised images.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// Nothing.
    #[default]
    None,
    /// Clamped to ± this.
    Range(f64),
    /// With `s` the quantile `ratio` of an image's absolute values, kept between 1 and `max`: clamped to ±`s`, then
    /// divided by `s` [Saharia22, section 2.3].
    Threshold {
        /// Which quantile.
        ratio: f64,
        /// Upper bound on `s`, which wins over the lower one.
        max: f64,
    },
}

/// Langevin corrector of score SDEs [Song21, Algorithm 4]: with `g` the score and `z` fresh noise, `e = 2 (snr ‖z‖ /
/// ‖g‖)²`, `x ← x + e g + sqrt(2 e) z`; norms are of whole images, averaged over the batch.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Corrector {
    /// Corrections before each step.
    pub steps: usize,
    /// Signal-to-noise ratio of a correction.
    pub snr: f64,
}

impl Recipe {
    /// A recipe with nothing unusual: no clipping, all the way to the clean end, pixels in [-1, 1].
    pub fn new(
        schedule: impl Into<ScheduleKind>,
        parameterization: impl Into<ParameterizationKind>,
        spacing: impl Into<SpacingKind>,
        solver: impl Into<SolverKind>,
    ) -> Self {
        Self {
            schedule: schedule.into(),
            parameterization: parameterization.into(),
            spacing: spacing.into(),
            ends: None,
            solver: solver.into(),
            last: Last::Clean,
            start: Start::Marginal,
            clip: Clip::None,
            keep_eps: false,
            stride: false,
            corrector: None,
            pixels: (-1.0, 1.0),
            notes: Vec::new(),
        }
    }

    /// The same model sampled another way: what belonged to the old solver alone is dropped.
    #[must_use]
    pub fn with_solver(self, solver: impl Into<SolverKind>) -> Self {
        Self { solver: solver.into(), keep_eps: false, stride: false, corrector: None, ..self }
    }

    /// The same model at other times.
    #[must_use]
    pub fn with_spacing(self, spacing: impl Into<SpacingKind>) -> Self {
        Self { spacing: spacing.into(), ends: None, stride: false, ..self }
    }

    /// The levels that are visited in `steps` steps.
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps.
    pub fn grid(&self, steps: usize) -> Result<Grid<'_>, GridError> {
        let mut spacing = self.spacing.clone();
        if let Some(ends) = &self.ends {
            let points = Grid::new(&*self.schedule, &**ends, steps, self.last)?.points;
            let (max, min) = (points[0].level.sigma_edm(), points[points.len() - 1].level.sigma_edm());
            match &mut spacing {
                SpacingKind::Karras(karras) => (karras.sigma_min, karras.sigma_max) = (Some(min), Some(max)),
                SpacingKind::Exponential(geometric) => {
                    (geometric.sigma_min, geometric.sigma_max) = (Some(min), Some(max));
                }
                _ => {}
            }
        }
        Grid::new(&*self.schedule, &*spacing, steps, self.last)
    }

    /// The plan for `steps` steps.
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps.
    pub fn plan(&self, steps: usize) -> Result<Plan, GridError> {
        let grid = self.grid(steps)?;
        let mut plan = grid.plan(&*self.solver);
        if let (true, Some(timesteps)) = (self.stride, self.schedule.discrete_steps()) {
            plan.rows.clear();
            for point in &grid.points {
                let time = point.time - (timesteps / steps) as f64;
                let to = if time >= 0.0 { self.schedule.level(time) } else { grid.last };
                let mut rows = self.solver.plan(&[point.level, to]).rows;
                rows.iter_mut().for_each(|row| row.time = Some(point.time));
                plan.rows.append(&mut rows);
            }
        }
        if let (Start::Noise, Some(first)) = (self.start, grid.points.first()) {
            plan.start = first.level.sigma;
        }
        Ok(plan)
    }
}
