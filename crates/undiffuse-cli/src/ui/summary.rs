//! What stays on the terminal after a run: where everything is, and the command that makes more.

use std::io::IsTerminal;
use std::path::PathBuf;

use undiffuse::model::{ModelError, ModelFolder};
use undiffuse::train::Event;

use super::gallery::{Colors, Gallery};
use super::text::{count, duration, number, shell};

/// Columns, rows and pictures of the last samples on a terminal.
const LAST: (usize, usize, usize) = (78, 16, 10);

/// Gathers what a run's events say of its end.
#[derive(Default)]
pub struct Summary {
    run: PathBuf,
    side: usize,
    seconds: f64,
    samples: Option<PathBuf>,
    gallery: Option<Gallery>,
    validation: Option<f64>,
    model: Option<(u64, PathBuf)>,
}

impl Summary {
    /// Takes in an event.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::Started(started) => (self.run, self.side) = (started.run.clone(), started.size),
            Event::Step(step) => self.seconds = step.seconds,
            Event::Validated { loss, .. } => self.validation = Some(*loss),
            Event::Preview(preview) => {
                self.samples = Some(preview.path.clone());
                self.gallery = Some(Gallery::new(preview.nimg, &preview.grid, self.side));
            }
            Event::Finished { nimg, model } => self.model = Some((*nimg, model.clone())),
            Event::Planned { .. } | Event::Saved { .. } => {}
        }
    }

    /// The lines of a finished run; none of one that is not.
    pub fn lines(&self) -> Vec<String> {
        let Some((nimg, model)) = &self.model else { return Vec::new() };
        let mut lines = vec![format!("done: {} images in {}", count(*nimg), duration(self.seconds))];
        lines.push(format!("  run         {}", self.run.display()));
        lines.push(format!("  model       {}", model.display()));
        lines.extend(self.samples.iter().map(|path| format!("  samples     {}", path.display())));
        lines.extend(self.validation.map(|loss| format!("  validation  {}", number(loss))));
        lines.push(String::new());
        let run = shell(&self.run);
        lines.push(match (ModelFolder::find(model), &self.samples) {
            (Err(ModelError::IsClip(_)), _) => format!("find some:  undiffuse search {run} WORDS --data PICTURES"),
            (_, Some(_)) => format!("make more:  undiffuse sample {run} -n 64 --seed 1"),
            // A run that showed nothing may be of a model that makes no pictures, a prior: what any model is worth, `eval` says.
            (_, None) => format!("judge it:  undiffuse eval {run}"),
        });
        lines
    }

    /// Prints the end of a finished run, with its last samples when that is a terminal.
    pub fn print(&mut self) {
        let lines = self.lines();
        if let (Some(gallery), false, true) = (&mut self.gallery, lines.is_empty(), std::io::stdout().is_terminal()) {
            let (columns, rows, wanted) = LAST;
            gallery.lines(columns, rows, wanted, Colors::detect()).iter().for_each(super::paint);
        }
        lines.iter().for_each(super::say);
    }
}
