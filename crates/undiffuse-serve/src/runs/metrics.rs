//! `metrics.jsonl` of a run, read as it grows, and curves of as many points as a screen can show.

use serde::{Deserialize, Serialize};
use undiffuse::run::{LogEntry, LogLine, LogReader, RunFolder, Step};

/// The most that is read at once; the rest is read the next time.
const AT_ONCE: u64 = 64 << 20;
/// Steps that are kept; of longer runs neighbours are drawn together, two by two.
const KEPT: usize = 1 << 18;
/// Other events that are kept; of more every second one is.
const EVENTS: usize = 1 << 14;
/// Letters of what is said of a divergence.
const SAID: usize = 200;
/// Steps that a run's present loss is the mean of.
const RECENT: usize = 50;

/// The log of a run as far as it has been read.
#[derive(Debug, Default)]
pub struct RunMetrics {
    steps: Vec<Point>,
    validation: Vec<Validation>,
    diverged: Vec<Diverged>,
    /// Whether the last thing that happened was a divergence.
    ends_diverged: bool,
    /// Seconds of the sittings before the present one.
    before: f64,
    reader: LogReader,
    /// Steps that each of `steps` stands for, and those that make up the next one.
    stride: usize,
    next: Vec<Point>,
}

/// A step, in as few bytes as its precision needs: runs have hundreds of thousands.
#[derive(Clone, Copy, Debug)]
struct Point {
    nimg: u64,
    loss: f32,
    gradient_norm: f32,
    lr: f32,
    images_per_second: f32,
    seconds: f32,
}

/// The curves of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunCurves)]
pub struct Curves {
    /// Steps, neighbours drawn together.
    pub steps: Vec<Bucket>,
    /// Losses on held-out pictures.
    pub validation: Vec<Validation>,
    /// Divergences.
    pub diverged: Vec<Diverged>,
}

/// Some steps in a row: the means of their numbers. What the log has no number for is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunSteps)]
pub struct Bucket {
    /// Pictures seen after the last of them.
    pub nimg: u64,
    /// The loss.
    pub loss: Option<f64>,
    /// The least loss.
    pub loss_min: Option<f64>,
    /// The largest loss.
    pub loss_max: Option<f64>,
    /// The norm of the gradient before clipping.
    pub gradient_norm: Option<f64>,
    /// The learning rate.
    pub lr: Option<f64>,
    /// Pictures a second.
    pub images_per_second: Option<f64>,
    /// Seconds of training, all sittings together, after the last of them.
    pub seconds: f64,
}

/// The loss on held-out pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunValidation)]
pub struct Validation {
    /// Pictures seen.
    pub nimg: u64,
    /// The mean loss.
    pub loss: Option<f64>,
}

/// Training blew up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunDivergence)]
pub struct Diverged {
    /// Pictures seen before it.
    pub nimg: u64,
    /// The step that was not done.
    pub step: u64,
    /// What was seen.
    pub what: String,
}

/// Where a run stands by its log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Pictures seen.
    pub images: u64,
    /// The mean loss of the last steps.
    pub loss: Option<f64>,
    /// The last loss on held-out pictures.
    pub validation: Option<f64>,
    /// The speed of the last steps.
    pub images_per_second: Option<f64>,
    /// Seconds of training, all sittings together.
    pub seconds: f64,
    /// Whether the last thing that happened was a divergence.
    pub diverged: bool,
}

