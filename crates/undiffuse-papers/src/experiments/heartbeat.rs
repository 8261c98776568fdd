//! Binary heartbeats [Sohl15, section 3.1.2].

use crate::{Error, Listener, Options, Report};

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written.
pub fn run(_: &Options, _: Listener) -> Result<Report, Error> {
    Ok(Report::default())
}
