//! What is to be seen while pictures are made.

use std::ops::Range;

use undiffuse::sample::SampleStep;

use super::Job;
use crate::output::show;
use crate::ui::{bars::Bar, live::Live};

/// The pictures themselves on a terminal, or a bar.
pub struct Shown {
    live: Option<Live>,
    bar: Option<Bar>,
    rows: usize,
    n: usize,
    /// Evaluations of the pictures made by the ODE.
    evaluations: Vec<usize>,
}

impl Shown {
    pub fn new(job: &Job) -> Self {
        // The ODE has no rows to count.
        let (args, adaptive) = (&job.args, job.args.adaptive.is_some());
        let rows = if adaptive { 1 } else { job.plan.rows.len() };
        let live = if args.plain || adaptive { None } else { Live::open() };
        let bar = live.is_none().then(|| Bar::new(job.n.saturating_mul(rows), "sampling").rows_per_image(rows));
        Self { live, bar, rows, n: job.n, evaluations: Vec::new() }
    }

    pub fn step(&mut self, job: &Job, pictures: &Range<usize>, progress: SampleStep) {
        if let Some(bar) = &mut self.bar {
            bar.step(pictures.len());
        }
        if let Some(live) = self.live.as_mut().filter(|live| live.due() || progress.row == self.rows) {
            let Range { start, end } = pictures;
            let (row, rows) = (progress.row, self.rows);
            let status = format!("pictures {start}–{end} of {}, evaluation {row} of {rows}", self.n);
            live.show(&job.model.previews(progress.denoised), &status);
        }
    }

    pub fn integrated(&mut self, evaluations: &[usize]) {
        self.evaluations.extend(evaluations);
        if let Some(bar) = &mut self.bar {
            bar.step(evaluations.len());
        }
    }

    /// Takes everything away.
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub fn finish(self) -> anyhow::Result<()> {
        self.bar.into_iter().for_each(Bar::finish);
        let (Some(low), Some(high)) = (self.evaluations.iter().min(), self.evaluations.iter().max()) else {
            return Ok(());
        };
        let mean = self.evaluations.iter().sum::<usize>() as f64 / self.evaluations.len() as f64;
        show(&format!("evaluations of the network for a picture: {low} to {high}, {mean:.0} in the mean\n"))
    }
}
