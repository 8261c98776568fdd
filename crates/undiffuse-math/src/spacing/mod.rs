//! Spacings: at which times a sampler looks at the image.
//!
//! A spacing picks [`Point`]s of a schedule, from the noisiest down; a [`Grid`] adds the level at which the walk ends,
//! and from a grid a solver makes its [`Plan`].
//!
//! On schedules that are tables the timesteps come out as diffusers computes them, rounding included; on continuous
//! ones the same words mean their continuous counterpart.

pub use optimal::Objective;

use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::{kind, require},
    schedule::Schedule,
    solver::{PlanError, Solver},
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt::Debug};

/// A time and the noise level that is meant by it.
///
/// The two are kept together because tables interpolate: the level that a formula in sigma asks for and the time that
/// a network reads for it are both exact here, while either would be slightly off if computed back from the other.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Point {
    /// Time in the schedule's native unit.
    pub time: f64,
    /// The noise level.
    pub level: NoiseLevel,
}

impl Point {
    /// The point of a schedule at a time.
    pub fn at(schedule: &dyn Schedule, time: f64) -> Self {
        Self { time, level: schedule.level(time) }
    }

    /// The point of a schedule with this `sigma / alpha`.
    fn of_sigma(schedule: &dyn Schedule, sigma: f64) -> Self {
        let log_snr = -2.0 * sigma.ln();
        Self { time: schedule.time(log_snr), level: schedule.level_at(log_snr) }
    }
}

/// A choice of times.
pub trait Spacing: Debug + Send + Sync {
    /// `steps` points in order of falling noise, without the final clean level. `steps` is at least 1.
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point>;

    /// The times of [`Spacing::points`].
    fn times(&self, schedule: &dyn Schedule, steps: usize) -> Vec<f64> {
        self.points(schedule, steps).iter().map(|point| point.time).collect()
    }

    /// The most steps that it has points for, where there is a limit besides the schedule's.
    fn most(&self) -> Option<usize> {
        None
    }

    /// How many steps it names, where it names them one by one: then there are no more and no fewer.
    fn named(&self) -> Option<usize> {
        None
    }

    /// Whether the schedule has what it names.
    ///
    /// # Errors
    /// Says what the schedule does not have, and what it has.
    fn check_on(&self, _: &dyn Schedule) -> Result<(), String> {
        Ok(())
    }

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

kind! {
    /// Every spacing by name.
    pub enum SpacingKind: Spacing, "spacing" {
        "linspace" in linspace => Linspace, "times evenly spaced over the whole range",
            also ["round=false", "endpoint=false"];
        "leading" in leading => Leading, "times at the clean end of even intervals [Song21c, DDIM]",
            also ["offset=1", "endpoint=false"];
        "trailing" in trailing => Trailing, "times at the noisy end of even intervals [Lin24, section 3.3]";
        "karras" in karras => Karras, "sigma^(1/rho) evenly spaced [Karras22, Eq. 5]", also ["rho=3,round=nearest", "of=40"];
        "exponential" in exponential => Exponential, "ln sigma evenly spaced, both ends included", also ["round=down"];
        "beta" in beta => Beta, "sigma at the quantiles of a beta distribution, crowded at both ends [Lee24; diffusers, use_beta_sigmas]";
        "log-snr" in log_snr => LogSnr, "intervals of equal log-SNR [Lu22, uniform log-SNR]";
        "optimal" in optimal => Optimal, "least error on data with the spectrum of natural images, computed [Sabour24, section 3]",
            also ["exponent=0", "objective=bound"];
        "lcm" in lcm => Lcm, "some of the times at which a latent consistency model was distilled [Luo23, in its code]";
        "timesteps" in timesteps => Timesteps, "times of one's own, as at=999;499;";
        "sigmas" in sigmas => Sigmas, "levels of one's own by sigma / alpha, as at=14.6;1.5;";
        "time-uniform" in time_uniform => TimeUniform, "intervals of equal time, not rounded to timesteps";
    }
}

/// The level at which sampling ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// No noise at all.
    #[default]
    Clean,
    /// The cleanest trained time: diffusers' `set_alpha_to_one = false` and `final_sigmas_type = "sigma_min"`.
    FirstStep,
    /// The `sigma / alpha` of the cleanest trained time with the signal at full strength, where diffusers' Euler ends:
    /// what it keeps of images is `x / alpha`.
    FirstSigma,
}

