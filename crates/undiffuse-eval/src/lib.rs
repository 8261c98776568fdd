//! What a model's pictures are worth: protocol, figures, an audit for copies, a report.
//!
//! ```text
//! model → pictures of seeds 0…n−1      generate    once, on disk, resumed after any interruption
//! pictures → vectors                   vectors     by a network of `undiffuse-features`, once for each set and network
//! vectors → figures                    undiffuse-metrics
//!         → copies of the training set audit
//! everything → report.json, report.html
//! ```
//!
//! A [`Report`] says under which [`Protocol`](protocol::Protocol) its figures were made; those of two protocols are not compared.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Carlini23 | Carlini et al., Extracting training data from diffusion models, arXiv:2301.13188 |
//! | Hessel21 | Hessel et al., CLIPScore: a reference-free evaluation metric for image captioning, arXiv:2104.08718 |
//! | Lehmann75 | Lehmann, Nonparametrics: statistical methods based on ranks |
//! | Meehan20 | Meehan et al., A non-parametric test to detect data-copying in generative models, arXiv:2004.05675 |
//! | Ramesh22 | Ramesh et al., Hierarchical text-conditional image generation with CLIP latents, arXiv:2204.06125 |
//! | Wilson27 | Wilson, Probable inference, the law of succession, and statistical inference |
//! | Xu18 | Xu et al., AttnGAN: fine-grained text to image generation with attentional generative adversarial networks, arXiv:1711.10485 |
//! | Yoon23 | Yoon et al., Diffusion probabilistic models generalize when they fail to memorize, ICML 2023 workshop |

pub mod audit;
mod classes;
pub mod duplicates;
mod error;
mod evaluate;
mod generate;
mod illustrate;
mod judge;
mod pictures;
pub mod prior;
pub mod protocol;
pub mod report;
pub mod scenes;
mod search;
mod shelf;
mod vectors;

pub use classes::Class;
pub use error::EvalError;
pub use evaluate::{EvalRequest, Evaluation, Known, Likelihood, Listener, Subject, evaluate};
pub use generate::{Generated, Generator, identity};
pub use judge::Judge;
pub use pictures::PictureSet;
pub use report::Report;
pub use search::{Hit, search};
pub use vectors::{Vectors, vectors};

/// How far an evaluation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalProgress {
    /// What is being done.
    pub stage: EvalStage,
    /// How much of it is done.
    pub done: usize,
    /// Of how much.
    pub total: usize,
}

/// What an evaluation does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalStage {
    /// Vectors of the data.
    RealVectors,
    /// Making pictures: counted in evaluations of the network, `rows` to a picture.
    Generating {
        /// Evaluations for a picture.
        rows: usize,
    },
    /// Vectors of the judged pictures.
    GeneratedVectors,
    /// Vectors of what the model was trained on, and of what was held out.
    TrainingVectors,
    /// Vectors of the CLIP that judges.
    Judging,
    /// The measure of this tag.
    Measuring(&'static str),
    /// Likelihood of held-out pictures.
    Likelihood,
    /// Nearest training pictures.
    Audit,
}
