//! How long a run is, and the learning rate along it.
//!
//! A run is a row of *stretches*: one, and one more for every extension. The end of a stretch is a number of pictures. Where a
//! budget of time is given, the clock says how many that are, and says it again as the stretch goes on: each time a
//! [`Decision`] is written to `length.json` before any step depends on it. From there on all is a function of pictures seen, so
//! that a resumed run, or one that replays the decisions with the clock off, takes the same steps to the bit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{IMAGES_MAX, LrSchedule};

/// Where a stretch ends, as it was decided once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Pictures seen when it was made; it counts from the next step on.
    pub at: u64,
    /// Pictures seen at the end.
    pub until: u64,
    /// Grids of samples, spread over the whole stretch, where there is no time for as many as the configuration asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previews: Option<u32>,
    /// Seconds of the budget that were used.
    #[serde(default)]
    pub seconds: f64,
    /// The speed that it was made with, in pictures a second.
    #[serde(default)]
    pub images_per_second: f64,
}

/// A stretch of training. A run has one; every extension adds one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Pictures seen at its start.
    pub from: u64,
    /// Pictures seen at its end: what was decided last, or `from` as long as nothing was.
    pub until: u64,
    /// Seconds that it may take, where time decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// Every decision, in order; one, where pictures were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
}

impl Segment {
    /// A stretch to a known end.
    fn fixed(from: u64, until: u64, previews: Option<u32>) -> Self {
        let decision = Decision { at: from, until, previews, seconds: 0.0, images_per_second: 0.0 };
        Self { from, until, budget: None, decisions: vec![decision] }
    }

    /// Pictures seen at its end, once that is known.
    pub fn end(&self) -> Option<u64> {
        self.decisions.last().map(|decision| decision.until)
    }

    /// The share of the stretch that is done at `nimg` pictures, but for its first pictures up to `skip`. Each decision keeps
    /// what was done and spreads what was left over its own pictures: `p + (1 - p) (n - at) / (until - at)`.
    pub(super) fn progress(&self, nimg: u64, skip: u64) -> f64 {
        let ends = self.decisions.iter().skip(1).map(|next| next.at).chain([u64::MAX]);
        self.decisions.iter().zip(ends).take_while(|(d, _)| d.at < nimg).fold(0.0, |done, (d, end)| {
            let start = d.at.max(skip.min(d.until));
            let span = (d.until - start) as f64;
            let way = nimg.min(end).saturating_sub(start) as f64;
            done + (1.0 - done) * if span > 0.0 { (way / span).min(1.0) } else { 0.0 }
        })
    }

    /// Which of `previews` grids is the last that was due at `nimg` pictures.
    pub(super) fn previewed(&self, nimg: u64, previews: u32) -> u32 {
        // A hair more: what is a whole number but for rounding is one.
        (self.progress(nimg, 0) * f64::from(previews) + 1e-9) as u32
    }

    fn problem(&self, before: u64) -> Option<String> {
        let (from, until) = (self.from, self.until);
        if from < before || until < from || until > IMAGES_MAX {
            return Some(format!("no stretch is from {from} to {until} images"));
        }
        if self.budget.is_some_and(|seconds| !(seconds > 0.0 && seconds <= DURATION_MAX)) {
            return Some(format!("no budget is {} s", self.budget.unwrap_or_default()));
        }
        let starts = std::iter::once(from).chain(self.decisions.iter().map(|d| d.at));
        let odd = self.decisions.iter().zip(starts).find(|(d, before)| d.at < *before || d.until <= d.at);
        match (odd, self.end()) {
            (Some((d, _)), _) => Some(format!("nothing decided at {} images ends at {}", d.at, d.until)),
            (None, Some(end)) if end != until => Some(format!("what was decided ends at {end}, not {until} images")),
            (None, None) if self.budget.is_none() => Some("a stretch has no end".into()),
            _ => None,
        }
    }
}

