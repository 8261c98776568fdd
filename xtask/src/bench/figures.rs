//! Medians and ratios of a row.

use super::contenders::Entry;
use super::measure::Run;
use super::rows::Row;

/// One contender's rounds.
#[derive(Debug)]
pub struct Series {
    /// Name in the table.
    pub name: &'static str,
    /// Whether this is the one that is to be faster.
    pub ours: bool,
    /// One entry a round.
    pub runs: Vec<Run>,
    /// Whether it failed and was not asked again.
    pub failed: bool,
}

impl Series {
    /// Nothing measured yet.
    pub fn of(entry: &Entry) -> Self {
        Self { name: entry.name, ours: entry.ours, runs: Vec::new(), failed: false }
    }

    /// Median milliseconds over the rounds.
    pub fn ms(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.ms))
    }

    /// Median peak memory over the rounds, where the system tells it.
    pub fn peak_mb(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.peak_mb)).filter(|&mb| mb > 0.0)
    }

    /// The median of something else that the program printed.
    pub fn said(&self, what: &str) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| run.said[what].as_f64()))
    }

    /// Slowest minus fastest round, over the median.
    pub fn spread(&self) -> Option<f64> {
        let times = || self.runs.iter().map(|run| run.ms);
        let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
        self.ms().filter(|_| self.runs.len() > 1).map(|ms| (most - least) / ms)
    }
}

/// A row with its figures.
#[derive(Debug)]
pub struct Measured {
    /// What was measured.
    pub row: &'static Row,
    /// Everyone who took part.
    pub series: Vec<Series>,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Measured {
    /// We.
    pub fn ours(&self) -> Option<&Series> {
        self.series.iter().find(|s| s.ours && !s.runs.is_empty())
    }

    fn rivals(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|s| !s.ours && !s.runs.is_empty())
    }

    /// The fastest of the others.
    pub fn best(&self) -> Option<&Series> {
        self.rivals().min_by(|a, b| a.ms().unwrap_or(f64::INFINITY).total_cmp(&b.ms().unwrap_or(f64::INFINITY)))
    }

    /// The one of the others that needs least memory, the fastest or not.
    pub fn least(&self) -> Option<&Series> {
        let measured = self.rivals().filter(|s| s.peak_mb().is_some());
        measured.min_by(|a, b| a.peak_mb().unwrap_or(0.0).total_cmp(&b.peak_mb().unwrap_or(0.0)))
    }

    /// Their median time over ours.
    pub fn faster(&self) -> Option<f64> {
        Some(self.best()?.ms()? / self.ours()?.ms()?)
    }

    /// The same within each round: least and most.
    pub fn faster_by_round(&self) -> Option<(f64, f64)> {
        let ratios: Vec<f64> = self.best()?.runs.iter().zip(&self.ours()?.runs).map(|(a, b)| a.ms / b.ms).collect();
        let least = ratios.iter().copied().min_by(f64::total_cmp)?;
        Some((least, ratios.iter().copied().max_by(f64::total_cmp)?))
    }

    /// Our peak memory over the least of theirs.
    pub fn memory(&self) -> Option<f64> {
        Some(self.ours()?.peak_mb()? / self.least()?.peak_mb()?)
    }

    /// Which share of the machine other programs had in the middle round of whoever was disturbed most.
    pub fn neighbours(&self) -> f64 {
        let shares = self.series.iter().filter_map(|s| median(s.runs.iter().map(|run| run.neighbours)));
        shares.fold(0.0, f64::max)
    }

    /// Whether time and, where it has a goal, memory are as wanted; none when nothing can be said.
    pub fn reached(&self) -> Option<bool> {
        let memory = match self.row.memory {
            Some(goal) => self.memory()? <= goal,
            None => true,
        };
        Some(self.faster()? >= self.row.faster && memory)
    }
}

/// The middle value; the mean of the two in the middle for an even number of them.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| (values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

/// A contender made up for tests: name, whether ours, (ms, MB) of each round.
#[cfg(test)]
pub type Example<'a> = (&'static str, bool, &'a [(f64, f64)]);

/// A row made up for tests.
#[cfg(test)]
pub fn example(row: &'static Row, entries: &[Example]) -> Measured {
    let run = |&(ms, peak_mb): &(f64, f64)| Run {
        ms,
        peak_mb,
        neighbours: 0.0,
        said: serde_json::json!({"libraries_mb": 400.0}),
    };
    let series =
        |&(name, ours, runs): &Example| Series { name, ours, runs: runs.iter().map(run).collect(), failed: false };
    Measured { row, series: entries.iter().map(series).collect(), failures: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn the_best_of_the_others_counts_for_time_and_for_memory() {
        let eager: &[_] = &[(1000.0, 1700.0), (1010.0, 1700.0), (990.0, 1700.0)];
        let last: &[_] = &[(900.0, 1900.0), (800.0, 1900.0), (910.0, 1900.0)];
        let ours: &[_] = &[(400.0, 850.0), (450.0, 850.0), (500.0, 850.0)];
        let m = example(&ROWS[0], &[("eager", false, eager), ("channels_last", false, last), ("ours", true, ours)]);
        assert_eq!(m.best().map(|s| s.name), Some("channels_last"));
        assert_eq!(m.faster(), Some(2.0));
        assert_eq!(m.memory(), Some(0.5));
        assert_eq!(m.faster_by_round(), Some((800.0 / 450.0, 900.0 / 400.0)));
        assert_eq!(m.ours().and_then(Series::spread), Some(100.0 / 450.0));
        assert_eq!(m.reached(), Some(true));
    }

    #[test]
    fn a_goal_in_memory_that_is_missed_is_a_goal_missed() {
        let of = |mb| {
            let (theirs, ours): (&[_], Vec<_>) = (&[(1000.0, 1000.0)], vec![(400.0, mb)]);
            example(&ROWS[0], &[("eager", false, theirs), ("ours", true, &ours)]).reached()
        };
        assert_eq!((of(550.0), of(551.0)), (Some(true), Some(false)));
        assert_eq!(example(&ROWS[0], &[("ours", true, &[(1.0, 1.0)])]).reached(), None);
    }
}
