//! `metrics.jsonl`, and the statistics of noisy curves.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use undiffuse::files;

/// One optimiser step of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// Pictures seen after it.
    pub nimg: u64,
    /// The loss; NaN where the log has no number.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub lr: f64,
}

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
    /// How often the program began anew.
    pub restarts: usize,
    /// Lines that are no JSON of ours: a killed program leaves one.
    pub broken: usize,
}

/// Bytes of a log that are looked at: some million steps.
const MOST: u64 = 1 << 30;
/// The longest line that is read; ours are a few hundred bytes.
const LONGEST: u64 = 64 << 10;

/// The next line, or a piece of one that is too long; false at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    reader.take(LONGEST).read_until(b'\n', line).is_ok_and(|n| n > 0)
}

impl Log {
    /// Reads the log of a run; empty where there is none.
    pub fn read(run: &Path) -> Self {
        let mut log = Self::default();
        let mut seconds = 0.0;
        let Ok(file) = files::open_inside(run, Path::new("metrics.jsonl")) else { return log };
        let mut reader = BufReader::new(file.take(MOST));
        let mut line = Vec::new();
        while read_line(&mut reader, &mut line) {
            let Ok(line) = serde_json::from_slice::<Value>(&line) else {
                log.broken += 1;
                continue;
            };
            let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
            let count = |key: &str| line[key].as_u64().unwrap_or(0);
            match line["event"].as_str() {
                Some("validation") => log.validations.push((count("nimg"), number("loss"))),
                Some("diverged") => {
                    let what = line["what"].as_str().unwrap_or_default().to_owned();
                    log.failures.push(Failure { step: count("step"), nimg: count("nimg"), what });
                }
                Some("step") => {
                    log.restarts += usize::from(number("seconds") < seconds);
                    seconds = number("seconds");
                    log.steps.push(Step {
                        step: count("step"),
                        nimg: count("nimg"),
                        loss: number("loss"),
                        gradient_norm: number("gradient_norm"),
                        lr: number("lr"),
                    });
                }
                _ => log.broken += 1,
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
