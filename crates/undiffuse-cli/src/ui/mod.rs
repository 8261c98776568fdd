//! What a person sees while something runs.

pub mod bars;
mod curve;
mod dashboard;
mod gallery;
mod lines;
pub mod live;
mod plot;
mod run;
mod screen;
#[cfg(test)]
mod screen_tests;
pub mod summary;
pub mod text;

use undiffuse::train::Event;

pub use run::Setting;

use crate::terminal;

/// Someone who is told what happens in a training run.
pub trait Watch {
    /// Hears of an event.
    fn show(&mut self, event: &Event);
}

/// The dashboard where that is possible and not `plain`; lines otherwise.
pub fn watch(plain: bool, setting: Setting) -> Box<dyn Watch> {
    if !plain && terminal::capable() {
        match dashboard::Dashboard::open(setting) {
            Ok(dashboard) => return Box::new(dashboard),
            Err(e) => crate::output::remark(&format!("no dashboard on this terminal ({e}); plain lines follow")),
        }
    }
    Box::new(lines::Lines::default())
}

/// Prints a line of text; a reader that went away (`| head`) does not end a run.
pub fn say(line: impl std::fmt::Display) {
    paint(crate::output::escaped(&line.to_string()));
}

/// Prints a line of a picture, with its colours.
fn paint(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
