//! Maximum mean discrepancies: distances of distributions that need no normal distribution and know no bias.
//!
//! `MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y)` [Gretton12, Lemma 6] of real `x` and generated `y`. With the cubic kernel
//! `(x·y / d + 1)³` and the unbiased estimate (a pair of an image with itself is left out) it is the KID \[Binkowski18\]: its
//! expectation is the same for any number of images, so that a value may fall below 0. With
//! `exp(−‖x − y‖² / 2·10²)` of vectors of length 1, all pairs and a factor of 1000 it is CMMD's \[Jayasumana24\], whose features,
//! however, are CLIP's: values of other features compare only with each other.
//!
//! The figure is the estimate from *all* pairs, not the mean over random subsets that other tools report, whose expectation is the
//! same and whose noise is larger; [`kid_of_subsets`] is theirs. **Interval:** the influence of an image `x` is
//! `2(mean k(x, ·) over x − mean k(x, ·) over y)`, which falls out of the same sums; see [`bootstrap`].

use rayon::prelude::*;

use crate::distances::{Distances, tiles};
use crate::{Better, Figure, Metric, MetricError, Over, Rows, Sets, Settings, bootstrap};

/// The line of the kernel inception distance in [`METRICS`](crate::METRICS).
pub(crate) const KID: Metric = Metric {
    tag: "kid",
    about: "kernel distance, cubic kernel, unbiased [Binkowski18]",
    over: Over::Features,
    pairs: true,
    measure: measure_kid,
};

/// The line of CMMD's kernel in [`METRICS`](crate::METRICS).
pub(crate) const CMMD: Metric = Metric {
    tag: "cmmd",
    about: "kernel distance with CMMD's Gaussian kernel on these features [Jayasumana24]",
    over: Over::Features,
    pairs: true,
    measure: measure_cmmd,
};

/// The width of CMMD's kernel.
const SIGMA: f64 = 10.0;
/// What CMMD is multiplied by.
const SCALE: f64 = 1000.0;
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
    pub fn interval(&self, settings: &Settings) -> [f64; 2] {
        bootstrap::interval(self.value, &[&self.real, &self.generated], settings)
    }
}

/// The unbiased `MMD²` of the cubic kernel, over all pairs \[Binkowski18\]. Needs two rows on each side.
///
/// # Panics
/// If dimensions differ.
pub fn kid(real: Rows, generated: Rows) -> Discrepancy {
    let dims = real.dims() as f64;
    discrepancy(real, generated, Pairs::Others, move |dot, _, _| (dot / dims + 1.0).powi(3))
}

/// The KID of subsets, `[real, generated]` each, as other tools report it: their mean is the value.
///
/// # Panics
/// If dimensions differ or an index is out of range.
pub fn kid_of_subsets(real: Rows, generated: Rows, subsets: &[[Vec<usize>; 2]]) -> Vec<f64> {
    let gather =
        |rows: Rows, indices: &[usize]| -> Vec<f32> { indices.iter().flat_map(|i| rows.row(*i)).copied().collect() };
    let one = |[a, b]: &[Vec<usize>; 2]| {
        let (a, b) = (gather(real, a), gather(generated, b));
        kid(Rows::new(&a, real.dims()), Rows::new(&b, real.dims())).value
    };
    subsets.iter().map(one).collect()
}

/// `1000 MMD²` of the Gaussian kernel of width 10 on rows of length 1, over all pairs, as the authors' code has it
/// \[Jayasumana24\]. A row of zeros stays one.
///
/// # Panics
/// If dimensions differ.
pub fn cmmd(real: Rows, generated: Rows) -> Discrepancy {
    let kernel = |dot: f64, a2: f64, b2: f64| {
        let product = a2 * b2;
        let cosine = if product > 0.0 { dot / product.sqrt() } else { 0.0 };
        let length = |square: f64| if square > 0.0 { 1.0 } else { 0.0 };
        (-(length(a2) + length(b2) - 2.0 * cosine) / (2.0 * SIGMA * SIGMA)).exp()
    };
    let mut found = discrepancy(real, generated, Pairs::AllOfUnitKernel, kernel);
    found.value *= SCALE;
    [&mut found.real, &mut found.generated].into_iter().flatten().for_each(|x| *x *= SCALE);
    found
}

fn measure_kid(sets: &Sets, settings: &Settings) -> Result<Vec<Figure>, MetricError> {
    sets.check("KID", 2)?;
    Ok(vec![figure("kid", "KID", &kid(sets.real, sets.generated), settings)])
}

