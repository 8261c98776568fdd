//! What is checked before and after a plan is made.

use super::Solver;
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    spacing::GridError,
};

/// Most evaluations of the denoiser in a plan: rows of that many take some 200 MB.
pub const MOST_NFE: usize = 1 << 20;

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There are no levels to walk through.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// An option of the solver is out of its range.
    #[error("{solver}: {problem}")]
    Options {
        /// The solver with its options.
        solver: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A level is none.
    #[error(
        "level {number} of {count} has alpha = {} and sigma = {}, which must be finite, at least 0 and not both 0: \
         change the schedule's or the spacing's options", .level.alpha, .level.sigma
    )]
    Level {
        /// Which one, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// The level.
        level: NoiseLevel,
    },
    /// The walk is longer than any picture needs.
    #[error(
        "{solver} evaluates the network {nfe} times here, and {MOST_NFE} are the most: take fewer steps, or less of its options"
    )]
    TooLong {
        /// The solver with its options.
        solver: String,
        /// How many evaluations it takes.
        nfe: usize,
    },
    /// The coefficients of a row overflow.
    #[error(
        "{solver} has no finite step from sigma / alpha = {from} to {to} (evaluation {number}): change its options, the \
         spacing's or the number of steps"
    )]
    NotFinite {
        /// The solver with its options.
        solver: String,
        /// Which row, from 1.
        number: usize,
        /// `sigma / alpha` where it begins.
        from: f64,
        /// `sigma / alpha` where it ends.
        to: f64,
    },
    /// A solver whose [`Solver::nfe`] is not the number of its rows.
    #[error("{solver} says that it evaluates the network {nfe} times and has {rows} rows: its `nfe` has to count them")]
    Miscounted {
        /// The solver with its options.
        solver: String,
        /// What it says.
        nfe: usize,
        /// How many rows it made.
        rows: usize,
    },
}

/// [`Solver::plan`].
pub(super) fn plan<S: Solver + ?Sized>(solver: &S, levels: &[NoiseLevel]) -> Result<Plan, PlanError> {
    // What a person would have written is not known here.
    let name = || format!("{solver:?}");
    solver.check().map_err(|problem| PlanError::Options { solver: name(), problem })?;
    let is_level = |NoiseLevel { alpha, sigma }| {
        [alpha, sigma].iter().all(|v| *v >= 0.0 && *v < f64::INFINITY) && alpha + sigma > 0.0
    };
    if let Some(i) = levels.iter().position(|level| !is_level(*level)) {
        return Err(PlanError::Level { number: i + 1, count: levels.len(), level: levels[i] });
    }
    if levels.len() < 2 {
        let start = levels.first().filter(|_| !solver.rises()).map_or(0.0, |level| level.scale());
        return Ok(Plan { init_noise_sigma: start, rows: Vec::new() });
    }
    let nfe = solver.nfe(levels);
    if nfe > MOST_NFE {
        return Err(PlanError::TooLong { solver: name(), nfe });
    }
    let plan = solver.unchecked_plan(levels);
    if plan.rows.len() != nfe {
        return Err(PlanError::Miscounted { solver: name(), nfe, rows: plan.rows.len() });
    }
    match plan.rows.iter().position(|row| !is_finite(row)) {
        Some(i) => {
            let (from, to) = (plan.rows[i].level.sigma_edm(), plan.rows[i].next.sigma_edm());
            Err(PlanError::NotFinite { solver: name(), number: i + 1, from, to })
        }
        None => Ok(plan),
    }
}

fn is_finite(row: &Row) -> bool {
    row.x.iter().chain(&row.denoised).chain([&row.noise]).all(|c| c.is_finite())
}
