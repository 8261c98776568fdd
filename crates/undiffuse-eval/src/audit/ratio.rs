//! The ratio of distances.

use std::collections::HashMap;

use undiffuse_metrics::Rows;
use undiffuse_metrics::neighbours::{Neighbour, nearest_where};

/// A training set in which equal pictures count once.
pub(super) struct Training<'a> {
    pixels: Rows<'a>,
    /// Places of pictures by a hash of their pixels; a hash of several pictures has them all.
    by_hash: HashMap<u64, Vec<usize>>,
    /// Whether a picture is the first of its equals.
    first: Vec<bool>,
}

/// A picture as the training set sees it.
pub(super) struct Seen {
    pub ratio: f64,
    /// The nearest training pictures.
    pub nearest: Vec<Neighbour>,
}

impl<'a> Training<'a> {
    pub fn new(pixels: Rows<'a>) -> Self {
        let mut training = Self { pixels, by_hash: HashMap::new(), first: Vec::with_capacity(pixels.len()) };
        for (i, row) in pixels.iter().enumerate() {
            let first = !training.holds(row);
            training.first.push(first);
            if first {
                training.by_hash.entry(hash(row)).or_default().push(i);
            }
        }
        training
    }

    /// Different pictures.
    pub fn distinct(&self) -> usize {
        self.first.iter().filter(|&&first| first).count()
    }

    /// Their places.
    pub fn places(&self) -> Vec<usize> {
        (0..self.first.len()).filter(|&i| self.first[i]).collect()
    }

    /// Whether a picture is in the set.
    pub fn holds(&self, row: &[f32]) -> bool {
        self.by_hash.get(&hash(row)).is_some_and(|places| places.iter().any(|&i| self.pixels.row(i) == row))
    }

    /// Looks at pictures from the training set, whose vectors are `training`, with all but the picture `own(query)` of it.
    pub fn seen(
        &self,
        training: Rows,
        queries: Rows,
        k: usize,
        listed: usize,
        own: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<Seen> {
        let keep = |query: usize, index: usize| self.first[index] && own(query) != Some(index);
        let found = nearest_where(queries, training, (k + 1).max(listed), keep);
        let seen = |mut nearest: Vec<Neighbour>| {
            let ratio = ratio(&nearest[..nearest.len().min(k + 1)]);
            nearest.truncate(listed);
            nearest.shrink_to_fit();
            Seen { ratio, nearest }
        };
        found.into_iter().map(seen).collect()
    }
}

/// Of the pixels' bits, which are those of a few hundred levels: FNV-1a over words.
fn hash(row: &[f32]) -> u64 {
    // -0 and 0 are equal.
    row.iter().fold(0xcbf2_9ce4_8422_2325, |hash, x| {
        (hash ^ u64::from((x + 0.0).to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// `d₁ / median(d₂, …)`; 1 where all are equal, which tells nothing.
fn ratio(nearest: &[Neighbour]) -> f64 {
    let ring = &nearest[1..];
    let middle = (ring[(ring.len() - 1) / 2].distance + ring[ring.len() / 2].distance) / 2.0;
    if middle > 0.0 { nearest[0].distance / middle } else { 1.0 }
}

/// A value that about the `allowed` share of pictures like those of `ratios` is below: fewer of these by the standard deviation of
/// their count, since others may fare worse by as much.
pub(super) fn threshold(mut ratios: Vec<f64>, allowed: f64) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    let expected = allowed * ratios.len() as f64;
    ratios[(expected - expected.sqrt()).max(0.0) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_count_once_and_near_ones_do_not_hide_a_copy() {
        // Rows on a line: 0 three times, four near-copies of it, others far.
        let mut line = vec![0.0, 0.0, -0.0, 0.01, 0.02, 0.03, 0.04];
        line.extend((1..=20).map(|i| i as f32));
        let rows = Rows::new(&line, 1);
        let training = Training::new(rows);
        assert_eq!((training.distinct(), training.holds(&[-0.0]), training.holds(&[0.5])), (25, true, false));
        let queries = [0.001, 5.5];
        let seen = training.seen(rows, Rows::new(&queries, 1), 10, 2, |_| None);
        let expected = 0.001f32 as f64 / ((0.999 + 1.999) / 2.0);
        assert!((seen[0].ratio - expected).abs() < 1e-6, "{}", seen[0].ratio);
        assert_eq!(seen[0].nearest.iter().map(|n| n.index).collect::<Vec<_>>(), [0, 3]);
        // 0.5 to the nearest; in the middle of the next ten (0.5, 1.5, 1.5, 2.5, 2.5, 3.5, 3.5, …) are 2.5 and 3.5.
        assert!((seen[1].ratio - 0.5 / 3.0).abs() < 1e-6, "{}", seen[1].ratio);
        // Leaving a picture out removes it and nothing else.
        let seen = training.seen(rows, Rows::new(&line[..1], 1), 10, 1, |_| Some(0));
        assert_eq!(seen[0].nearest[0].index, 3);
    }

    #[test]
    fn a_threshold_lets_through_what_is_allowed() {
        let ratios: Vec<f64> = (0..1000).rev().map(|i| i as f64 / 1000.0).collect();
        for (allowed, below) in [(0.0, 0), (0.001, 0), (0.009, 6), (0.25, 234)] {
            let threshold = threshold(ratios.clone(), allowed);
            assert_eq!(ratios.iter().filter(|&&r| r < threshold).count(), below);
        }
    }
}