/// The length of a run, the file `length.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// The stretches, in order.
    pub segments: Vec<Segment>,
    /// Older programs' [`Decision::previews`] of the last one.
    #[serde(default, skip_serializing)]
    previews: Option<u32>,
}

impl Length {
    /// Itself, if a run can be as long as that. Older programs decided once, and wrote no decisions.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        let last = self.segments.len().saturating_sub(1);
        for (k, segment) in self.segments.iter_mut().enumerate() {
            if segment.decisions.is_empty() && segment.budget.is_none() && segment.until > segment.from {
                *segment = Segment::fixed(segment.from, segment.until, self.previews.filter(|_| k == last));
            }
        }
        let starts = std::iter::once(0).chain(self.segments.iter().map(|s| s.until));
        match self.segments.iter().zip(starts).find_map(|(segment, before)| segment.problem(before)) {
            Some(problem) => Err(problem),
            None => Ok(self),
        }
    }

    /// Pictures seen at the end, once that is known.
    pub fn until(&self) -> Option<u64> {
        self.segments.last()?.end()
    }

    /// Whether the end is known and reached.
    pub fn is_reached(&self, nimg: u64) -> bool {
        self.until().is_some_and(|until| nimg >= until)
    }

    /// Adds a stretch that ends at `until` pictures, in the place of a last one of which nothing is decided; the run stands at
    /// `nimg` pictures.
    pub(super) fn extend_to(&mut self, until: u64, nimg: u64) {
        self.segments.pop_if(|segment| segment.decisions.is_empty());
        let from = self.until().unwrap_or(nimg);
        self.segments.push(Segment::fixed(from, until, None));
    }

    /// Adds a stretch of `seconds`, or so many to the last one where that is given a budget and `nimg` pictures are not its end.
    pub(super) fn extend_by(&mut self, seconds: f64, nimg: u64) {
        let reached = self.is_reached(nimg);
        match self.segments.last_mut() {
            Some(Segment { budget: Some(budget), .. }) if !reached => *budget += seconds,
            last => {
                let from = last.map_or(0, |segment| segment.until);
                self.segments.push(Segment { from, until: from, budget: Some(seconds), decisions: Vec::new() });
            }
        }
    }

    /// The same steps with the clock off: every budget counts as what was decided of it.
    ///
    /// # Errors
    /// Nothing was decided yet.
    pub fn replayed(&self) -> Result<Self, String> {
        let decided = self.segments.iter().filter(|segment| !segment.decisions.is_empty());
        let segments: Vec<Segment> = decided.map(|segment| Segment { budget: None, ..segment.clone() }).collect();
        match segments.is_empty() {
            true => Err("nothing is decided yet of its length: it has taken too few steps".into()),
            false => Ok(Self { segments, previews: None }),
        }
    }

    /// Which stretch the step that begins at `nimg` pictures belongs to.
    pub(super) fn index(&self, nimg: u64) -> Option<usize> {
        let holds = |segment: &Segment| segment.end().is_none_or(|until| nimg < until);
        self.segments.iter().position(holds).or(self.segments.len().checked_sub(1))
    }

    fn segment(&self, nimg: u64) -> Option<&Segment> {
        self.segments.get(self.index(nimg)?)
    }

    /// Factor on the peak learning rate for the step that begins at `nimg`: a linear rise over
    /// `warmup` pictures, then `schedule` over what is left of the stretch.
    pub fn lr_factor(&self, nimg: u64, batch: u64, warmup: u64, schedule: LrSchedule) -> f64 {
        let rise = if warmup == 0 { 1.0 } else { ((nimg + batch) as f64 / warmup as f64).min(1.0) };
        let done = self.segment(nimg).map_or(0.0, |segment| segment.progress(nimg, warmup));
        rise * match schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            LrSchedule::Linear => 1.0 - done,
        }
    }

    /// Whether a grid of samples is due after the step from `nimg` to `nimg + batch` pictures, of `previews` along a stretch.
    pub fn is_preview_due(&self, nimg: u64, batch: u64, previews: u32) -> bool {
        let Some(segment) = self.segment(nimg) else { return false };
        let decision = segment.decisions.iter().rfind(|d| d.at <= nimg);
        let previews = decision.and_then(|d| d.previews).unwrap_or(previews);
        segment.previewed(nimg + batch, previews) > segment.previewed(nimg, previews)
    }
}