impl Last {
    /// The level meant on a schedule.
    pub fn level(self, schedule: &dyn Schedule) -> NoiseLevel {
        match self {
            Last::Clean => NoiseLevel::CLEAN,
            Last::FirstStep => schedule.level(schedule.range().0),
            Last::FirstSigma => NoiseLevel { alpha: 1.0, sigma: schedule.level(schedule.range().0).sigma_edm() },
        }
    }
}

/// How times are rounded before a network reads them.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// Left as they are.
    #[default]
    None,
    /// To the nearest whole timestep, halves to even.
    Nearest,
    /// To the whole timestep below.
    Down,
}

impl Round {
    /// The rounded time on tables of timesteps; continuous schedules have nothing to round to.
    pub(crate) fn apply(self, schedule: &dyn Schedule, time: f64) -> f64 {
        match (self, schedule.discrete_steps()) {
            (Round::None, _) | (_, None) => time,
            (Round::Nearest, Some(_)) => time.round_ties_even(),
            (Round::Down, Some(_)) => time.floor(),
        }
    }
}

/// Why no grid could be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GridError {
    /// No steps were asked for.
    #[error("0 sampling steps asked for; at least 1 is needed")]
    NoSteps,
    /// More steps than there are timesteps, or than a spacing chooses from.
    #[error("{steps} sampling steps asked for, but there are {timesteps} timesteps to take; ask for at most that many")]
    TooMany {
        /// How many were asked for.
        steps: usize,
        /// How many there are.
        timesteps: usize,
    },
    /// Another number of steps than the spacing names.
    #[error(
        "{steps} sampling steps asked for, but the spacing names {named}; name as many, or leave the number of steps out"
    )]
    Named {
        /// How many were asked for.
        steps: usize,
        /// How many are named.
        named: usize,
    },
    /// An option of a part is out of its range.
    #[error("{what}: {problem}")]
    Options {
        /// Which part.
        what: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// More steps than any picture needs, on a schedule that sets no limit.
    #[error("{0} sampling steps asked for; ask for at most {MOST_STEPS}")]
    TooLong(usize),
}

/// Most steps of a grid on a continuous schedule.
const MOST_STEPS: usize = 1_000_000;

/// The levels of a walk: the points at which the denoiser may be asked, and the end.
#[derive(Clone, Debug)]
pub struct Grid<'s> {
    /// From the noisiest down.
    pub points: Vec<Point>,
    /// Where the walk ends.
    pub last: NoiseLevel,
    /// What the points were taken from, and levels that a solver puts between them are.
    pub schedule: &'s dyn Schedule,
}

impl<'s> Grid<'s> {
    /// Lays out `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or more than a million; options that `check` refuses.
    pub fn new(schedule: &'s dyn Schedule, spacing: &dyn Spacing, steps: usize, last: Last) -> Result<Self, GridError> {
        let refused = |what| move |problem| GridError::Options { what, problem };
        schedule.check().map_err(refused("schedule"))?;
        spacing.check().map_err(refused("spacing"))?;
        spacing.check_on(schedule).map_err(refused("spacing"))?;
        if let Some(named) = spacing.named().filter(|named| *named != steps) {
            return Err(GridError::Named { steps, named });
        }
        match [schedule.discrete_steps(), spacing.most()].into_iter().flatten().min() {
            _ if steps == 0 => Err(GridError::NoSteps),
            Some(timesteps) if steps > timesteps => Err(GridError::TooMany { steps, timesteps }),
            None if steps > MOST_STEPS => Err(GridError::TooLong(steps)),
            _ => Ok(Self { points: spacing.points(schedule, steps), last: last.level(schedule), schedule }),
        }
    }

    /// All levels in order, the last one included.
    pub fn levels(&self) -> Vec<NoiseLevel> {
        self.points.iter().map(|point| point.level).chain([self.last]).collect()
    }

