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
