//! What an experiment found: numbers beside the paper's, figures, and what must be said about both.

use std::path::PathBuf;

use undiffuse_data::{Image, encode_png};

use crate::{Error, ExperimentOptions};

/// The bounds that a number should lie in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// Not below this.
    pub low: Option<f64>,
    /// Not above this.
    pub high: Option<f64>,
}

impl Goal {
    /// At least `low`.
    pub fn at_least(low: f64) -> Self {
        Self { low: Some(low), high: None }
    }

    /// At most `high`.
    pub fn at_most(high: f64) -> Self {
        Self { low: None, high: Some(high) }
    }

    /// Between the two, ends included.
    pub fn between(low: f64, high: f64) -> Self {
        Self { low: Some(low), high: Some(high) }
    }

    /// Whether `value` lies within; NaN never does.
    pub fn met(&self, value: f64) -> bool {
        !value.is_nan() && self.low.is_none_or(|low| value >= low) && self.high.is_none_or(|high| value <= high)
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The paper's value, where it gives one.
    pub paper: Option<f64>,
    /// Whether the paper does not print that value and it was computed from others that it prints.
    pub derived: bool,
    /// Ours.
    pub ours: f64,
    /// Standard error of ours, where it is an estimate.
    pub error: Option<f64>,
    /// Where ours should lie; `None` when the row only informs.
    pub goal: Option<Goal>,
    /// The unit, empty for pure numbers.
    pub unit: &'static str,
}

impl Row {
    /// A number of ours.
    pub fn new(what: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Self { what: what.into(), paper: None, derived: false, ours, error: None, goal: None, unit }
    }

    /// The same beside the paper's.
    pub fn paper(self, paper: f64) -> Self {
        Self { paper: Some(paper), ..self }
    }

    /// The same beside a value that follows from others that the paper prints.
    pub fn derived(self, paper: f64) -> Self {
        Self { paper: Some(paper), derived: true, ..self }
    }

    /// The same with its standard error.
    pub fn error(self, error: f64) -> Self {
        Self { error: Some(error), ..self }
    }

    /// The same with the bounds that it should lie in.
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Whether the goal is met; `None` without one.
    pub fn met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.met(self.ours))
    }
}

/// What an experiment found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExperimentReport {
    /// The table.
    pub rows: Vec<Row>,
    /// Pictures that were written.
    pub figures: Vec<PathBuf>,
    /// How the numbers were made, and what falls short.
    pub notes: Vec<String>,
}

impl ExperimentReport {
    /// Writes a picture into the folder for figures, with the seed in its text.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn figure(&mut self, options: &ExperimentOptions, file: &str, image: &Image) -> Result<(), Error> {
        let path = options.out.join(file);
        let text = [("seed".to_owned(), options.seed.to_string())];
        undiffuse::files::write(&path, &encode_png(image, &text)?)?;
        self.figures.push(path);
        Ok(())
    }

    /// Adds a line on how the numbers were made.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}
