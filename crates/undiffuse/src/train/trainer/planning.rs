//! How long a run is: from its configuration, from its speed, from what is asked when it goes on.

use std::time::Instant;

use super::{Resume, Trainer, wrong};
use crate::train::config::IMAGES_MAX;
use crate::train::length::{self, Segment, parse_duration};
use crate::train::{Event, TrainError, preview, validation};

/// Seconds (and steps) that the speed is measured over before the length of a budgeted run is fixed.
const MEASURE_SECONDS: f64 = 8.0;
const MEASURE_STEPS: u64 = 4;
/// Share of a budget that is left for loading, saving and a machine that slows down.
const RESERVE: f64 = 0.03;

impl Trainer {
    /// Plans a run whose length is not left to its speed.
    pub(super) fn plan_as_configured(&mut self) -> Result<(), TrainError> {
        let train = &self.config.train;
        let until = match (train.images, train.epochs) {
            _ if self.length.until().is_some() => return Ok(()),
            (0, 0.0) => return Ok(()),
            (0, epochs) => self.passes(epochs),
            (images, _) => images,
        };
        self.plan(until, 0.0)
    }

    /// Adds a stretch to the run's length, when one is asked for.
    pub(super) fn extend(&mut self, how: &Resume) -> Result<(), TrainError> {
        if how.images.is_some() || how.epochs.is_some() {
            self.length.previews = None;
        }
        let images = match how {
            Resume { images: Some(images), .. } => Some(*images),
            Resume { epochs: Some(epochs), .. } => Some(self.passes(*epochs)),
            Resume { budget: Some(budget), .. } => {
                let budget = parse_duration(budget).map_err(wrong)?.as_secs_f64();
                match (self.length.until(), self.length.images_per_second) {
                    // The speed of the first planning is known, so the new end is, too.
                    (Some(until), speed) if speed > 0.0 => {
                        Some(until.saturating_add(self.afford(speed * budget * (1.0 - RESERVE))))
                    }
                    _ => {
                        self.budget = Some(budget);
                        None
                    }
                }
            }
            _ => None,
        };
        match images {
            Some(images) if self.length.until().is_none_or(|until| images > until) => {
                self.plan(images, self.length.images_per_second)
            }
            Some(images) => Err(TrainError::Network(format!(
                "the run's end is at {} images already: give a later one than {images}",
                self.length.until().unwrap_or(0)
            ))),
            None => Ok(()),
        }
    }

    /// Pictures seen in so many passes over the data; as many as can be counted where that is too many.
    fn passes(&self, epochs: f64) -> u64 {
        (epochs * self.split.train.len() as f64).ceil() as u64
    }

    /// Fixes the end of the run, on disk before any step depends on it.
    fn plan(&mut self, until: u64, images_per_second: f64) -> Result<(), TrainError> {
        let batch = self.config.train.batch as u64;
        let rounded = until.div_ceil(batch).max(1).checked_mul(batch).filter(|until| *until <= IMAGES_MAX);
        let until = rounded.ok_or_else(|| wrong(format!("{until} images are too much: at most {IMAGES_MAX}")))?;
        let from = self.length.until().unwrap_or(self.counters.nimg);
        self.length.segments.push(Segment { from, until });
        self.length.images_per_second = images_per_second;
        self.run.write_length(&self.length)
    }

    /// Fixes the length of a budgeted run once the speed is known.
    pub(super) fn measure(&mut self) -> Result<Option<Event>, TrainError> {
        let Some(budget) = self.budget.filter(|_| self.length.until().is_none()) else { return Ok(None) };
        // The first step is not typical: memory is touched for the first time.
        let Some((since, from)) = self.measuring else {
            self.measuring = Some((Instant::now(), self.counters.nimg));
            return Ok(None);
        };
        let batch = self.config.train.batch as u64;
        let (seconds, images) = (since.elapsed().as_secs_f64(), self.counters.nimg - from);
        if images < MEASURE_STEPS * batch || seconds < MEASURE_SECONDS.min(budget / 10.0) {
            return Ok(None);
        }
        let speed = images as f64 / seconds;
        let left = budget * (1.0 - RESERVE) - self.began.elapsed().as_secs_f64();
        let until = self.counters.nimg + self.afford(speed * left);
        self.plan(until, speed)?;
        Ok(Some(Event::Planned { until: self.length.until().unwrap_or(until), images_per_second: speed }))
    }

    /// How many pictures to train on where there is time for `room` and nothing else; notes how many grids of samples there are.
    fn afford(&mut self, room: f64) -> u64 {
        // An evaluation of the network costs about a third of training on the picture.
        let evaluations =
            preview::PICTURES * self.config.sample.steps + validation::PICTURES.min(self.split.held_out.len());
        let asked = self.config.train.previews;
        let (images, previews) = length::shared(room, evaluations as f64 / 3.0, asked);
        self.length.previews = (previews < asked).then_some(previews);
        images.max(self.config.train.batch as u64)
    }
}
