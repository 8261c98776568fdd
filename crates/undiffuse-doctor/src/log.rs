//! `metrics.jsonl`, and the statistics of noisy curves.

use undiffuse::run::{LogLine, RunFolder, Step};

/// A divergence that stopped the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The step that was not done.
    pub step: u64,
    /// Pictures seen before it.
    pub nimg: u64,
    /// What was seen.
    pub what: String,
}

/// What a run wrote down step by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Every step.
    pub steps: Vec<Step>,
    /// Pictures seen, and the loss on held-out pictures.
    pub validations: Vec<(u64, f64)>,
    /// Divergences.
    pub failures: Vec<Failure>,
    /// How often the program restarted.
    pub restarts: usize,
}

impl Log {
    /// Reads the log of a run; empty where there is none.
    pub fn read(run: &RunFolder) -> Self {
        let mut log = Self::default();
        let mut seconds = 0.0;
        for line in run.log() {
            match line {
                LogLine::Validation { nimg, loss } => log.validations.push((nimg, loss)),
                LogLine::Diverged { step, nimg, what } => log.failures.push(Failure { step, nimg, what }),
                LogLine::Step(step) => {
                    log.restarts += usize::from(step.seconds < seconds);
                    seconds = step.seconds;
                    log.steps.push(step);
                }
            }
        }
        log
    }

    /// Losses of the last tenth of the steps, 20 at least and 200 at most.
    pub fn late(&self) -> &[Step] {
        let wanted = (self.steps.len() / 10).clamp(20, 200);
        &self.steps[self.steps.len().saturating_sub(wanted)..]
    }

    /// Their mean, where the losses are numbers.
    pub fn late_loss(&self) -> Option<f64> {
        let losses = self.late().iter().map(|s| s.loss).collect::<Vec<_>>();
        (!losses.is_empty()).then(|| mean(&losses)).filter(|loss| loss.is_finite())
    }

    /// The run in about `count` parts of as many steps, at least `least` each; what is left over is left out at the start.
    pub fn blocks(&self, count: usize, least: usize) -> Vec<&[Step]> {
        let size = (self.steps.len() / count.max(1)).max(least).max(1);
        let mut blocks: Vec<&[Step]> = self.steps.rchunks_exact(size).collect();
        blocks.reverse();
        blocks
    }

    /// The largest learning rate.
    pub fn peak_lr(&self) -> f64 {
        self.steps.iter().map(|s| s.lr).fold(0.0, f64::max)
    }
}

/// Arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The middle value; NaN of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

/// Mean of paired differences `a - b` and its standard error.
pub fn paired(a: &[f64], b: &[f64]) -> (f64, f64) {
    spread(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// Mean and its standard error.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let (n, mean) = (values.len() as f64, mean(values));
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}
