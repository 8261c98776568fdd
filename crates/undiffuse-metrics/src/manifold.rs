//! Precision, recall, density and coverage: how real the generated images are, and how much of the data they reach.
//!
//! Each image of a set stands for the ball around it that just reaches its `k`-th nearest neighbour in its own set; the
//! balls together are the set's manifold. *Precision* is the share of generated images in the real manifold, *recall* that of real
//! images in the generated one [Kynkaanniemi19, Eq. 1 and 2], *density* the mean number of real balls around a generated
//! image, over `k`, and *coverage* the share of real balls with a generated image inside \[Naeem20\].
//!
//! Only comparisons are needed, so distances are made in f32, in blocks, and those that f32 cannot decide in f64.
//!
//! **Intervals.** Three of the four are shares of images: Wilson's interval. Density is a mean: bootstrap. They are those
//! of the images that a figure averages over, given the balls.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::distances::{Distances, tiles};
use crate::neighbours::nearest_others;
use crate::{Better, Figure, Metric, MetricError, MetricOptions, Over, Rows, Sets, bootstrap};

/// The line of [`METRICS`](crate::METRICS).
pub(crate) const METRIC: Metric = Metric {
    tag: "manifold",
    about: "precision and recall (k = 3) [Kynkaanniemi19], density and coverage (k = 5) [Naeem20]",
    over: Over::Features,
    pairs: true,
    itself: &[("precision", Some(1.0)), ("recall", Some(1.0)), ("density", Some(1.0)), ("coverage", Some(1.0))],
    measure,
};

/// Neighbours of precision and recall in \[Kynkaanniemi19\].
pub const PRECISION_NEIGHBOURS: usize = 3;
/// Neighbours of density and coverage in \[Naeem20\].
pub const DENSITY_NEIGHBOURS: usize = 5;

/// What each image adds to the four figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifold {
    /// Of each generated image, whether it lies in the real manifold.
    pub precision: Vec<bool>,
    /// Of each real image, whether it lies in the generated manifold.
    pub recall: Vec<bool>,
    /// Of each generated image, how many real balls it lies in, over `k`.
    pub density: Vec<f64>,
    /// Of each real image, whether a generated one lies in its ball.
    pub coverage: Vec<bool>,
}

/// Compares two sets: `k` neighbours for precision and recall, and others for density and coverage. A set of no more
/// than `k` images has balls that reach its farthest one.
///
/// On the rim of a ball is inside, as in Kynkäänniemi's formulas, except for density, which is counted strictly (so that a set
/// has density 1 in itself). The package `prdc` counts all four strictly. This only matters where images repeat.
///
/// # Panics
/// If dimensions differ or `k` is 0.
pub fn compare(real: Rows, generated: Rows, [precision_k, density_k]: [usize; 2]) -> Manifold {
    assert!(precision_k > 0 && density_k > 0, "balls reach a neighbour: k ≥ 1");
    let [real_radii, density_radii] = radii(real, [precision_k, density_k]);
    let [generated_radii] = radii(generated, [precision_k]);
    let pairs = Distances::new(generated, real);
    let flags = || (0..real.len()).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
    let (recall, coverage) = (flags(), flags());
    let largest = real_radii.iter().chain(&density_radii).fold(0.0f64, |a, b| a.max(*b));

    let (mut precision, mut density) = (Vec::with_capacity(generated.len()), Vec::with_capacity(generated.len()));
    for across in tiles(generated.len()) {
        let mut inside = vec![(false, 0usize); across.len()];
        for down in tiles(real.len()) {
            let block = pairs.block(across.clone(), down.clone());
            let rows = inside.par_iter_mut().zip(block.par_chunks(down.len())).zip(across.clone());
            rows.for_each(|(((in_real, balls), block), i)| {
                let own = generated_radii[i];
                let far = largest.max(own).powi(2);
                for (squared, j) in block.iter().zip(down.clone()) {
                    let pair = Pair { pairs: &pairs, i, j, squared: f64::from(*squared), slack: pairs.slack(i, j) };
                    if pair.squared - pair.slack > far {
                        continue;
                    }
                    *in_real |= !*in_real && pair.within(real_radii[j], false);
                    *balls += usize::from(pair.within(density_radii[j], true));
                    let raise = |flag: &AtomicBool, radius: f64| {
                        if !flag.load(Ordering::Relaxed) && pair.within(radius, false) {
                            flag.store(true, Ordering::Relaxed);
                        }
                    };
                    raise(&recall[j], own);
                    raise(&coverage[j], density_radii[j]);
                }
            });
        }
        precision.extend(inside.iter().map(|(in_real, _)| *in_real));
        density.extend(inside.iter().map(|(_, balls)| *balls as f64 / density_k as f64));
    }
    let plain = |flags: Vec<AtomicBool>| flags.into_iter().map(AtomicBool::into_inner).collect();
    Manifold { precision, recall: plain(recall), density, coverage: plain(coverage) }
}

/// A distance and how sure it is.
struct Pair<'a> {
    pairs: &'a Distances<'a>,
    i: usize,
    j: usize,
    squared: f64,
    slack: f64,
}

