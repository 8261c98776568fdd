//! Recipes: all that is decided about sampling a model, apart from its network.

use crate::{
    level::NoiseLevel,
    parameterization::ParameterizationKind,
    plan::{Plan, Row},
    schedule::ScheduleKind,
    solver::{Ddim, DdimInverse, PlanError, Plms, PlmsStart, Solver, SolverKind},
    spacing::{Grid, GridError, Last, Point, SpacingKind},
};
use serde::{Deserialize, Serialize};

/// How a model is to be sampled: what diffusers keeps in a scheduler config, which
/// [`from_json`](Self::from_json) reads and [`to_value`](Self::to_value) writes.
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
    /// Where given, the network's timesteps are the times of this one, while the steps go by the levels of the other: the
    /// samplers of score SDEs stop at a time just above 0 for the network alone [Song21, Appendix C].
    pub timesteps: Option<SpacingKind>,
    /// How steps are taken.
    pub solver: SolverKind,
    /// Where given, the network has twice the output channels. The second half says the variance of the noise in place
    /// of the plan's, whose means stay, where the solver [takes it](Solver::takes_variance); others leave it unread.
    pub learned_variance: Option<Learned>,
    /// Where sampling ends.
    pub last: Last,
    /// How strong the initial noise is.
    pub start: Start,
    /// What is done to denoised images.
    pub clip: Clip,
    /// Where given, the clipped denoised image is drawn towards `x` at the clean end.
    pub boundary: Option<Boundary>,
    /// DDIM keeps the network's own eps when it clips the denoised image (`use_clipped_model_output = false`); the
    /// others derive it again.
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

/// The boundary condition of consistency models on timesteps: `D ← c_skip x + c_out D`, with `u = scaling t`, `c_skip = s² / (u² + s²)`, `c_out =
/// u / sqrt(u² + s²)` and `s = 0.5` [Luo23, in its code]. It is part of a plan's rows.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Boundary {
    /// Factor on the timestep; diffusers' `timestep_scaling`.
    pub scaling: f64,
}

impl Boundary {
    /// `(c_skip, c_out)` at a timestep.
    fn weights(self, time: f64) -> (f64, f64) {
        let (u, s) = (self.scaling * time, 0.5);
        ((s / u.hypot(s)).powi(2), u / u.hypot(s))
    }
}

