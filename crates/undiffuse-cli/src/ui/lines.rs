//! Plain progress lines, for logs and pipes.

use std::time::{Duration, Instant};

use undiffuse::train::{Event, Started, Step};

use super::text::duration;
use super::{Watch, say};

/// Prints a run's events as lines, steps at most every few seconds.
pub struct Lines {
    last: Option<Instant>,
    loss: f64,
    every: Duration,
    /// When the budget is used up.
    deadline: Option<Instant>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { last: None, loss: f64::NAN, every: Duration::from_secs(5), deadline: None }
    }
}

impl Watch for Lines {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.started(started),
            Event::Planned { until, images_per_second, seconds_left } => {
                if self.deadline.is_none() {
                    say(format!("speed {images_per_second:.0} images/s: about {until} images in the time there is"));
                }
                self.deadline = Some(Instant::now() + Duration::from_secs_f64(seconds_left.max(0.0)));
            }
            Event::Step(step) => self.step(step),
            Event::Validated { nimg, loss } => say(format!("{nimg:>9} images  validation loss {loss:.4}")),
            Event::Preview(preview) => say(format!("{:>9} images  samples: {}", preview.nimg, preview.path.display())),
            Event::Saved { nimg, path } => say(format!("{nimg:>9} images  saved {}", path.display())),
            // The summary says it.
            Event::Finished { .. } => {}
        }
    }
}

impl Lines {
    fn started(&self, s: &Started) {
        let colour = if s.channels == 1 { "grey" } else { "colour" };
        say(format!("{} pictures, {}×{} {colour}, {} held out", s.images, s.size, s.size, s.held_out));
        if !s.classes.is_empty() {
            say(format!("{} classes: {}", s.classes.len(), s.classes.join(", ")));
        }
        say(format!("network of {:.2} M parameters; run folder {}", s.parameters as f64 / 1e6, s.run.display()));
        if s.nimg > 0 {
            say(format!("resumed at {} images", s.nimg));
        }
        for warning in &s.warnings {
            say(format!("warning: {warning}"));
        }
    }

    fn step(&mut self, s: &Step) {
        self.loss = if self.loss.is_nan() { s.loss } else { self.loss * 0.98 + s.loss * 0.02 };
        let finished = s.until.is_some_and(|until| s.nimg >= until);
        if self.last.is_some_and(|last| last.elapsed() < self.every) && !finished {
            return;
        }
        self.last = Some(Instant::now());
        let left = match (s.until, self.deadline) {
            (Some(until), Some(deadline)) => {
                let seconds = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
                format!("of about {until}  {} left", duration(seconds))
            }
            (Some(until), None) if s.images_per_second > 0.0 => {
                let seconds = until.saturating_sub(s.nimg) as f64 / s.images_per_second;
                format!("of {until}  {} left", duration(seconds))
            }
            _ => "measuring the speed".to_owned(),
        };
        say(format!(
            "{:>9} images  loss {:.4}  {:.0} images/s  lr {:.1e}  {left}",
            s.nimg, self.loss, s.images_per_second, s.lr
        ));
    }
}