impl Pair<'_> {
    /// Whether it is at most `radius`, or less than it.
    fn within(&self, radius: f64, strictly: bool) -> bool {
        let limit = radius * radius;
        // A radius is the root of a squared distance, which squaring does not give back to the last bit.
        let slack = self.slack + limit * 4.0 * f64::EPSILON;
        if self.squared + slack < limit {
            return true;
        }
        if self.squared - slack > limit {
            return false;
        }
        let exact = self.pairs.exact(self.i, self.j);
        if strictly { exact < radius } else { exact <= radius }
    }
}

/// Distances of each row to its `k`-th nearest other one, for several `k`.
fn radii<const N: usize>(rows: Rows, k: [usize; N]) -> [Vec<f64>; N] {
    let neighbours = nearest_others(rows, k.into_iter().max().unwrap_or(0));
    k.map(|k| {
        let radius =
            |of: &Vec<crate::neighbours::Neighbour>| of[..k.min(of.len())].last().map_or(0.0, |it| it.distance);
        neighbours.iter().map(radius).collect()
    })
}

fn measure(sets: &Sets, settings: &MetricOptions) -> Result<Vec<Figure>, MetricError> {
    sets.check("precision, recall, density and coverage", 2)?;
    let found = compare(sets.real, sets.generated, [PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS]);
    let fewest = sets.real.len().min(sets.generated.len());
    let note = (fewest <= DENSITY_NEIGHBOURS)
        .then(|| format!("{fewest} images have too few neighbours: the balls are as large as the set"));
    let figure = |tag: &str, name: &str, value: f64, interval: [f64; 2]| Figure {
        tag: tag.into(),
        name: name.into(),
        value,
        interval: Some(interval),
        better: Better::Higher,
        note: note.clone(),
    };
    let share = |tag: &str, name: &str, inside: &[bool]| {
        let (count, n) = (inside.iter().filter(|x| **x).count(), inside.len());
        figure(tag, name, count as f64 / n as f64, bootstrap::wilson(count, n, settings.confidence))
    };
    let density = bootstrap::mean(&found.density);
    let spread = bootstrap::interval(density, &[&found.density], settings);
    Ok(vec![
        share("precision", "Precision", &found.precision),
        share("recall", "Recall", &found.recall),
        figure("density", "Density", density, spread),
        share("coverage", "Coverage", &found.coverage),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse_math::noise;

    /// More rows than a tile, points at whole numbers (so that rims are met exactly) and far from the origin, by the
    /// definitions.
    #[test]
    fn as_defined_on_a_lattice() {
        let lattice = |stream: u64, n: u64| -> Vec<f32> {
            (0..2 * n).map(|i| 1000.0 + noise::below(5, stream, i, 60) as f32).collect()
        };
        let (real, generated) = (lattice(0, 1030), lattice(1, 90));
        let (real, generated) = (Rows::new(&real, 2), Rows::new(&generated, 2));
        let found = compare(real, generated, [3, 5]);

        let squared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) as i64).map(|x| x * x).sum::<i64>();
        let radius = |rows: Rows, i: usize, k: usize| {
            let mut all: Vec<i64> = rows.iter().map(|row| squared(row, rows.row(i))).collect();
            all.sort_unstable();
            all[k]
        };
        let (n, m) = (real.len(), generated.len());
        let d = |i: usize, j: usize| squared(generated.row(i), real.row(j));
        let precision = (0..m).map(|i| (0..n).any(|j| d(i, j) <= radius(real, j, 3)));
        assert!(found.precision.iter().copied().eq(precision));
        let recall = (0..n).map(|j| (0..m).any(|i| d(i, j) <= radius(generated, i, 3)));
        assert!(found.recall.iter().copied().eq(recall));
        let density = (0..m).map(|i| (0..n).filter(|j| d(i, *j) < radius(real, *j, 5)).count() as f64 / 5.0);
        assert!(found.density.iter().copied().eq(density));
        let coverage = (0..n).map(|j| (0..m).any(|i| d(i, j) <= radius(real, j, 5)));
        assert!(found.coverage.iter().copied().eq(coverage));
        let inside = found.recall.iter().filter(|x| **x).count();
        assert!(inside > 0 && inside < n);
    }

    /// A set in itself: everything inside; copies of one image too.
    #[test]
    fn the_same_set() {
        let mut values = vec![0.0; 50 * 4];
        noise::normal(1, 0, 0, &mut values);
        let rows = Rows::new(&values, 4);
        let found = compare(rows, rows, [3, 5]);
        assert!([&found.precision, &found.recall, &found.coverage].into_iter().flatten().all(|x| *x));
        assert!((bootstrap::mean(&found.density) - 1.0).abs() < 1e-12);
        let one = [3.5f32; 40];
        let found = compare(Rows::new(&one, 4), Rows::new(&one, 4), [3, 5]);
        assert!([&found.precision, &found.recall, &found.coverage].into_iter().flatten().all(|x| *x));
    }
}