/// How the second half of a network's channels says the variance of an ancestral step, element by element
/// [Nichol21, section 3.1]. Such a network outputs `[B, 2 C, H, W]`: what its parameterization reads, then the
/// variance.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learned {
    /// The output is the variance itself.
    Direct,
    /// The output in `[-1, 1]` is a place between the logarithms of the two fixed variances [Nichol21, Eq. 15]: with
    /// `f = (output + 1) / 2`, `variance = large^f · small^(1 - f)`. Outputs beyond that range extrapolate.
    Range,
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
            timesteps: None,
            solver: solver.into(),
            learned_variance: None,
            last: Last::Clean,
            start: Start::Marginal,
            clip: Clip::None,
            boundary: None,
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
        Self { solver: solver.into(), boundary: None, keep_eps: false, stride: false, corrector: None, ..self }
    }

    /// The same model at other times.
    #[must_use]
    pub fn with_spacing(self, spacing: impl Into<SpacingKind>) -> Self {
        Self { spacing: spacing.into(), ends: None, timesteps: None, stride: false, ..self }
    }

    /// The levels that are visited in `steps` steps.
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps; options out of their range.
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
                SpacingKind::Beta(beta) => (beta.sigma_min, beta.sigma_max) = (Some(min), Some(max)),
                _ => {}
            }
        }
        let mut grid = Grid::new(&*self.schedule, &*spacing, steps, self.last)?;
        if let Some(timesteps) = &self.timesteps {
            let read = Grid::new(&*self.schedule, &**timesteps, steps, self.last)?.points;
            grid.points.iter_mut().zip(read).for_each(|(point, read)| point.time = read.time);
        }
        if let SolverKind::Plms(Plms { start: PlmsStart::RungeKutta, .. }) = self.solver {
            self.halve(&mut grid.points, steps);
        }
        Ok(grid)
    }

    /// How many evaluations of the network the plan for `steps` steps takes.
    ///
    /// # Errors
    /// As [`grid`](Self::grid).
    pub fn nfe(&self, steps: usize) -> Result<usize, GridError> {
        let grid = self.grid(steps)?;
        Ok(match self.stride(steps) {
            Some(stride) => {
                let nfe = |point: &Point| self.solver.nfe(&[point.level, self.below(point, stride, grid.last)]);
                grid.points.iter().map(nfe).sum()
            }
            None => self.solver.nfe(&grid.levels()),
        })
    }

    /// The plan for `steps` steps.
    ///
    /// # Errors
    /// As [`grid`](Self::grid) and [`Solver::plan`].
    pub fn plan(&self, steps: usize) -> Result<Plan, PlanError> {
        let grid = self.grid(steps)?;
        let mut plan = self.along(&grid)?;
        if let Some(stride) = self.stride(steps) {
            plan.rows = self.strides(&grid, stride)?;
        }
        if let SolverKind::Dpm2Ancestral(_) = self.solver {
            // The middle of a step falls on the next level. The network reads the time of that level, which on tables
            // is not quite that of the point, be it rounded or interpolated.
            plan.rows.iter_mut().filter(|row| row.level == row.next).for_each(|row| row.time = None);
        }
        if let (Start::Noise, Some(first), false) = (self.start, grid.points.first(), self.solver.rises()) {
            plan.init_noise_sigma = first.level.sigma;
        }
        Ok(plan)
    }

    /// The plan through the points of a grid, which may be the last ones of [`grid`](Self::grid): for walks that begin at a picture.
    ///
    /// # Errors
    /// As [`Solver::plan`].
    pub fn along(&self, grid: &Grid) -> Result<Plan, PlanError> {
        let mut plan = grid.plan(&*self.solver)?;
        if let Some(boundary) = self.boundary {
            for (row, time) in plan.rows.iter_mut().filter_map(|row| row.time.map(|time| (row, time))) {
                let (skip, out) = boundary.weights(time);
                if let (Some(x), Some(denoised)) = (row.x.first_mut(), row.denoised.first_mut()) {
                    *x += *denoised * skip;
                    *denoised *= out;
                }
            }
        }
        Ok(plan)
    }

    /// Puts a point in the middle of each of the first three steps, where a Runge-Kutta start evaluates twice. (Where a
    /// step has an odd number of timesteps diffusers has two middles next to each other; this is the cleaner one.)
    fn halve(&self, points: &mut Vec<Point>, steps: usize) {
        for k in (0..points.len().saturating_sub(1).min(3)).rev() {
            let half = match self.schedule.discrete_steps() {
                Some(timesteps) => (timesteps / steps / 2) as f64,
                None => (points[k].time - points[k + 1].time) / 2.0,
            };
            points.insert(k + 1, Point::at(&*self.schedule, points[k + 1].time + half));
        }
    }

    /// How many timesteps each step goes down, where that is what a step is.
    fn stride(&self, steps: usize) -> Option<usize> {
        self.schedule.discrete_steps().filter(|_| self.stride).map(|timesteps| timesteps / steps)
    }

    /// The level a stride below a point, or the last one.
    fn below(&self, point: &Point, stride: usize, last: NoiseLevel) -> NoiseLevel {
        let time = point.time - stride as f64;
        if time >= 0.0 { self.schedule.level(time) } else { last }
    }

    /// The rows of DDIM, or of its inversion, between each point and the timestep a stride away from it.
    fn strides(&self, grid: &Grid, stride: usize) -> Result<Vec<Row>, PlanError> {
        let mut points: Vec<&Point> = grid.points.iter().collect();
        if self.solver.rises() {
            points.reverse();
        }
        let mut all = Vec::new();
        for point in points {
            let cleaner = self.below(point, stride, grid.last);
            let rows = match self.solver {
                SolverKind::DdimInverse(DdimInverse { iterations: 1 }) => vec![self.inverse(cleaner, point.level)],
                _ => self.solver.plan(&[point.level, cleaner])?.rows,
            };
            all.extend(rows.into_iter().map(|row| Row { time: Some(point.time), ..row }));
        }
        Ok(all)
    }

    /// A step of `DDIMInverseScheduler`: what the network answers for the timestep of `to` is read as if it were
    /// about the level of `x`, `from`. Where that has no noise the denoised image would say nothing of the answer
    /// `F`: it is read at `to` there, and `F = (D - skip x) / out` solved for, unless the network answers `x0` alone.
    fn inverse(&self, from: NoiseLevel, to: NoiseLevel) -> Row {
        let (asked, meant) = (self.parameterization.scaling(to), self.parameterization.scaling(from));
        if from.sigma > 0.0 || meant.target_eps == 0.0 {
            let (level, rows) = if from.sigma > 0.0 {
                (from, Ddim::default().unchecked_plan(&[from, to]).rows)
            } else {
                (to, DdimInverse::default().unchecked_plan(&[to, from]).rows)
            };
            return Row { level, ..rows.into_iter().next().unwrap_or_default() };
        }
        // eps = (F - target_x0 x) / target_eps, x being the clean image.
        let weight = to.sigma / meant.target_eps;
        let x = to.alpha / from.alpha - weight * (asked.skip / asked.out + meant.target_x0 / from.alpha);
        Row { level: to, time: None, next: to, x: vec![x], denoised: vec![weight / asked.out], noise: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parameterization::Eps, schedule::Linear, solver::Euler, spacing::Trailing};

    fn recipe() -> Recipe {
        Recipe::new(Linear::default(), Eps {}, Trailing {}, Ddim::default())
    }

    #[test]
    fn a_walk_begins_as_noisy_as_its_start_says() {
        let marginal = recipe().plan(10).unwrap();
        let noise = Recipe { start: Start::Noise, ..recipe() }.plan(10).unwrap();
        let first = marginal.rows[0].level;
        assert_eq!(marginal.init_noise_sigma, first.scale());
        assert_eq!(noise.init_noise_sigma, first.sigma);
        assert_eq!(marginal.rows, noise.rows);
    }

    /// Of 1000 timesteps in 3 steps DDIM visits 999, 666 and 332, and goes 333 down from each: not quite to the next.
    #[test]
    fn strides_go_down_by_whole_timesteps() {
        let plan = Recipe { stride: true, ..recipe() }.plan(3).unwrap();
        let times: Vec<_> = plan.rows.iter().filter_map(|row| row.time).collect();
        let ends: Vec<_> = plan.rows.iter().map(|row| row.next).collect();
        assert_eq!(times, [999.0, 666.0, 332.0]);
        assert_eq!(ends, [recipe().schedule.level(666.0), recipe().schedule.level(333.0), NoiseLevel::CLEAN]);
    }

    #[test]
    fn another_solver_takes_nothing_over_from_the_old_one() {
        let corrector = Some(Corrector { steps: 2, snr: 0.1 });
        let boundary = Some(Boundary { scaling: 10.0 });
        let old = Recipe { boundary, keep_eps: true, stride: true, corrector, clip: Clip::Range(1.0), ..recipe() };
        let new = old.with_solver(Euler {});
        assert_eq!(new, Recipe { solver: Euler {}.into(), clip: Clip::Range(1.0), ..recipe() });
    }
}
