//! Maximum mean discrepancies: distances of distributions that need no normal distribution.
//!
//! `MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y)` [Gretton12, Lemma 6] of real `x` and generated `y` with a kernel `k`; the metrics
//! [`kid`](crate::kid) and [`cmmd`](crate::cmmd) are choices of `k` and of the pairs that count.
//!
//! **Interval:** the influence of an image `x` is `2(mean k(x, ·) over x − mean k(x, ·) over y)`, which falls out of the same sums;
//! see [`bootstrap`].

use rayon::prelude::*;

use crate::distances::{Distances, tiles};
use crate::{Better, Figure, MetricOptions, Rows, bootstrap};

/// Rows of a tile whose sums one thread makes.
const ROWS: usize = 32;

/// A squared discrepancy, and the influence of each image on it (of mean 0).
#[derive(Clone, Debug, PartialEq)]
pub struct Discrepancy {
    /// `MMD²`.
    pub value: f64,
    /// Of real images.
    pub real: Vec<f64>,
    /// Of generated images.
    pub generated: Vec<f64>,
}

impl Discrepancy {
    /// The interval of the value.
    pub fn interval(&self, settings: &MetricOptions) -> [f64; 2] {
        bootstrap::interval(self.value, &[&self.real, &self.generated], settings)
    }
}

/// The line of a report.
pub(crate) fn figure(tag: &str, name: &str, found: &Discrepancy, settings: &MetricOptions) -> Figure {
    Figure {
        tag: tag.into(),
        name: name.into(),
        value: found.value,
        interval: Some(found.interval(settings)),
        better: Better::Lower,
        note: None,
    }
}

/// Which pairs within a set count.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pairs {
    /// Those of two images: unbiased.
    Others,
    /// All; the kernel of an image and itself is 1.
    AllOfUnitKernel,
}

/// The discrepancy of a symmetric kernel, `kernel(a·b, a·a, b·b)`. Needs two rows on each side.
///
/// # Panics
/// If dimensions differ.
pub(crate) fn discrepancy(
    real: Rows,
    generated: Rows,
    pairs: Pairs,
    kernel: impl Fn(f64, f64, f64) -> f64 + Sync,
) -> Discrepancy {
    let within = |rows: Rows| {
        let sums = sums(&Distances::new(rows, rows), [rows.len(); 2], true, &kernel).0;
        let (own, others) = match pairs {
            Pairs::Others => (0.0, rows.len() - 1),
            Pairs::AllOfUnitKernel => (1.0, rows.len()),
        };
        sums.iter().map(|sum| (sum + own) / others as f64).collect::<Vec<_>>()
    };
    let (of_real, of_generated) = (within(real), within(generated));
    let (n, m) = (real.len(), generated.len());
    let (over_real, over_generated) = sums(&Distances::new(generated, real), [m, n], false, &kernel);
    let means = |sums: Vec<f64>, n: usize| sums.iter().map(|sum| sum / n as f64).collect::<Vec<_>>();
    let (across_generated, across_real) = (means(over_real, n), means(over_generated, m));
    let mean = bootstrap::mean;
    let value = mean(&of_real) + mean(&of_generated) - (mean(&across_real) + mean(&across_generated));
    let influence = |own: Vec<f64>, across: Vec<f64>| {
        let raw: Vec<f64> = own.iter().zip(&across).map(|(own, across)| 2.0 * (own - across)).collect();
        let mean = mean(&raw);
        raw.into_iter().map(|x| x - mean).collect()
    };
    Discrepancy { value, real: influence(of_real, across_real), generated: influence(of_generated, across_generated) }
}

/// Sums of the kernel over the right for each row of the left, and over the left for each of the right. `own`: both
/// sides are one set, of which pairs of a row with itself are left out; then only the first result counts.
fn sums(
    rows: &Distances,
    [left, right]: [usize; 2],
    own: bool,
    kernel: &(impl Fn(f64, f64, f64) -> f64 + Sync),
) -> (Vec<f64>, Vec<f64>) {
    let [a2, b2] = rows.squared_lengths();
    let (mut of_left, mut of_right) = (vec![0.0; left], vec![0.0; right]);
    for across in tiles(left) {
        // The kernel is symmetric: of one set, only tiles on or right of the diagonal are made.
        for down in tiles(right).filter(|down| !own || down.start >= across.start) {
            let mut products = rows.products(across.clone(), down.clone());
            let width = down.len();
            let chunks: Vec<(Vec<f64>, Vec<f64>)> = products
                .par_chunks_mut(ROWS * width)
                .enumerate()
                .map(|(chunk, products)| {
                    let (mut by_row, mut by_column) = (Vec::with_capacity(ROWS), vec![0.0; width]);
                    for (row, products) in products.chunks(width).enumerate() {
                        let i = across.start + chunk * ROWS + row;
                        let mut sum = 0.0;
                        for (column, (product, by_column)) in products.iter().zip(&mut by_column).enumerate() {
                            let j = down.start + column;
                            if own && i == j {
                                continue;
                            }
                            let k = kernel(rows.dot(*product, i, j), a2[i], b2[j]);
                            sum += k;
                            *by_column += k;
                        }
                        by_row.push(sum);
                    }
                    (by_row, by_column)
                })
                .collect();
            let by_row = chunks.iter().flat_map(|(by_row, _)| by_row);
            of_left[across.clone()].iter_mut().zip(by_row).for_each(|(sum, k)| *sum += k);
            let onto = if !own {
                &mut of_right[down.clone()]
            } else if down != across {
                &mut of_left[down.clone()]
            } else {
                continue;
            };
            for (_, by_column) in &chunks {
                onto.iter_mut().zip(by_column).for_each(|(sum, k)| *sum += k);
            }
        }
    }
    (of_left, of_right)
}
