//! What became of requests, counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Requests of every kind: how they ended, and how long they took.
#[derive(Debug, Default)]
pub struct Tally {
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    seconds: Vec<f64>,
    outcomes: BTreeMap<String, usize>,
}

impl Tally {
    /// One request of this kind ended like this after so long.
    pub fn add(&mut self, kind: &'static str, outcome: String, took: Duration) {
        let kind = self.kinds.entry(kind).or_default();
        kind.seconds.push(took.as_secs_f64());
        *kind.outcomes.entry(outcome).or_default() += 1;
    }

    /// All of another tally, too.
    pub fn merge(&mut self, other: Self) {
        for (name, kind) in other.kinds {
            let mine = self.kinds.entry(name).or_default();
            mine.seconds.extend(kind.seconds);
            for (outcome, count) in kind.outcomes {
                *mine.outcomes.entry(outcome).or_default() += count;
            }
        }
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.kinds.values().map(|kind| kind.seconds.len()).sum()
    }

    /// A table in Markdown: a row a kind.
    pub fn table(&self) -> String {
        let mut text = "| request | number | outcomes | p50 | p95 | p99 |\n|---|---:|---|---:|---:|---:|\n".to_owned();
        for (name, kind) in &self.kinds {
            let mut seconds = kind.seconds.clone();
            seconds.sort_by(f64::total_cmp);
            let outcomes: Vec<_> = kind.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| shown(quantile(&seconds, share)));
            let (number, outcomes) = (seconds.len(), outcomes.join(", "));
            let _ = writeln!(text, "| {name} | {number} | {outcomes} | {p50} | {p95} | {p99} |");
        }
        text
    }
}

/// The smallest value that at least this share of the sorted values does not exceed.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", 1e3 * seconds) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.95, 0.99, 1.0].map(|q| quantile(&hundred, q)), [50.0, 95.0, 99.0, 100.0]);
        assert_eq!(quantile(&[3.0], 0.99), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.add("job", "done".into(), Duration::from_millis(20));
        two.add("job", "done".into(), Duration::from_millis(1500));
        two.add("job", "cancelled".into(), Duration::from_millis(30));
        one.merge(two);
        assert_eq!(one.requests(), 3);
        assert!(
            one.table().ends_with("| job | 3 | 1 cancelled, 2 done | 30 ms | 1.5 s | 1.5 s |\n"),
            "{}",
            one.table()
        );
    }
}