impl RunMetrics {
    /// Reads what was appended to the log since the last time, [`AT_ONCE`] bytes at most. One that was rewritten, as resuming
    /// a run may do, is read from its beginning; one that is not there is empty.
    pub fn update(&mut self, run: &RunFolder) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.read(run, AT_ONCE, |entry| match entry {
            LogEntry::Restart => *self = Self::default(),
            LogEntry::Line(line) => self.see(line),
        });
        self.reader = reader;
    }

    fn see(&mut self, line: LogLine) {
        match line {
            LogLine::Step(step) => self.step(&step),
            LogLine::Validation { nimg, loss } => {
                self.validation.push(Validation { nimg, loss: Some(loss).filter(|loss| loss.is_finite()) });
                halve(&mut self.validation);
            }
            LogLine::Diverged { nimg, step, what } => {
                self.ends_diverged = true;
                self.diverged.push(Diverged { nimg, step, what: what.chars().take(SAID).collect() });
                halve(&mut self.diverged);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        self.ends_diverged = false;
        let last = self.next.last().or(self.steps.last()).map_or(0.0, |point| f64::from(point.seconds));
        let seconds = if step.seconds.is_finite() { step.seconds } else { 0.0 };
        // The clock starts again when a run is resumed.
        if self.before + seconds < last {
            self.before = last;
        }
        self.push(Point {
            nimg: step.nimg,
            loss: step.loss as f32,
            gradient_norm: step.gradient_norm as f32,
            lr: step.lr as f32,
            images_per_second: step.images_per_second as f32,
            seconds: (self.before + seconds) as f32,
        });
    }

    /// Keeps a step; of a run that is too long to keep all, drawn together with its neighbours.
    fn push(&mut self, step: Point) {
        self.next.push(step);
        if self.next.len() < self.stride.max(1) {
            return;
        }
        self.steps.extend(together(&self.next));
        self.next.clear();
        if self.steps.len() >= KEPT {
            self.steps = self.steps.chunks(2).filter_map(together).collect();
            self.stride = 2 * self.stride.max(1);
        }
    }

    /// Where the run stands.
    pub fn standing(&self) -> Standing {
        let recent = &self.steps[self.steps.len().saturating_sub(RECENT)..];
        let last = self.next.last().or(self.steps.last());
        Standing {
            images: last.map_or(0, |step| step.nimg),
            loss: mean(recent, |step| step.loss),
            validation: self.validation.last().and_then(|v| v.loss),
            images_per_second: last.and_then(|step| finite(step.images_per_second)),
            seconds: last.map_or(0.0, |step| step.seconds.into()),
            diverged: self.ends_diverged,
        }
    }

    /// Curves of at most `points` points, each the mean of as many steps as the others, give or take one.
    pub fn curves(&self, points: usize) -> Curves {
        let (n, k) = (self.steps.len(), self.steps.len().min(points.max(1)));
        let part = |i: usize| &self.steps[i * n / k..(i + 1) * n / k];
        Curves {
            steps: (0..k).filter_map(|i| bucket(part(i))).collect(),
            validation: thinned(&self.validation, points),
            diverged: thinned(&self.diverged, points),
        }
    }
}

fn finite(value: f32) -> Option<f64> {
    value.is_finite().then(|| value.into())
}

/// The mean of the finite values.
fn mean(steps: &[Point], of: impl Fn(&Point) -> f32) -> Option<f64> {
    let (sum, n) = steps.iter().filter_map(|s| finite(of(s))).fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

fn bucket(steps: &[Point]) -> Option<Bucket> {
    let last = steps.last()?;
    let losses = || steps.iter().filter_map(|step| finite(step.loss));
    Some(Bucket {
        nimg: last.nimg,
        loss: mean(steps, |s| s.loss),
        loss_min: losses().reduce(f64::min),
        loss_max: losses().reduce(f64::max),
        gradient_norm: mean(steps, |s| s.gradient_norm),
        lr: mean(steps, |s| s.lr),
        images_per_second: mean(steps, |s| s.images_per_second),
        seconds: last.seconds.into(),
    })
}

/// Some steps in a row as one: the means of their numbers, and the last one's place.
fn together(steps: &[Point]) -> Option<Point> {
    let last = *steps.last()?;
    let number = |of: fn(&Point) -> f32| mean(steps, of).map_or(f32::NAN, |value| value as f32);
    Some(match steps.len() {
        1 => last,
        _ => Point {
            loss: number(|s| s.loss),
            gradient_norm: number(|s| s.gradient_norm),
            lr: number(|s| s.lr),
            images_per_second: number(|s| s.images_per_second),
            ..last
        },
    })
}

/// Every second of the values, the last one among them, when there are too many.
fn halve<T>(values: &mut Vec<T>) {
    if values.len() >= EVENTS {
        let mut odd = true;
        values.retain(|_| {
            odd = !odd;
            odd
        });
    }
}

/// At most `points` of the values, the last one among them.
fn thinned<T: Clone>(values: &[T], points: usize) -> Vec<T> {
    let (n, k) = (values.len(), values.len().min(points.max(1)));
    (1..=k).map(|i| values[i * n / k - 1].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    fn step(step: u64, loss: f64, seconds: f64) -> String {
        let nimg = step * 64;
        format!(
            r#"{{"event":"step","step":{step},"nimg":{nimg},"loss":{loss},"gradient_norm":2.0,"lr":0.001,"images_per_second":500.0,"seconds":{seconds}}}"#
        ) + "\n"
    }

    fn append(path: &Path, text: &str) {
        File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Every bucket is the mean of its part of the log; all parts together are the log.
    #[test]
    fn buckets_are_means() {
        let folder = tempfile::tempdir().unwrap();
        let (run, path) = (RunFolder::new(folder.path()), folder.path().join("metrics.jsonl"));
        let loss = |k: u64| ((k * 2_654_435_761) % 1000) as f64 / 1000.0;
        append(&path, &(1..=1003).map(|k| step(k, loss(k), k as f64)).collect::<String>());
        let mut metrics = RunMetrics::default();
        metrics.update(&run);
        let curves = metrics.curves(100);
        assert_eq!(curves.steps.len(), 100);
        let mut from = 0;
        for bucket in &curves.steps {
            let to = bucket.nimg / 64;
            let part: Vec<f64> = (from + 1..=to).map(loss).collect();
            assert!((10..=11).contains(&part.len()));
            let direct = part.iter().sum::<f64>() / part.len() as f64;
            assert!((bucket.loss.unwrap() - direct).abs() < 1e-6, "{from} {to}");
            let least = part.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((bucket.loss_min.unwrap() - least).abs() < 1e-6);
            assert!(bucket.loss_min <= bucket.loss && bucket.loss <= bucket.loss_max);
            from = to;
        }
        assert_eq!(from, 1003);
        assert_eq!(metrics.curves(5000).steps.len(), 1003);
        assert_eq!(metrics.curves(0).steps.len(), 1);
        assert_eq!(RunMetrics::default().curves(10), Curves::default());
    }

    #[test]
    fn only_what_was_appended_is_read_and_a_new_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (run, path) = (RunFolder::new(folder.path()), folder.path().join("metrics.jsonl"));
        let mut metrics = RunMetrics::default();
        metrics.update(&run);
        append(&path, &(step(1, 0.9, 1.0) + &step(2, 0.8, 2.0) + r#"{"event":"step","st"#));
        metrics.update(&run);
        assert_eq!((metrics.steps.len(), metrics.standing().images), (2, 128));
        // The half line is completed; the clock starts again: the run was resumed.
        append(&path, r#"ep":3,"nimg":192,"loss":null,"seconds":0.5}"#);
        metrics.update(&run);
        assert_eq!(metrics.steps.len(), 2);
        append(&path, "\nnot json\n{\"event\":\"validation\",\"nimg\":192,\"loss\":0.5}\n");
        metrics.update(&run);
        let standing = metrics.standing();
        assert_eq!((metrics.steps.len(), standing.seconds, standing.validation), (3, 2.5, Some(0.5)));
        assert_eq!(metrics.curves(3).steps[2].loss, None);
        assert!((standing.loss.unwrap() - 0.85).abs() < 1e-6);
        append(&path, "{\"event\":\"diverged\",\"step\":4,\"nimg\":192,\"what\":\"the loss is NaN\"}\n");
        metrics.update(&run);
        assert!(metrics.standing().diverged);
        // Resuming rewrites the file under the same name.
        let new = folder.path().join("new");
        append(&new, &(step(1, 0.7, 1.0).repeat(2) + &" ".repeat(2000) + "\n"));
        std::fs::rename(new, &path).unwrap();
        metrics.update(&run);
        assert_eq!((metrics.steps.len(), metrics.validation.len(), metrics.standing().diverged), (2, 0, false));
    }

    /// 2¹⁸ steps are kept as they are; beyond that pairs are, and the mean of all stays what it is.
    #[test]
    fn long_logs_take_no_more_memory() {
        let mut metrics = RunMetrics::default();
        let n = 3 * KEPT as u64;
        for k in 1..=n {
            let number = (k % 2) as f64;
            metrics.see(LogLine::Step(Step {
                step: k,
                nimg: 64 * k,
                loss: number,
                gradient_norm: f64::NAN,
                lr: number,
                images_per_second: number,
                seconds: k as f64,
                until: None,
            }));
        }
        assert!(metrics.steps.len() <= KEPT, "{}", metrics.steps.len());
        assert_eq!(metrics.standing().images, 64 * n);
        let curve = metrics.curves(1).steps[0];
        assert!((curve.loss.unwrap() - 0.5).abs() < 1e-6 && curve.gradient_norm.is_none(), "{curve:?}");
    }

    #[test]
    fn a_line_without_end_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (run, path) = (RunFolder::new(folder.path()), folder.path().join("metrics.jsonl"));
        append(&path, &(step(1, 0.9, 1.0) + &"x".repeat(10 * (64 << 10))));
        let mut metrics = RunMetrics::default();
        metrics.update(&run);
        append(&path, &("\n".to_owned() + &step(2, 0.8, 2.0)));
        metrics.update(&run);
        assert_eq!((metrics.steps.len(), metrics.standing().images), (2, 128));
    }
}
