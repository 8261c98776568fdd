//! The bridge to Hugging Face diffusers: its `scheduler_config.json` says in one file what here are separate parts.
//!
//! A [`Recipe`] holds those parts. [`Recipe::from_json`] reads every scheduler class that a `UNet2DModel` commonly
//! comes with, and [`write`](write()) goes the other way, so that a model trained here opens in diffusers. What a
//! config says and this crate has no part for is refused by name, never silently approximated; the few deliberate
//! differences are listed in [`Recipe::notes`].
//!
//! | class | becomes |
//! |---|---|
//! | `DDPMScheduler` | [`Ddpm`](crate::solver::Ddpm) |
//! | `DDIMScheduler` | [`Ddim`](crate::solver::Ddim); `eta` is an argument of sampling there, 0 here until it is set |
//! | `PNDMScheduler` | [`Plms`](crate::solver::Plms); its Runge-Kutta start is replaced by that of `skip_prk_steps` |
//! | `EulerDiscreteScheduler`, `FlowMatchEulerDiscreteScheduler`, `EDMEulerScheduler` | [`Euler`](crate::solver::Euler) |
//! | `EulerAncestralDiscreteScheduler` | [`EulerAncestral`](crate::solver::EulerAncestral) |
//! | `HeunDiscreteScheduler` | [`Heun`](crate::solver::Heun) |
//! | `DPMSolverMultistepScheduler`, `EDMDPMSolverMultistepScheduler` | [`Dpmpp2m`](crate::solver::Dpmpp2m), [`Dpmpp2mSde`](crate::solver::Dpmpp2mSde), [`Ddim`](crate::solver::Ddim) for order 1 |
//! | `ScoreSdeVeScheduler` | [`Ddpm`](crate::solver::Ddpm) with the large variance; its corrector is left to the sampler |

mod classes;
mod exact;
mod fields;
mod parts;
mod read;
mod recipe;
mod schedulers;
mod write;

pub use crate::variance::Learned;
pub use classes::CLASSES;
pub use read::ReadError;
pub use recipe::{Clip, Corrector, Recipe, Start};
pub use write::{WriteError, write};