    /// The solver's plan on these levels, each row with the time that belongs to its level. Levels that the solver put
    /// between them come out at the schedule's scale.
    ///
    /// # Errors
    /// As [`Solver::plan`].
    pub fn plan(&self, solver: &dyn Solver) -> Result<Plan, PlanError> {
        let mut plan = solver.plan(&self.levels())?;
        // Adding 0 makes a negative zero a positive one.
        let key = |level: NoiseLevel| [level.alpha + 0.0, level.sigma + 0.0].map(f64::to_bits);
        let mut times = HashMap::new();
        for point in &self.points {
            times.entry(key(point.level)).or_insert(point.time);
        }
        for row in &mut plan.rows {
            row.time = times.get(&key(row.level)).copied();
        }
        let lags = plan.rows.iter().map(|row| row.x.len()).max().unwrap_or(0);
        for k in 0..plan.rows.len() {
            let Row { level, time, .. } = plan.rows[k];
            let own = self.schedule.level_at(level.log_snr());
            // Outside of its range a schedule has no level to offer.
            let same = (own.log_snr() - level.log_snr()).abs() < 1e-6;
            if time.is_none() && level != self.last && same {
                plan.rescale(k, own.scale() / level.scale(), lags);
            }
        }
        Ok(plan)
    }
}

/// The levels at `times`, then the last one.
pub fn levels(schedule: &dyn Schedule, times: &[f64], last: Last) -> Vec<NoiseLevel> {
    times.iter().map(|t| schedule.level(*t)).chain([last.level(schedule)]).collect()
}

/// The share of the way from noisy (0) to clean (1) for each of `steps` points; without the endpoint the last one
/// stops a gap short of 1.
fn ramp(steps: usize, endpoint: bool) -> impl Iterator<Item = f64> {
    let gaps = if endpoint { steps.saturating_sub(1).max(1) } else { steps };
    (0..steps).map(move |i| i as f64 / gaps as f64)
}

/// Points along a curve of `sigma / alpha`: `curve(share, sigma_max, sigma_min)` with the share of [`ramp`].
fn along_sigma(
    schedule: &dyn Schedule,
    ends: Ends,
    shares: impl Iterator<Item = f64>,
    curve: impl Fn(f64, f64, f64) -> f64,
) -> Vec<Point> {
    let (sigma_max, sigma_min) = ends.resolved(schedule);
    points_at(schedule, ends, shares.map(|share| curve(share, sigma_max, sigma_min)))
}

/// Points at given `sigma / alpha`, the first one at the schedule's own end unless another was asked for.
fn points_at(schedule: &dyn Schedule, ends: Ends, sigmas: impl Iterator<Item = f64>) -> Vec<Point> {
    let point = |sigma| Point::of_sigma(schedule, sigma);
    let rounded = |point: Point| Point { time: ends.round.apply(schedule, point.time), ..point };
    let mut points: Vec<_> = sigmas.map(point).map(rounded).collect();
    if let (None, Some(first)) = (ends.sigma_max, points.first_mut()) {
        *first = Point::at(schedule, schedule.range().1);
    }
    points
}

/// How many steps a list names; an empty one names none.
fn named(at: &[f64]) -> Option<usize> {
    Some(at.len()).filter(|steps| *steps > 0)
}

/// Refuses lists that do not lead from noise to pictures.
fn falling(at: &[f64]) -> Result<(), String> {
    let falls = at.iter().all(|number| number.is_finite()) && at.is_sorted_by(|a, b| a > b);
    require(falls, || format!("at must fall, from noise to pictures, and holds {at:?}"))
}

/// Where a curve of sigma begins and ends, and how its times are rounded.
#[derive(Copy, Clone)]
struct Ends {
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
    round: Round,
}

impl Ends {
    /// `(sigma_max, sigma_min)`. Where the schedule's noisy end is pure noise its sigma is infinite: a curve then
    /// starts from a bounded one.
    fn resolved(self, schedule: &dyn Schedule) -> (f64, f64) {
        let (clean, noisy) = schedule.range();
        let bounded = |t: f64| (-0.5 * schedule.level(t).bounded_log_snr()).exp();
        (self.sigma_max.unwrap_or_else(|| bounded(noisy)), self.sigma_min.unwrap_or_else(|| bounded(clean)))
    }

    fn check(&self) -> Result<(), String> {
        let positive = |s: Option<f64>| s.is_none_or(|s| s > 0.0 && s.is_finite());
        let ordered = self.sigma_min.zip(self.sigma_max).is_none_or(|(min, max)| min < max);
        require(positive(self.sigma_min) && positive(self.sigma_max) && ordered, || {
            format!(
                "needs 0 < sigma_min < sigma_max where they are given, has {:?} and {:?}",
                self.sigma_min, self.sigma_max
            )
        })
    }
}
