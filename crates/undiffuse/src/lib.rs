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
//! let denoiser = model.denoiser(&model.sample_defaults());
//! let cond = Cond::class(1, 4); // four trousers
//! let x = model.sample(&*denoiser, &plan, Noise::Seeds(vec![0, 1, 2, 3]), &cond).finish()?;
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
//! | [`condition`] | what is asked of a model, classes by name, and what its network reads of it |
//! | [`denoise`] | the trait [`Denoise`](denoise::Denoise), networks as denoisers, guidance, clipping, inpainting |
//! | [`sample`] | the one interpreter that runs every [`Plan`](math::plan::Plan), as an iterator |
//! | [`codec`] | between pictures and what is diffused |
//! | [`card`] | what a model folder knows beyond diffusers' words |
//! | [`adaptive`] | samples of the probability-flow ODE with steps that follow the error |
//! | [`likelihood`] | variational bound and ODE likelihood, in bits per dimension |
//! | [`run`] | the folder of a training run: the only place that opens what is in one |
//! | [`examples`] | what a network learns from: pictures as it diffuses them |
//! | [`train`] | configuration, presets, the [`Trainer`](train::Trainer) as an iterator of events, checkpoints |
//! | [`variation`] | pictures like one, between two, moved along a difference of texts |
//! | [`words`] | prompts as the tokens of a text encoder, and what it makes of them |
//! | [`clip`] | a CLIP: the vectors of texts and of pictures in one space |
//! | [`prior`] | from words to the vectors that a CLIP would make of their pictures |
//! | [`part`] | networks beside a model's own, read when they are needed |
//! | [`forward`] | the forward process on a picture, for looking at |
//! | [`device`], [`memory`], [`image`] | devices by name; how much memory is left; between tensors and pictures |
//! | [`math`], [`data`], [`nn`] | the crates below, re-exported |
//!
//! # Promises
//!
//! On the CPU, a picture depends on `(model, settings, seed)` alone: the same bits for any batch, any place in it, any
//! number of threads. A run that was killed at any instant and resumed ends with the same weights, averages and optimizer
//! state, bit for bit. On GPUs the same holds within rounding.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Bao22 | Bao et al., Analytic-DPM, arXiv:2201.06503 |
//! | Chen18 | Chen et al., Neural ordinary differential equations, arXiv:1806.07366 |
//! | Dhariwal21 | Dhariwal and Nichol, Diffusion models beat GANs on image synthesis, arXiv:2105.05233 |
//! | Esser24 | Esser et al., Scaling rectified flow transformers, arXiv:2403.03206 |
//! | Grathwohl19 | Grathwohl et al., FFJORD, arXiv:1810.01367 |
//! | Haar10 | Haar, Zur Theorie der orthogonalen Funktionensysteme, Math. Annalen 69 |
//! | Hang23 | Hang et al., Efficient diffusion training via Min-SNR weighting, arXiv:2303.09556 |
//! | Ho20 | Ho et al., Denoising diffusion probabilistic models, arXiv:2006.11239 |
//! | Ho21 | Ho et al., Cascaded diffusion models for high fidelity image generation, arXiv:2106.15282 |
//! | Ho22 | Ho and Salimans, Classifier-free diffusion guidance, arXiv:2207.12598 |
//! | Hutchinson89 | Hutchinson, A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Karras24 | Karras et al., Analyzing and improving the training dynamics of diffusion models, arXiv:2312.02696 |
//! | Kingma21 | Kingma et al., Variational diffusion models, arXiv:2107.00630 |
//! | Kynkaanniemi24 | Kynkaanniemi et al., Applying guidance in a limited interval improves sample and distribution quality in diffusion models, arXiv:2404.07724 |
//! | Lin24 | Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv:2305.08891 |
//! | Liu23 | Liu et al., Flow straight and fast: rectified flow, arXiv:2209.03003 |
//! | Loshchilov19 | Loshchilov and Hutter, Decoupled weight decay regularization, arXiv:1711.05101 |
//! | Mallat89 | Mallat, A theory for multiresolution signal decomposition: the wavelet representation, IEEE TPAMI 11 |
//! | Meng22 | Meng et al., SDEdit, arXiv:2108.01073 |
//! | Meng23 | Meng et al., On distillation of guided diffusion models, arXiv:2210.03142 |
//! | Nichol21 | Nichol and Dhariwal, Improved denoising diffusion probabilistic models, arXiv:2102.09672 |
//! | Radford21 | Radford et al., Learning transferable visual models from natural language supervision, arXiv:2103.00020 |
//! | Ramesh22 | Ramesh et al., Hierarchical text-conditional image generation with CLIP latents, arXiv:2204.06125 |
//! | Rombach22 | Rombach et al., High-resolution image synthesis with latent diffusion models, arXiv:2112.10752 |
//! | Saharia22 | Saharia et al., Imagen, arXiv:2205.11487 |
//! | Salimans22 | Salimans and Ho, Progressive distillation, arXiv:2202.00512 |
//! | Sennrich16 | Sennrich et al., Neural machine translation of rare words with subword units, arXiv:1508.07909 |
//! | Sohl15 | Sohl-Dickstein et al., Deep unsupervised learning using nonequilibrium thermodynamics, arXiv:1503.03585 |
//! | Song19 | Song and Ermon, Generative modeling by estimating gradients of the data distribution, arXiv:1907.05600 |
//! | Song21 | Song et al., Score-based generative modeling through stochastic differential equations, arXiv:2011.13456 |
//! | Song21c | Song et al., Denoising diffusion implicit models, arXiv:2010.02502 |
//! | Tancik20 | Tancik et al., Fourier features let networks learn high frequency functions in low dimensional domains, arXiv:2006.10739 |
//! | Uria13 | Uria et al., RNADE, arXiv:1306.0186 |

pub mod adaptive;
pub mod card;
pub mod clip;
pub mod codec;
pub mod condition;
pub mod denoise;
pub mod device;
pub use undiffuse_data::{files, memory};
pub mod examples;
pub mod forward;
pub mod image;
pub mod likelihood;
pub mod model;
pub mod part;
pub mod prior;
pub mod request;
pub mod run;
pub mod sample;
pub mod train;
pub mod variation;
pub mod words;

pub use burn;
pub use files::FileError;
pub use model::Model;
pub use undiffuse_data as data;
pub use undiffuse_math as math;
pub use undiffuse_nn as nn;
