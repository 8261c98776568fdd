//! The bridge to Hugging Face diffusers: its `scheduler_config.json` says in one file what here are separate parts.
//!
//! A [`Recipe`](crate::recipe::Recipe) holds those parts. [`Recipe::from_json`](crate::recipe::Recipe::from_json) reads every scheduler class that pixel and latent models commonly
//! come with. [`Recipe::to_value`](crate::recipe::Recipe::to_value) writes one back so that it reads the same, and [`write`](write()) writes the config
//! nearest to parts of this crate, so that a model trained here opens in diffusers. What a config says and this crate has
//! no part for is refused by name, never silently approximated; the few deliberate differences are listed in
//! [`Recipe::notes`](crate::recipe::Recipe::notes). The classes are a table, `classes.rs`: a new one is its row, its reader and its line in `write.rs`.
//!
//! | class | becomes |
//! |---|---|
//! | `DDPMScheduler` | [`Ddpm`](crate::solver::Ddpm); a learned variance is [`Recipe::learned_variance`](crate::recipe::Recipe::learned_variance) |
//! | `DDIMScheduler` | [`Ddim`](crate::solver::Ddim); `eta` is an argument of sampling there, 0 here until it is set |
//! | `DDIMInverseScheduler` | [`DdimInverse`](crate::solver::DdimInverse) |
//! | `PNDMScheduler` | [`Plms`](crate::solver::Plms), `skip_prk_steps` being its start |
//! | `EulerDiscreteScheduler`, `FlowMatchEulerDiscreteScheduler`, `EDMEulerScheduler` | [`Euler`](crate::solver::Euler); with `stochastic_sampling` [`Lcm`](crate::solver::Lcm) |
//! | `EulerAncestralDiscreteScheduler` | [`EulerAncestral`](crate::solver::EulerAncestral) |
//! | `HeunDiscreteScheduler` | [`Heun`](crate::solver::Heun) |
//! | `LMSDiscreteScheduler` | [`Lms`](crate::solver::Lms); `order` is an argument of sampling there, 4 here until it is set |
//! | `KDPM2DiscreteScheduler` | [`Dpm2`](crate::solver::Dpm2) |
//! | `KDPM2AncestralDiscreteScheduler` | [`Dpm2Ancestral`](crate::solver::Dpm2Ancestral) |
//! | `DPMSolverMultistepScheduler`, `EDMDPMSolverMultistepScheduler` | [`Dpmpp2m`](crate::solver::Dpmpp2m), [`Dpmpp2mSde`](crate::solver::Dpmpp2mSde), [`Dpmpp3m`](crate::solver::Dpmpp3m), [`Ddim`](crate::solver::Ddim) for order 1 |
//! | `DPMSolverSinglestepScheduler` | [`DpmppSinglestep`](crate::solver::DpmppSinglestep) |
//! | `UniPCMultistepScheduler` | [`Unipc`](crate::solver::Unipc) |
//! | `DEISMultistepScheduler` | [`Deis`](crate::solver::Deis) |
//! | `LCMScheduler` | [`Lcm`](crate::solver::Lcm) at some of [`original_inference_steps`](crate::spacing::Lcm) times, with a [`Boundary`](crate::recipe::Boundary) |
//! | `CMStochasticIterativeScheduler` | [`Lcm`](crate::solver::Lcm) at some of a table of [`Karras`](crate::spacing::Karras) sigmas, networks read as [`Consistency`](crate::parameterization::Consistency) |
//! | `UnCLIPScheduler` | [`Ddpm`](crate::solver::Ddpm), and written as `DDPMScheduler` |
//! | `ScoreSdeVeScheduler` | [`Ddpm`](crate::solver::Ddpm) with the large variance; its corrector is left to the sampler |
//!
//! How it is known to be right: every class in many settings is walked by diffusers itself in double precision on a random
//! network, and the same walk here differs by less than `1e-8`; the sums that diffusers publishes in its own tests come
//! out (`tests/diffusers.rs`, `tests/published.rs`).

mod classes;
mod exact;
mod fields;
mod parts;
mod read;
mod schedulers;
mod write;

pub use classes::{CLASSES, pipeline};
pub use read::ReadError;
pub use write::{WriteError, write};

/// The release whose formats are written.
pub const VERSION: &str = "0.42.1";
