//! A progress bar for work of a known size: drawn on a terminal, rare plain lines otherwise.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use undiffuse::data::{Opening, OpeningStage};

use super::text::{count, duration, speed};
use crate::output::remark;

/// Seconds between plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// Progress in rows: one picture through one row of a plan, or whatever is counted. Written to standard error.
pub struct Bar {
    label: String,
    total: usize,
    done: usize,
    per_image: usize,
    began: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// A bar for `total_rows` rows.
    pub fn new(total_rows: usize, label: impl Into<String>) -> Bar {
        let (label, now) = (label.into(), Instant::now());
        let bar =
            std::io::stderr().is_terminal().then(|| ProgressBar::new(total_rows as u64).with_message(label.clone()));
        let bar = Bar { label, total: total_rows, done: 0, per_image: 1, began: now, shown: now, bar };
        bar.rows_per_image(1)
    }

    /// Says how many rows make a picture, for the speed in images/s; 1 unless told.
    pub fn rows_per_image(mut self, rows: usize) -> Bar {
        self.per_image = rows.max(1);
        if let Some(bar) = &self.bar {
            let per_image = self.per_image as f64;
            let images = move |state: &ProgressState, to: &mut dyn Write| {
                let _ = write!(to, "{} images/s", speed(state.per_sec() / per_image));
            };
            let left = |state: &ProgressState, to: &mut dyn Write| {
                let _ = write!(to, "{} left", duration(state.eta().as_secs_f64()));
            };
            let template = "{msg} {bar:30.cyan/black.bright} {percent:>3} %  {images}  {left}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━╸━").with_key("images", images).with_key("left", left));
        }
        self
    }

    /// Counts `rows` more.
    pub fn step(&mut self, rows: usize) {
        self.done += rows;
        match &self.bar {
            Some(bar) => bar.inc(rows as u64),
            None if self.shown.elapsed() >= EVERY => {
                self.shown = Instant::now();
                remark(&self.line());
            }
            None => {}
        }
    }

    /// Takes the bar away; work that took long enough for lines gets a last one.
    pub fn finish(self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None if self.shown > self.began => remark(&self.line()),
            None => {}
        }
    }

    fn line(&self) -> String {
        let images = self.done / self.per_image;
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let percent = 100.0 * self.done as f64 / self.total.max(1) as f64;
        let rate = self.done as f64 / seconds;
        let left = duration(self.total.saturating_sub(self.done) as f64 / rate.max(1e-9));
        let speed = speed(rate / self.per_image as f64);
        format!("{}: {} images, {percent:.0} %, {speed} images/s, {left} left", self.label, count(images as u64))
    }
}

/// A bar for each stage of some work, one after the other.
pub struct Bars<S>(Option<(S, Bar)>);

impl<S> Default for Bars<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: PartialEq> Bars<S> {
    /// Shows that so much of a stage is `done`; `bar` makes the bar of a stage that begins.
    pub fn show(&mut self, stage: S, done: usize, bar: impl FnOnce() -> Bar) {
        if self.0.as_ref().is_none_or(|(at, _)| *at != stage) {
            self.finish();
            self.0 = Some((stage, bar()));
        }
        if let Some((_, bar)) = &mut self.0 {
            bar.step(done.saturating_sub(bar.done));
        }
    }

    /// Takes the last bar away.
    pub fn finish(&mut self) {
        self.0.take().into_iter().for_each(|(_, bar)| bar.finish());
    }
}

/// Shows the opening of a data set, a bar for each stage.
pub fn loading() -> impl FnMut(Opening) {
    let mut bars = Bars::default();
    move |Opening { stage, done, total }| {
        let label = match stage {
            OpeningStage::Measuring => "reading sizes",
            OpeningStage::Decoding => "decoding",
        };
        bars.show(stage, done, || Bar::new(total.unwrap_or(0), label));
        if total == Some(done) {
            bars.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_counts_images_not_rows() {
        let mut bar = Bar::new(200, "sampling").rows_per_image(20);
        bar.step(100);
        let line = bar.line();
        assert!(line.starts_with("sampling: 5 images, 50 %, ") && line.ends_with(" left"), "{line}");
        bar.finish();
        Bar::new(0, "nothing").finish();
    }
}
