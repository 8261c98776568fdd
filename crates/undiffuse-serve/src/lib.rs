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
//! | [`engine`] | jobs in fair order, pictures of many jobs in one batch, results in a store that survives anything |
//! | [`runs`] | training runs: what their folders say, and trainings as child processes |
//! | [`toy`] | diffusion in two dimensions, exactly |
//! | [`words`] | schedules, solvers and spacings in a client's words, bounded |
//! | [`problem`] | what a client is told when something is refused |

pub mod api;
pub mod engine;
pub mod job;
pub mod options;
pub mod problem;
pub mod runs;
pub mod toy;
pub mod words;
