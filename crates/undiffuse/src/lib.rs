//! Diffusion models: train them on your own pictures, sample from them, keep them.
//!
//! Everything stands on one equation, `x_t = α·x₀ + σ·ε`: a picture `x₀` fades by `α` while noise `ε` grows by `σ`.
//! A *denoiser* `D(x_t, level)` guesses `x₀` back; a *sampler* walks from pure noise to a picture along levels of
//! falling noise, asking the denoiser at each. What the literature calls DDPM, DDIM, score SDE, EDM or flow matching
//! are choices of schedule, of what a network answers, and of how to step; the chapters of
//! [`math`] tell them one by one.
//!
//! # Make pictures
//!
//! ```no_run
//! use undiffuse::{Model, denoise::Cond, device, sample::Noise};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::load("runs/fashion-mnist", &device::open("cpu")?)?;
//! let plan = model.plan()?;
//! let denoiser = model.denoiser(model.sample_defaults().guidance);
//! let cond = Cond::class(1, 4); // four trousers
//! let x = model.sample(&*denoiser, &plan, Noise::Seeds(vec![0, 1, 2, 3]), &cond).finish();
//! for (seed, image) in model.images(x).iter().enumerate() {
//!     std::fs::write(format!("{seed}.png"), undiffuse::data::encode_png(image, &[])?)?;
//! }
//! # Ok(()) }
//! ```
//!
//! # Train
//!
//! ```no_run
//! use undiffuse::{device, train::{Config, Event, Trainer}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ["data.path=\"photos\"".into(), "train.budget=\"30m\"".into()];
//! let config = Config::layered("quick", None, &settings)?;
//! let trainer = Trainer::create(config, "runs/photos".as_ref(), &device::open("cpu")?, &mut |_| {})?;
//! for event in trainer {
//!     if let Event::Step(step) = event? {
//!         println!("{} images, loss {:.4}", step.nimg, step.loss);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # The way through the crate
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | a model folder: read and written as diffusers does |
//! | [`request`] | what a person asks of a model: settings, pictures |
//! | [`classes`] | classes by name: how they are read and printed |
//! | [`denoise`] | the trait [`Denoise`](denoise::Denoise), networks as denoisers, guidance, clipping, inpainting |
//! | [`sample`] | the one interpreter that runs every [`Plan`](math::plan::Plan), as an iterator |
//! | [`adaptive`] | samples of the probability-flow ODE with steps that follow the error |
//! | [`likelihood`] | variational bound and ODE likelihood, in bits per dimension |
//! | [`train`] | configuration, presets, the [`Trainer`](train::Trainer) as an iterator of events, checkpoints |
//! | [`forward`] | the forward process on a picture, for looking at |
//! | [`device`], [`image`] | devices by name; between tensors and pictures |
//! | [`math`], [`data`], [`nn`] | the crates below, re-exported |
//!
//! # Promises
//!
//! On the CPU, a picture depends on `(model, settings, seed)` alone: the same bits for any batch, any place in it, any
//! number of threads. A run that was killed at any instant and resumed ends with the same weights, averages and optimizer
//! state, bit for bit. On GPUs the same holds within rounding.

pub mod adaptive;
pub mod classes;
pub mod denoise;
pub mod device;
pub use undiffuse_data::files;
pub mod forward;
pub mod image;
pub mod likelihood;
pub mod model;
pub mod request;
pub mod sample;
pub mod train;

pub use burn;
pub use files::FileError;
pub use model::Model;
pub use undiffuse_data as data;
pub use undiffuse_math as math;
pub use undiffuse_nn as nn;