/// The longest length of time, in seconds: about three years.
const DURATION_MAX: f64 = 1e8;

/// Reads `90s`, `10m`, `1h30m`, `2h`, `1d`; a bare number is minutes.
///
/// # Errors
/// Text that is no length of time, with examples of some.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let fail = || format!("`{text}` is not a length of time: write 90s, 10m, 1h30m or 2d");
    let mut seconds = 0.0;
    let mut number = String::new();
    for c in text.trim().chars() {
        match c {
            '0'..='9' | '.' => number.push(c),
            ' ' => {}
            unit => {
                let unit = match unit {
                    's' => 1.0,
                    'm' => 60.0,
                    'h' => 3600.0,
                    'd' => 86400.0,
                    _ => return Err(fail()),
                };
                seconds += number.parse::<f64>().map_err(|_| fail())? * unit;
                number.clear();
            }
        }
    }
    if !number.is_empty() {
        seconds += number.parse::<f64>().map_err(|_| fail())? * 60.0;
    }
    match seconds {
        short if short < 1.0 => return Err(format!("`{text}` is {short} s: give at least one second")),
        long if long > DURATION_MAX => return Err(format!("`{text}` is too long: give at most three years")),
        _ => {}
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<u64, String> {
        parse_duration(text).map(|d| d.as_secs())
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("5"), Ok(300));
        assert!(seconds("99999d").unwrap_err().contains("at most"));
        assert!(parse_duration(&"9".repeat(400)).is_err());
        assert!(seconds("soon").is_err() && seconds("0s").is_err() && seconds("").is_err());
    }

    fn length(text: &str) -> Result<Length, String> {
        serde_json::from_str::<Length>(text).map_err(|e| e.to_string()).and_then(Length::checked)
    }

    /// Files of older programs, for which a stretch was decided once.
    #[test]
    fn the_curve_rises_falls_and_rises_again_for_an_extension() {
        let old =
            r#"{"segments":[{"from":0,"until":1000},{"from":1000,"until":3000}],"images_per_second":9,"previews":2}"#;
        let length = length(old).unwrap();
        let lr = |nimg| length.lr_factor(nimg, 10, 100, LrSchedule::Cosine);
        assert_eq!(lr(0), 0.1);
        assert_eq!(lr(100), 1.0);
        assert!((lr(550) - 0.5).abs() < 1e-12);
        assert!(lr(990) < 1e-3);
        assert_eq!(lr(1000), 1.0);
        assert!((lr(2000) - 0.5).abs() < 1e-12);
        assert_eq!(length.lr_factor(2000, 10, 100, LrSchedule::Constant), 1.0);
        let due =
            |from, until| (from..until).step_by(10).filter(|&n| length.is_preview_due(n, 10, 4)).collect::<Vec<_>>();
        assert_eq!((due(0, 1000), due(1000, 3000)), (vec![240, 490, 740, 990], vec![1990, 2990]));
    }

    fn decided(decisions: &[(u64, u64)]) -> Length {
        let decisions = decisions.iter().map(|&(at, until)| Decision {
            at,
            until,
            previews: None,
            seconds: 0.0,
            images_per_second: 0.0,
        });
        let mut length = Length::default();
        length.extend_by(60.0, 0);
        length.segments[0].decisions = decisions.collect();
        length.segments[0].until = length.until().unwrap_or(0);
        length.checked().unwrap()
    }

    /// Every decision keeps the learning rate where it is; at the end it has fallen, and every grid was due, whatever was decided.
    #[test]
    fn a_decision_bends_the_curve_and_does_not_break_it() {
        assert_eq!(decided(&[]).until(), None);
        assert_eq!(decided(&[]).lr_factor(500, 10, 100, LrSchedule::Linear), 1.0);
        let one = decided(&[(100, 1100)]);
        let ends = [(100, 1100), (300, 3000), (400, 450), (430, 2000), (1500, 1510)];
        for k in 1..=ends.len() {
            let two = decided(&ends[..k]);
            let lr = |length: &Length, nimg| length.lr_factor(nimg, 10, 0, LrSchedule::Linear);
            if k > 1 {
                let (at, before) = (ends[k - 1].0, decided(&ends[..k - 1]));
                assert_eq!(lr(&before, at), lr(&two, at), "{k}");
                assert!((0..at).step_by(10).all(|n| lr(&before, n) == lr(&two, n)), "{k}");
            }
            let until = ends[k - 1].1;
            let curve: Vec<f64> = (0..=until).step_by(10).map(|n| lr(&two, n)).collect();
            assert!(curve.windows(2).all(|w| w[1] <= w[0]) && curve[curve.len() - 1].abs() < 1e-12, "{k}: {curve:?}");
            let due = (0..until).step_by(10).filter(|&n| two.is_preview_due(n, 10, 5)).collect::<Vec<_>>();
            // A step that passes two at once shows one.
            assert!(due.contains(&(until - 10)) && (3..=5).contains(&due.len()), "{k}: {due:?}");
        }
        assert!((one.lr_factor(600, 10, 0, LrSchedule::Linear) - 0.5).abs() < 1e-12);
        // The rise at the start is no part of what falls.
        assert_eq!(one.lr_factor(600, 10, 600, LrSchedule::Linear), 1.0);
    }

    #[test]
    fn what_no_run_can_be_is_refused() {
        for bad in [
            r#"{}"#,
            r#"{"segments":[{"from":9,"until":3}]}"#,
            r#"{"segments":[{"from":0,"until":0}]}"#,
            r#"{"segments":[{"from":0,"until":20},{"from":10,"until":30}]}"#,
            r#"{"segments":[{"from":0,"until":9000000000000000}]}"#,
            r#"{"segments":[{"from":0,"until":0,"budget":0}]}"#,
            r#"{"segments":[{"from":0,"until":0,"budget":1e300}]}"#,
            r#"{"segments":[{"from":0,"until":20,"budget":9,"decisions":[{"at":5,"until":30}]}]}"#,
            r#"{"segments":[{"from":0,"until":20,"budget":9,"decisions":[{"at":5,"until":10},{"at":4,"until":20}]}]}"#,
            r#"{"segments":[{"from":0,"until":20,"budget":9,"decisions":[{"at":20,"until":20}]}]}"#,
        ] {
            assert!(length(bad).is_err(), "{bad}");
        }
        let good =
            r#"{"segments":[{"from":0,"until":20,"budget":9,"decisions":[{"at":5,"until":10},{"at":5,"until":20}]}]}"#;
        let good = length(good).unwrap();
        assert_eq!(length(&serde_json::to_string(&good).unwrap()), Ok(good.clone()));
        assert_eq!(good.replayed().unwrap().segments[0].budget, None);
        assert!(decided(&[]).replayed().is_err());
    }

    #[test]
    fn more_time_goes_to_a_stretch_that_is_not_over() {
        let mut length = decided(&[(100, 1100)]);
        length.extend_by(30.0, 500);
        assert_eq!((length.segments.len(), length.segments[0].budget), (1, Some(90.0)));
        length.extend_by(30.0, 1100);
        assert_eq!((length.segments.len(), length.segments[1].budget, length.until()), (2, Some(30.0), None));
        assert_eq!((length.segments[1].from, length.index(1099), length.index(1100)), (1100, Some(0), Some(1)));
    }
}