fn measure_cmmd(sets: &Sets, settings: &Settings) -> Result<Vec<Figure>, MetricError> {
    sets.check("CMMD's kernel distance", 2)?;
    let mut figure = figure("cmmd", "CMMD's kernel on these features", &cmmd(sets.real, sets.generated), settings);
    // All pairs, each image with itself, too: the estimate is never below 0.
    figure.value = figure.value.max(0.0);
    figure.interval = figure.interval.map(|ends| ends.map(|end| end.max(0.0)));
    Ok(vec![figure])
}

fn figure(tag: &str, name: &str, found: &Discrepancy, settings: &Settings) -> Figure {
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
enum Pairs {
    /// Those of two images: unbiased.
    Others,
    /// All; the kernel of an image and itself is 1.
    AllOfUnitKernel,
}

/// `kernel(a·b, a·a, b·b)`.
fn discrepancy(real: Rows, generated: Rows, pairs: Pairs, kernel: impl Fn(f64, f64, f64) -> f64 + Sync) -> Discrepancy {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::assert_tells_spread;
    use undiffuse_math::noise;

    fn sample(seed: u64, n: usize, dims: usize, offset: f32) -> Vec<f32> {
        let mut values = vec![0.0; n * dims];
        noise::normal(seed, 0, 0, &mut values);
        values.iter_mut().for_each(|x| *x += offset);
        values
    }

    /// More rows than a tile, by the definition: sums, the interval's influences, and sides not mixed up.
    #[test]
    fn tiles_add_up() {
        let dims = 3;
        let (a, b) = (sample(1, 1100, dims, 0.5), sample(2, 40, dims, 0.0));
        let (a, b) = (Rows::new(&a, dims), Rows::new(&b, dims));
        let found = kid(a, b);
        let kernel = |a: &[f32], b: &[f32]| {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (dot / dims as f64 + 1.0).powi(3)
        };
        let over = |x: &[f32], rows: Rows| rows.iter().map(|y| kernel(x, y)).sum::<f64>();
        let others = |rows: Rows| rows.iter().map(|x| over(x, rows) - kernel(x, x)).sum::<f64>();
        let (n, m) = (a.len() as f64, b.len() as f64);
        let cross: f64 = a.iter().map(|x| over(x, b)).sum();
        let want = others(a) / (n * (n - 1.0)) + others(b) / (m * (m - 1.0)) - 2.0 * cross / (n * m);
        assert!((found.value / want - 1.0).abs() < 1e-6, "{} {want}", found.value);
        let raw = |x: &[f32]| 2.0 * ((over(x, a) - kernel(x, x)) / (n - 1.0) - over(x, b) / m);
        let want = raw(a.row(7)) - a.iter().map(raw).sum::<f64>() / n;
        assert!((found.real[7] - want).abs() < 1e-6, "{} {want}", found.real[7]);
        let generated = |y: &[f32]| 2.0 * ((over(y, b) - kernel(y, y)) / (m - 1.0) - over(y, a) / n);
        let want = generated(b.row(3)) - b.iter().map(generated).sum::<f64>() / m;
        assert!((found.generated[3] - want).abs() < 1e-6);
    }

    /// The bootstrap's spread beside that of the distances of independent sets.
    #[test]
    fn interval_tells_the_spread_of_repeats() {
        let dims = 6;
        let repeat = |i: u64| {
            let (a, b) = (sample(2 * i, 300, dims, 0.3), sample(2 * i + 1, 200, dims, 0.0));
            kid(Rows::new(&a, dims), Rows::new(&b, dims))
        };
        assert_tells_spread(
            &(0..150).map(repeat).map(|found| (found.value, found.interval(&Settings::default()))).collect::<Vec<_>>(),
        );
    }

    /// CMMD counts every pair, so the same set twice is at 0, and zeros are no division by zero.
    #[test]
    fn same_set_and_zeros() {
        let mut a = sample(3, 20, 5, 0.0);
        a[..5].fill(0.0);
        let rows = Rows::new(&a, 5);
        let found = cmmd(rows, rows);
        assert!(found.value.abs() < 1e-6, "{}", found.value);
        assert!(found.real.iter().all(|x| x.abs() < 1e-6));
        assert!(kid(rows, rows).value < 0.0, "unbiased: less its own noise");
    }
}
