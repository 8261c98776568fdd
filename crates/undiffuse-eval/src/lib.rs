//! What a model's pictures are worth: features, protocol, figures, an audit for copies, a report; and what ails a run.
//!
//! ```text
//! model → pictures of seeds 0…n−1      generate    once, on disk, resumed after any interruption
//! pictures → vectors                   vectors     by a feature network, once for each set and network
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
//! | Heusel17 | Heusel et al., GANs trained by a two time-scale update rule, arXiv:1706.08500 |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Keys81 | Keys, Cubic convolution interpolation for digital image processing |
//! | Kingma21 | Kingma et al., Variational diffusion models, arXiv:2107.00630 |
//! | Lehmann75 | Lehmann, Nonparametrics: statistical methods based on ranks |
//! | Lin24 | Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv:2305.08891 |
//! | Meehan20 | Meehan et al., A non-parametric test to detect data-copying in generative models, arXiv:2004.05675 |
//! | Parmar22 | Parmar et al., On aliased resizing and surprising subtleties in GAN evaluation, arXiv:2104.11222 |
//! | Pearson01 | Pearson, On lines and planes of closest fit to systems of points in space |
//! | Sandler18 | Sandler et al., MobileNetV2, arXiv:1801.04381 |
//! | Szegedy16 | Szegedy et al., Rethinking the Inception architecture for computer vision, arXiv:1512.00567 |
//! | Wilson27 | Wilson, Probable inference, the law of succession, and statistical inference |
//! | Yoon23 | Yoon et al., Diffusion probabilistic models generalize when they fail to memorize, ICML 2023 workshop |

pub mod audit;
mod classes;
pub mod doctor;
pub mod duplicates;
mod error;
mod evaluate;
pub mod features;
mod generate;
mod illustrate;
mod pictures;
pub mod protocol;
pub mod report;
mod shelf;
mod vectors;

pub use classes::Class;
pub use error::EvalError;
pub use evaluate::{Evaluation, Known, Likelihood, Listener, Request, Subject, evaluate};
pub use generate::{Generated, Generator, identity};
pub use pictures::Pictures;
pub use report::Report;
pub use vectors::{Vectors, vectors};

/// How far an evaluation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: usize,
    /// Of how much.
    pub total: usize,
}

/// What an evaluation does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
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
    /// The measure of this tag.
    Measuring(&'static str),
    /// Likelihood of held-out pictures.
    Likelihood,
    /// Nearest training pictures.
    Audit,
}
