//! Diffusion models over HTTP: a studio in the browser, a job API, and the APIs that existing clients speak.
//!
//! ```text
//! socket → guard (host, origin, token, limits) → api → engine → store
//!                                                 |       |
//!                                               studio   models, batches on the device
//! ```
//!
//! | module | in one sentence |
//! |---|---|
//! | [`options`] | what the service is told when it starts |
//! | [`job`] | a request for pictures and what becomes of it, as the API writes them |
//! | [`api`] | HTTP in and out, one file a part |
//! | [`budget`] | one purse of bytes for all that clients can make the service hold |
//! | [`engine`] | jobs in fair order, pictures of many jobs in one batch, results in a store that survives anything |
//! | `folders` | what folders are called by clients |
//! | `loras` | LoRA files of one folder, named in prompts |
//! | [`parameters`] | settings in pictures of other programs |
//! | [`prompt`] | which class of a model a sentence names |
//! | [`reports`] | evaluation reports, found by name, and two of them side by side |
//! | [`runs`] | training runs: what their folders say, and trainings as child processes |
//! | [`server`] | the loop around the router, and an orderly end |
//! | `connection`, `slots` | one connection from its first byte to its last; places for them |
//! | [`guard`] | what stands before every handler |
//! | [`gate`] | who may come in |
//! | [`peer`] | who is at the other end |
//! | [`stall`] | a socket that gives up on a peer that does not read |
//! | [`studio`] | the studio's files |
//! | [`metrics`] | figures for monitoring |
//! | [`toy`] | diffusion in two dimensions, exactly |
//! | [`words`] | schedules, solvers and spacings in a client's words, bounded |
//! | [`problem`] | what a client is told when something is refused |
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Efron11 | Efron, Tweedie's formula and selection bias |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |

// `println!` and `eprintln!` panic when nobody can hear them.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod budget;
mod connection;
pub mod engine;
mod folders;
pub mod gate;
pub mod guard;
pub mod job;
mod loras;
pub mod metrics;
pub mod options;
pub mod parameters;
pub mod peer;
pub mod problem;
pub mod prompt;
pub mod reports;
pub mod runs;
mod samplers;
pub mod server;
mod slots;
pub mod stall;
pub mod studio;
pub mod toy;
pub mod words;

pub use options::ServeOptions;
pub use server::{ServeError, Server, serve};

/// Writes a line to the error output. That nobody reads it is no error.
pub(crate) fn remark(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
