//! # The mathematics of diffusion models
//!
//! Diffusion turns a picture into noise; a network learns the way back. This crate is what is left when pictures,
//! networks and tensors are taken away: `f64` functions, small enough to be read in an afternoon.
//!
//! ## The one equation
//!
//! A picture `x0` dissolves as
//!
//! > `x_t = alpha · x0 + sigma · eps`,  `eps ~ N(0, I)`.
//!
//! `alpha` says how much of the picture is left (it also draws every picture toward the origin, where they all look
//! alike); `sigma` says how much noise was added. The pair is a [`NoiseLevel`](level::NoiseLevel), and it is all that
//! a sampler ever needs to know about the process. One number orders the levels: `log_snr = ln(alpha² / sigma²)`, high
//! for clear pictures and low for noise.
//!
//! ## A schedule is a choice of path
//!
//! A [`Schedule`](schedule::Schedule) says which level belongs to which time. DDPM's thousand timesteps, the score
//! SDEs, EDM and rectified flow are such choices and nothing more: along `log_snr` they are the same line, walked at
//! different speeds and drawn at different scales.
//!
//! ## A denoiser answers one question
//!
//! Given `x_t` and its level, what was `x0`, on average over all pictures that could have led here? The answer `D(x_t)
//! = E[x0 | x_t]` decides everything: the noise is `(x_t - alpha D) / sigma`, and the score, the slope of the
//! log-density, is `(alpha D - x_t) / sigma²` [Efron11, Eq. 1.4]. A network `F` gives `D` through a
//! [`Parameterization`](parameterization::Parameterization), `D = skip · x + out · F(input · x, c_noise)`: predicting the
//! noise, the picture, the velocity or the score differs in four numbers.
//!
//! ## Learning is regression
//!
//! `D` minimises `‖D(x_t) - x0‖²` at every level, so the loss is that error, with a
//! [`Weighting`](weighting::Weighting) that says how much each level counts and a distribution of training times, [`Timing`](timing::Timing), that says
//! how often it is visited. A [`Draw`](draw::Draw) puts the three together for one training example.
//!
//! ## Sampling is a walk
//!
//! If the picture were still and only the level changed, `y = x / alpha` would follow `dy/ds = (y - D) / s` in `s =
//! sigma / alpha` [Karras22, Eqs. 1 and 3]: the probability-flow ODE, which has the same distribution as the dissolving
//! pictures at every level. With fresh noise put in on the way it becomes the SDE that runs the dissolving backwards
//! [Anderson82; Song21, Eq. 6]. A [`Spacing`](spacing::Spacing) picks levels from noise to picture, and a
//! [`Solver`](solver::Solver) turns them into a [`Plan`](plan::Plan): rows of coefficients that say which past `x`,
//! past `D` and fresh noise to add up. Every sampler here is such a table, and one interpreter, [`Walk`](plan::Walk),
//! runs them all.
//!
//! ```
//! use undiffuse_math::prelude::*;
//!
//! let schedule: ScheduleKind = "cosine".parse()?;
//! let spacing: SpacingKind = "trailing".parse()?;
//! let solver: SolverKind = "dpmpp-2m:lower_order_final=false".parse()?;
//! let plan = Grid::new(&*schedule, &*spacing, 20, Last::Clean)?.plan(&*solver)?;
//! assert_eq!(plan.nfe(), 20);
//! // Every row keeps the promise of the one equation: signal of the old level becomes signal of the new one.
//! let row = &plan.rows[0];
//! let signal = row.x[0] * row.level.alpha + row.denoised[0];
//! assert!((signal - row.next.alpha).abs() < 1e-12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Chance, kept on a leash
//!
//! The noise itself comes from [`noise`], a generator without state: the same seed gives the same picture on any
//! machine, in any batch.
//!
//! ## Names, and other people's names
//!
//! Parts are written the same way in configs and on the command line, see [`registry`]. [`diffusers`] reads and writes
//! the `scheduler_config.json` of Hugging Face diffusers, which is where most trained models keep these choices.
//!
//! ## Sources
//!
//! | key | work |
//! |---|---|
//! | Abramowitz64 | Abramowitz and Stegun, Handbook of mathematical functions |
//! | Anderson82 | Anderson, Reverse-time diffusion equation models, Stochastic Processes and their Applications 12 |
//! | Bao22 | Bao et al., Analytic-DPM, arXiv:2201.06503 |
//! | Box58 | Box and Muller, A note on the generation of random normal deviates |
//! | Cui23 | Cui et al., Elucidating the solution space of extended reverse-time SDE, arXiv:2309.06169 |
//! | DLMF | NIST Digital Library of Mathematical Functions, dlmf.nist.gov |
//! | Dormand80 | Dormand and Prince, A family of embedded Runge-Kutta formulae |
//! | Efron11 | Efron, Tweedie's formula and selection bias |
//! | Esser24 | Esser et al., Scaling rectified flow transformers, arXiv:2403.03206 |
//! | Field87 | Field, Relations between the statistics of natural images and the response properties of cortical cells |
//! | Hairer93 | Hairer et al., Solving ordinary differential equations I |
//! | Hang23 | Hang et al., Efficient diffusion training via Min-SNR weighting, arXiv:2303.09556 |
//! | Ho20 | Ho et al., Denoising diffusion probabilistic models, arXiv:2006.11239 |
//! | Hoogeboom23 | Hoogeboom et al., Simple diffusion, arXiv:2301.11093 |
//! | Hoogeboom24 | Hoogeboom et al., Simpler diffusion, arXiv:2410.19324 |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Kingma21 | Kingma et al., Variational diffusion models, arXiv:2107.00630 |
//! | Kingma23 | Kingma and Gao, Understanding diffusion objectives as the ELBO with simple data augmentation, arXiv:2303.00848 |
//! | Lee24 | Lee et al., Beta sampling is all you need, arXiv:2407.12173 |
//! | Lin24 | Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv:2305.08891 |
//! | Lipman23 | Lipman et al., Flow matching for generative modeling, arXiv:2210.02747 |
//! | Liu22 | Liu et al., Pseudo numerical methods for diffusion models, arXiv:2202.09778 |
//! | Liu23 | Liu et al., Flow straight and fast: rectified flow, arXiv:2209.03003 |
//! | Lu22 | Lu et al., DPM-Solver, arXiv:2206.00927 |
//! | Lu22b | Lu et al., DPM-Solver++, arXiv:2211.01095 |
//! | Luo23 | Luo et al., Latent consistency models, arXiv:2310.04378 |
//! | MacKay03 | MacKay, Information theory, inference, and learning algorithms |
//! | Matsumoto98 | Matsumoto and Nishimura, Mersenne twister |
//! | Nichol21 | Nichol and Dhariwal, Improved denoising diffusion probabilistic models, arXiv:2102.09672 |
//! | Oord18 | van den Oord et al., Representation learning with contrastive predictive coding, arXiv:1807.03748 |
//! | Pan23 | Pan et al., Effective real image editing with accelerated iterative diffusion inversion, arXiv:2309.04907 |
//! | Radford21 | Radford et al., Learning transferable visual models from natural language supervision, arXiv:2103.00020 |
//! | Rombach22 | Rombach et al., High-resolution image synthesis with latent diffusion models, arXiv:2112.10752 |
//! | Sabour24 | Sabour et al., Align your steps, arXiv:2404.14507 |
//! | Saharia22 | Saharia et al., Imagen, arXiv:2205.11487 |
//! | Salimans22 | Salimans and Ho, Progressive distillation, arXiv:2202.00512 |
//! | Salmon11 | Salmon et al., Parallel random numbers: as easy as 1, 2, 3 |
//! | Sohl15 | Sohl-Dickstein et al., Deep unsupervised learning using nonequilibrium thermodynamics, arXiv:1503.03585 |
//! | Song19 | Song and Ermon, Generative modeling by estimating gradients of the data distribution, arXiv:1907.05600 |
//! | Song20 | Song and Ermon, Improved techniques for training score-based generative models, arXiv:2006.09011 |
//! | Song21 | Song et al., Score-based generative modeling through stochastic differential equations, arXiv:2011.13456 |
//! | Song21b | Song et al., Maximum likelihood training of score-based diffusion models, arXiv:2101.09258 |
//! | Song21c | Song et al., Denoising diffusion implicit models, arXiv:2010.02502 |
//! | Song23 | Song et al., Consistency models, arXiv:2303.01469 |
//! | Wichura88 | Wichura, Algorithm AS 241: the percentage points of the normal distribution |
//! | Xu22 | Xu et al., GeoDiff, arXiv:2203.02923 |
//! | Xu23 | Xu et al., Restart sampling, arXiv:2306.14878 |
//! | Xue23 | Xue et al., SA-Solver, arXiv:2309.05019 |
//! | Zhang23 | Zhang and Chen, Fast sampling of diffusion models with exponential integrator, arXiv:2204.13902 |
//! | Zhao23 | Zhao et al., UniPC, arXiv:2302.04867 |

pub mod binomial;
pub mod contrast;
pub mod diffusers;
pub mod draw;
pub mod level;
pub mod likelihood;
pub mod noise;
pub mod ode;
pub mod parameterization;
pub mod plan;
pub mod recipe;
pub mod registry;
pub mod schedule;
pub mod solver;
pub mod spacing;
pub mod timing;
pub mod variance;
pub mod weighting;

/// What most programs use.
pub mod prelude {
    pub use crate::{
        draw::Draw,
        level::NoiseLevel,
        parameterization::{NoiseInput, Parameterization, ParameterizationKind, Scaling},
        plan::{Plan, Row, Walk},
        schedule::{Schedule, ScheduleKind},
        solver::{Solver, SolverKind},
        spacing::{Grid, Last, Point, Spacing, SpacingKind},
        timing::{Timing, TimingKind},
        weighting::{Weighting, WeightingKind},
    };
}
