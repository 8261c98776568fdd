//! What the dashboard knows of a run: events go in, the screen reads it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use undiffuse::data::{Image, Options};
use undiffuse::run::{LogLine, RunFolder};
use undiffuse::train::{Event, Started, Step};

use super::curve::Curve;
use super::gallery::Gallery;
use super::text::{count, number, speed};

/// Happenings that are kept to be shown.
const LOG: usize = 50;
/// Least numbers of pictures on the screen, to choose from with `z`.
const ZOOMS: [usize; 4] = [6, 15, 60, 1];

/// What the events do not tell.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The recipe.
    pub preset: String,
    /// Where the pictures come from.
    pub data: String,
    /// Where it is computed.
    pub device: String,
    /// Wall-clock budget as it was asked for, or empty.
    pub budget: String,
}

/// What fills the middle of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Curves at the left, samples at the right.
    Both,
    /// Samples alone.
    Samples,
    /// Curves alone.
    Curves,
}

/// How much a happening matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Good to know.
    Note,
    /// Should be read.
    Warning,
}

/// A line of the log.
pub struct Entry {
    /// Seconds since the dashboard began.
    pub seconds: f64,
    /// How much it matters.
    pub weight: Weight,
    /// The text.
    pub text: String,
}

/// The state of the dashboard.
pub struct Run {
    /// What the events do not tell.
    pub setting: Setting,
    /// The first event.
    pub started: Option<Started>,
    /// The newest step, and when it was heard of.
    pub step: Option<(Step, Instant)>,
    /// Pictures at the end, once known.
    pub until: Option<u64>,
    /// Training loss.
    pub loss: Curve,
    /// Validation loss.
    pub validation: Curve,
    /// Norm of the gradient.
    pub gradient: Curve,
    /// Learning rate.
    pub lr: Curve,
    /// The newest samples.
    pub gallery: Option<Gallery>,
    /// The last happenings, oldest first.
    pub log: VecDeque<Entry>,
    /// What is shown in the middle.
    pub view: View,
    /// Whether the help lies over the screen.
    pub help: bool,
    /// Whether the run is about to stop.
    pub stopping: bool,
    zoom: usize,
    /// When the budget is used up.
    deadline: Option<Instant>,
    began: Instant,
    // Seconds and pictures of the first step that was seen, for the mean speed.
    first: Option<(f64, u64)>,
}

impl Run {
    /// A run of which nothing is known yet.
    pub fn new(setting: Setting) -> Run {
        Run {
            setting,
            started: None,
            step: None,
            until: None,
            loss: Curve::default(),
            validation: Curve::default(),
            gradient: Curve::default(),
            lr: Curve::default(),
            gallery: None,
            log: VecDeque::new(),
            view: View::Both,
            help: false,
            stopping: false,
            zoom: 0,
            deadline: None,
            began: Instant::now(),
            first: None,
        }
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.start(started),
            Event::Planned { until, images_per_second, seconds_left } => {
                let first = self.deadline.is_none();
                self.until = Some(*until);
                self.deadline = Some(Instant::now() + Duration::from_secs_f64(seconds_left.max(0.0)));
                if first {
                    let (end, speed) = (count(*until), speed(*images_per_second));
                    self.note(format!("the speed is {speed} images/s: about {end} images in the time there is"));
                }
            }
            Event::Step(step) => self.step(step),
            Event::Validated { nimg, loss } => {
                self.validation.push(*nimg as f64, *loss);
                self.note(format!("validation loss {} at {} images", number(*loss), count(*nimg)));
            }
            Event::Preview(preview) => {
                let side = self.started.as_ref().map_or(0, |s| s.size);
                self.gallery = Some(Gallery::new(preview.nimg, &preview.grid, side));
                self.note(format!("samples: {}", preview.path.display()));
            }
            Event::Saved { path, .. } => self.note(format!("saved {}", path.display())),
            Event::Finished { model, .. } => self.note(format!("done: {}", model.display())),
        }
    }

    fn start(&mut self, started: &Started) {
        if started.nimg > 0 {
            self.note(format!("resumes at {} images", count(started.nimg)));
            let run = RunFolder::new(&started.run);
            self.replay(&run, started.nimg);
            self.last_samples(&run, started.size);
        }
        for warning in &started.warnings {
            self.push(Weight::Warning, warning.clone());
        }
        self.started = Some(started.clone());
    }

    fn step(&mut self, step: &Step) {
        self.draw(step);
        self.until = step.until.or(self.until);
        self.first = self.first.or(Some((step.seconds, step.nimg)));
        self.step = Some((*step, Instant::now()));
    }

    fn draw(&mut self, step: &Step) {
        let nimg = step.nimg as f64;
        self.loss.push(nimg, step.loss);
        self.gradient.push(nimg, step.gradient_norm);
        self.lr.push(nimg, step.lr);
    }

    /// The curves of a run's earlier part, up to `until` images.
    fn replay(&mut self, run: &RunFolder, until: u64) {
        for line in run.log() {
            match line {
                LogLine::Step(step) if step.nimg <= until => self.draw(&step),
                LogLine::Validation { nimg, loss } if nimg <= until => self.validation.push(nimg as f64, loss),
                _ => {}
            }
        }
    }

    /// The newest grid of a run's earlier part.
    fn last_samples(&mut self, run: &RunFolder, side: usize) {
        if let Some((nimg, path)) = run.samples().pop_last()
            && let Ok(grid) = Image::open(&path, &Options::default())
        {
            self.gallery = Some(Gallery::new(nimg, &grid, side));
        }
    }

    /// Adds a line to the log.
    pub fn note(&mut self, text: String) {
        self.push(Weight::Note, text);
    }

    fn push(&mut self, weight: Weight, text: String) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(Entry { seconds: self.began.elapsed().as_secs_f64(), weight, text });
    }

    /// The next view.
    pub fn turn(&mut self) {
        self.view = match self.view {
            View::Both => View::Samples,
            View::Samples => View::Curves,
            View::Curves => View::Both,
        };
    }

    /// The next number of pictures on the screen.
    pub fn zoom(&mut self) {
        self.zoom = (self.zoom + 1) % ZOOMS.len();
    }

    /// Least number of pictures on the screen.
    pub fn wanted(&self) -> usize {
        ZOOMS[self.zoom]
    }

    /// Seconds since the program began with the run.
    pub fn seconds(&self) -> f64 {
        match &self.step {
            Some((step, when)) => step.seconds + when.elapsed().as_secs_f64(),
            None => self.began.elapsed().as_secs_f64(),
        }
    }

    /// Share of the run that is done.
    pub fn share(&self) -> Option<f64> {
        let (step, _) = self.step.as_ref()?;
        Some((step.nimg as f64 / self.until?.max(1) as f64).min(1.0))
    }

    /// Seconds to the end: of the budget, or at the mean speed so far, in which previews and savings are.
    pub fn left(&self) -> Option<f64> {
        if let Some(deadline) = self.deadline {
            return Some(deadline.saturating_duration_since(Instant::now()).as_secs_f64());
        }
        let ((step, when), (seconds, nimg)) = (self.step.as_ref()?, self.first?);
        let mean = match step.seconds - seconds {
            spent if spent > 0.0 => (step.nimg - nimg) as f64 / spent,
            _ => step.images_per_second,
        };
        let left = self.until?.saturating_sub(step.nimg) as f64 / mean;
        left.is_finite().then(|| (left - when.elapsed().as_secs_f64()).max(0.0))
    }
}
