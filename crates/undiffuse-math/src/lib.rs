//! # The mathematics of diffusion models
//!
//! Diffusion turns a picture into noise; a network learns the way back. This crate is what is left when pictures, networks and
//! tensors are taken away: `f64` functions, small enough to be read in an afternoon.
//!
//! ## The one equation
//!
//! A picture `x0` dissolves as
//!
//! > `x_t = alpha · x0 + sigma · eps`,  `eps ~ N(0, I)`.
//!
//! `alpha` says how much of the picture is left (it also draws every picture toward the origin, where they all look alike);
//! `sigma` says how much noise was added. The pair is a [`NoiseLevel`](level::NoiseLevel), and it is all that a
//! sampler ever needs to know about the process. One number orders the levels: `log_snr = ln(alpha² / sigma²)`, high for clear pictures and low for
//! noise.
//!
//! ## A schedule is a choice of path
//!
//! A [`Schedule`](schedule::Schedule) says which level belongs to which time. DDPM's thousand timesteps, the score SDEs, EDM and rectified
//! flow are such choices and nothing more: along `log_snr` they are the same line, walked at different speeds and drawn at different
//! scales.
//!
//! ## A denoiser answers one question
//!
//! Given `x_t` and its level, what was `x0`, on average over all pictures that could have led here? The answer `D(x_t) = E[x0 | x_t]` decides
//! everything: the noise is `(x_t - alpha D) / sigma`, and the score, the slope of the log-density, is
//! `(alpha D - x_t) / sigma²` [Efron11]. A network `F` gives `D` through a [`Parameterization`](parameterization::Parameterization),
//! `D = skip · x + out · F(input · x, told)`: predicting the noise, the picture, the velocity or the score differs in four numbers.
//!
//! ## Learning is regression
//!
//! `D` minimises `‖D(x_t) - x0‖²` at every level, so the loss is that error, with a [`Weighting`](weighting::Weighting) that says how much each level counts and a
//! [`Timing`](timing::Timing) that says how often it is visited. A [`Draw`](draw::Draw) puts the three together for one training
//! example.
//!
//! ## Sampling is a walk
//!
//! If the picture were still and only the level changed, `y = x / alpha` would follow `dy/ds = (y - D) / s` in `s = sigma / alpha`
//! [Karras22, Eq. 4]: the probability-flow ODE, which has the same distribution as the dissolving pictures at every level. A [`Spacing`](spacing::Spacing) picks
//! levels from noise to picture, and a [`Solver`](solver::Solver) turns them into a [`Plan`](plan::Plan): rows of
//! coefficients that say which past `x`, past `D` and fresh noise to add up. Every sampler here is such a table, and one interpreter,
//! [`Walk`](plan::Walk), runs them all.
//!
//! ```
//! use undiffuse_math::prelude::*;
//!
//! let schedule: ScheduleKind = "cosine".parse()?;
//! let spacing: SpacingKind = "trailing".parse()?;
//! let solver: SolverKind = "dpmpp-2m:lower_order_final=false".parse()?;
//! let plan = Grid::new(&*schedule, &*spacing, 20, Last::Clean)?.plan(&*solver);
//! assert_eq!(plan.nfe(), 20);
//! // Every row keeps the promise of the one equation: signal of the old level becomes signal of the new one.
//! let row = &plan.rows[0];
//! let signal = row.x[0] * row.level.alpha + row.denoised[0];
//! assert!((signal - row.to.alpha).abs() < 1e-12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Chance, kept on a leash
//!
//! The noise itself comes from [`noise`], a generator without state: the same seed gives the same picture on any machine, in any batch.
//!
//! ## Names, and other people's names
//!
//! Parts are written the same way in configs and on the command line, see [`registry`]. [`diffusers`] reads and writes the
//! `scheduler_config.json` of Hugging Face diffusers, which is where most trained models keep these choices.

pub mod diffusers;
pub mod draw;
pub mod level;
pub mod noise;
pub mod parameterization;
pub mod plan;
pub mod registry;
pub mod schedule;
pub mod solver;
pub mod spacing;
pub mod timing;
pub mod weighting;

/// What most programs use.
pub mod prelude {
    pub use crate::{
        draw::Draw,
        level::NoiseLevel,
        parameterization::{Parameterization, ParameterizationKind, Scaling, Told},
        plan::{Plan, Row, Walk},
        schedule::{Schedule, ScheduleKind},
        solver::{Solver, SolverKind},
        spacing::{Grid, Last, Point, Spacing, SpacingKind},
        timing::{Timing, TimingKind},
        weighting::{Weighting, WeightingKind},
    };
}
