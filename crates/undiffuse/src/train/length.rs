//! How long a run is, and the learning rate along it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{IMAGES_MAX, LrSchedule};

/// A stretch of training whose end is known. A run has one; every extension adds one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Pictures seen when this stretch was planned.
    pub from: u64,
    /// Pictures seen at its end.
    pub until: u64,
}

/// The planned length of a run, the file `length.json`: written before the first step that
/// depends on it, so that a resumed run follows the same curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// The stretches, in order.
    pub segments: Vec<Segment>,
    /// The speed that the last one was planned with, in pictures a second.
    pub images_per_second: f64,
    /// Grids of samples along the last one, where its budget has no room for as many as the configuration asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previews: Option<u32>,
}

impl Length {
    /// Itself, if a run can be as long as that.
    pub(super) fn checked(self) -> Result<Self, String> {
        let starts = std::iter::once(0).chain(self.segments.iter().map(|s| s.until));
        let mut stretches = self.segments.iter().zip(starts);
        match stretches.find(|(s, before)| s.from < *before || s.until < s.from || s.until > IMAGES_MAX) {
            Some((segment, _)) => Err(format!("no stretch is from {} to {} images", segment.from, segment.until)),
            None => Ok(self),
        }
    }

    /// Pictures at the end, once that is known.
    pub fn until(&self) -> Option<u64> {
        self.segments.last().map(|s| s.until)
    }

    /// Factor on the peak learning rate for the step that begins at `nimg`: a linear rise over
    /// `warmup` pictures, then `schedule` over what is left of the stretch.
    pub fn lr_factor(&self, nimg: u64, batch: u64, warmup: u64, schedule: LrSchedule) -> f64 {
        let rise = if warmup == 0 { 1.0 } else { ((nimg + batch) as f64 / warmup as f64).min(1.0) };
        let Some(segment) = self.segments.iter().find(|s| nimg < s.until).or(self.segments.last()) else {
            return rise;
        };
        let start = segment.from.max(warmup.min(segment.until));
        let span = (segment.until - start.min(segment.until)) as f64;
        let done = if span > 0.0 { (nimg.saturating_sub(start) as f64 / span).min(1.0) } else { 0.0 };
        rise * match schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            LrSchedule::Linear => 1.0 - done,
        }
    }
}

/// The largest share of a budget for grids of samples and validation, if that is enough for one.
const PREVIEWS: f64 = 0.15;

/// What there is time for: pictures to train on, and grids of samples, `asked` or fewer. `room` is the time and `one` what a grid
/// takes, both in pictures trained on. Where hardly a grid fits in, half of the time at least is for training.
pub(super) fn shared(room: f64, one: f64, asked: u32) -> (u64, u32) {
    let previews = asked.min(((room * PREVIEWS / one) as u32).max(1));
    ((room - f64::from(previews) * one).max(room / 2.0).max(0.0) as u64, previews)
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

    #[test]
    fn durations() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("5"), Ok(300));
        assert!(seconds("99999d").unwrap_err().contains("at most"));
        assert!(parse_duration(&"9".repeat(400)).is_err());
        assert!(seconds("soon").is_err() && seconds("0s").is_err() && seconds("").is_err());
    }

    #[test]
    fn grids_of_samples_take_a_small_part_of_a_budget() {
        assert_eq!(shared(100_000.0, 1000.0, 4), (96_000, 4));
        assert_eq!(shared(20_000.0, 1000.0, 4), (17_000, 3));
        assert_eq!(shared(2000.0, 600.0, 4), (1400, 1));
        assert_eq!(shared(500.0, 1000.0, 4), (250, 1));
        assert_eq!(shared(-10.0, 1000.0, 4), (0, 1));
        assert_eq!(shared(500.0, 100.0, 0), (500, 0));
    }

    #[test]
    fn the_curve_rises_falls_and_rises_again_for_an_extension() {
        let length = Length {
            segments: vec![Segment { from: 0, until: 1000 }, Segment { from: 1000, until: 3000 }],
            ..Length::default()
        };
        let lr = |nimg| length.lr_factor(nimg, 10, 100, LrSchedule::Cosine);
        assert_eq!(lr(0), 0.1);
        assert_eq!(lr(100), 1.0);
        assert!((lr(550) - 0.5).abs() < 1e-12);
        assert!(lr(990) < 1e-3);
        assert_eq!(lr(1000), 1.0);
        assert!((lr(2000) - 0.5).abs() < 1e-12);
        assert_eq!(length.lr_factor(2000, 10, 100, LrSchedule::Constant), 1.0);
    }
}
