//! Sliced Wasserstein distance: the exact transport cost along random directions.
//!
//! `SW₂² = E_θ W₂²(θ·x, θ·y)` over unit directions `θ` \[Rabin11\], where `W₂²` of two sets of numbers couples their
//! quantiles. It is taken on pixels in [−1, 1], so it needs no network: colours and coarse structure decide. The figure is the root.
//!
//! **Interval.** The derivative of `W₂²` by an image's weight is its Kantorovich potential, whose slope at `x` is
//! `2 (x − T x)` with `T` the coupling; averaged over directions it is the image's influence. Images of either side *and*
//! directions are resampled ([`bootstrap`]), since both are samples.

use rayon::prelude::*;
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_math::noise;

use crate::{Better, Figure, Metric, MetricError, MetricOptions, Over, Rows, Sets, bootstrap};

/// The line of [`METRICS`](crate::METRICS).
pub(crate) const METRIC: Metric = Metric {
    tag: "sliced",
    about: "sliced Wasserstein distance of pixels, 256 directions [Rabin11]",
    over: Over::Pixels,
    pairs: false,
    itself: &[("sliced", Some(0.0))],
    measure,
};

/// Directions of the figure.
pub const DIRECTIONS: usize = 256;
/// Directions that are projected on at a time.
const BLOCK: usize = 32;
/// Keeps the directions apart from the other uses of a seed.
const STREAM: u64 = 0x511C << 32;

/// A squared distance with its influences.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// `SW₂²`, the mean of `directions`.
    pub squared: f64,
    /// `W₂²` along each direction.
    pub directions: Vec<f64>,
    /// Influence of each real image, mean 0.
    pub real: Vec<f64>,
    /// Influence of each generated image, mean 0.
    pub generated: Vec<f64>,
}

impl Sliced {
    /// The interval of the squared distance.
    pub fn interval(&self, settings: &MetricOptions) -> [f64; 2] {
        bootstrap::interval(self.squared, &[&self.real, &self.generated, &self.directions], settings)
    }
}

/// The squared distance along `directions` directions of a seed. Neither set may be empty.
///
/// # Panics
/// If dimensions differ.
pub fn sliced(real: Rows, generated: Rows, directions: usize, seed: u64) -> Sliced {
    assert_eq!(real.dims(), generated.dims(), "rows of different dimensions");
    let mut out =
        Sliced { squared: 0.0, directions: vec![], real: vec![0.0; real.len()], generated: vec![0.0; generated.len()] };
    for first in (0..directions).step_by(BLOCK) {
        let count = BLOCK.min(directions - first);
        let thetas = unit_directions(real.dims(), first..first + count, seed);
        let (x, y) = (projections(real, &thetas, count), projections(generated, &thetas, count));
        let couplings: Vec<Coupling> = x.par_iter().zip(&y).map(|(x, y)| couple(x, y)).collect();
        for found in couplings {
            out.directions.push(found.squared);
            for (sums, potential) in [(&mut out.real, found.left), (&mut out.generated, found.right)] {
                sums.iter_mut().zip(potential).for_each(|(sum, x)| *sum += x / directions as f64);
            }
        }
    }
    out.squared = bootstrap::mean(&out.directions);
    out
}

/// `W₂²` of two sets of numbers, none empty: `∫ (F⁻¹(u) − G⁻¹(u))² du`, exactly, for unequal numbers too.
pub fn wasserstein(a: &[f32], b: &[f32]) -> f64 {
    couple(a, b).squared
}

fn measure(sets: &Sets, settings: &MetricOptions) -> Result<Vec<Figure>, MetricError> {
    sets.check("the sliced Wasserstein distance", 2)?;
    let found = sliced(sets.real, sets.generated, DIRECTIONS, settings.seed);
    Ok(vec![Figure {
        tag: "sliced".into(),
        name: "Sliced Wasserstein distance of pixels".into(),
        value: found.squared.sqrt(),
        interval: Some(found.interval(settings).map(|end| end.max(0.0).sqrt())),
        better: Better::Lower,
        note: None,
    }])
}

/// `[count, dims]`.
fn unit_directions(dims: usize, which: std::ops::Range<usize>, seed: u64) -> Vec<f32> {
    let mut out = vec![0.0; which.len() * dims];
    for (theta, i) in out.chunks_exact_mut(dims).zip(which) {
        noise::normal(seed, STREAM + i as u64, 0, theta);
        let length = theta.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        theta.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    out
}

/// Rows along each direction.
fn projections(rows: Rows, thetas: &[f32], count: usize) -> Vec<Vec<f32>> {
    let shape = Linear { rows: rows.len(), c_in: rows.dims(), c_out: count };
    let mut y = vec![0.0; rows.len() * count];
    linear::forward(&shape, rows.values(), thetas, None, &mut y);
    (0..count).map(|c| y.iter().skip(c).step_by(count).copied().collect()).collect()
}

/// The optimal coupling of two sets of numbers, with its potentials less their means.
struct Coupling {
    squared: f64,
    left: Vec<f64>,
    right: Vec<f64>,
}

fn couple(a: &[f32], b: &[f32]) -> Coupling {
    let order = |x: &[f32]| {
        let mut order: Vec<u32> = (0..x.len() as u32).collect();
        order.sort_unstable_by(|i, j| x[*i as usize].total_cmp(&x[*j as usize]));
        order
    };
    let (in_a, in_b) = (order(a), order(b));
    let (n, m) = (a.len() as u64, b.len() as u64);
    let (mut squared, mut i, mut j, mut done) = (0.0, 0usize, 0usize, 0u64);
    // Where each number goes, on the mean; weights in units of 1 / (n m) are whole.
    let (mut from_a, mut from_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    while i < a.len() && j < b.len() {
        let (x, y) = (f64::from(a[in_a[i] as usize]), f64::from(b[in_b[j] as usize]));
        let (end_a, end_b) = ((i as u64 + 1) * m, (j as u64 + 1) * n);
        let weight = (end_a.min(end_b) - done) as f64;
        squared += weight * (x - y).powi(2);
        from_a[i] += weight * y / m as f64;
        from_b[j] += weight * x / n as f64;
        done = end_a.min(end_b);
        i += usize::from(end_a == done);
        j += usize::from(end_b == done);
    }
    Coupling {
        squared: squared / (n * m) as f64,
        left: potential(a, &in_a, &from_a),
        right: potential(b, &in_b, &from_b),
    }
}

/// `∫ 2 (x − T x) dx` through the sorted numbers, by trapezia, less its mean; in the numbers' own order.
fn potential(x: &[f32], order: &[u32], to: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    let (mut height, mut before) = (0.0, None);
    for (at, to) in order.iter().zip(to) {
        let here = f64::from(x[*at as usize]);
        let slope = 2.0 * (here - to);
        if let Some((there, its_slope)) = before {
            height += (here - there) * (slope + its_slope) / 2.0;
        }
        before = Some((here, slope));
        out[*at as usize] = height;
    }
    let mean = bootstrap::mean(&out);
    out.iter_mut().for_each(|x| *x -= mean);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::{assert_tells_spread, sample};

    /// A shift by `c` in all of `d` dimensions has `SW₂² = ‖shift‖² / d = c²`; in one dimension exactly.
    #[test]
    fn a_shift() {
        for (dims, tolerance) in [(1, 1e-6), (50, 0.2)] {
            let a = sample(0, 200, dims, 0.0);
            let b: Vec<f32> = a.iter().map(|x| x + 0.5).collect();
            let found = sliced(Rows::new(&a, dims), Rows::new(&b, dims), DIRECTIONS, 0).squared;
            assert!((found / 0.25 - 1.0).abs() < tolerance, "{found}");
        }
    }

    /// From evenly spaced `x` to evenly spaced `a + s x`, for other numbers of points too: the coupling is that line, and
    /// the potential `(1 − s) x² − 2 a x`.
    #[test]
    fn potentials_of_a_stretch() {
        let even = |n: usize| (0..n).map(move |i| (i as f32 + 0.5) / n as f32);
        let (a, s) = (0.25, 0.5);
        let x: Vec<f32> = even(32).collect();
        for m in [32, 128] {
            let y: Vec<f32> = even(m).map(|x| a + s * x).collect();
            let found = couple(&x, &y).left;
            let raw = |x: f32| f64::from((1.0 - s) * x * x - 2.0 * a * x);
            let mean = x.iter().map(|x| raw(*x)).sum::<f64>() / 32.0;
            for (found, x) in found.iter().zip(&x) {
                assert!((found - (raw(*x) - mean)).abs() < 1e-6, "{found} at {x}");
            }
        }
    }

    #[test]
    fn the_same_set_in_another_order() {
        let a = sample(0, 90, 7, 0.0);
        let mut b: Vec<f32> = a.chunks(7).rev().flatten().copied().collect();
        b.extend_from_within(..);
        assert_eq!(sliced(Rows::new(&a, 7), Rows::new(&b, 7), 16, 0).squared, 0.0);
    }

    /// The bootstrap's spread beside that of independent sets along fresh directions.
    #[test]
    fn interval_tells_the_spread_of_repeats() {
        let dims = 4;
        let repeat = |i: u64| {
            let (a, b) = (sample(2 * i, 400, dims, 0.0), sample(2 * i + 1, 250, dims, 0.7));
            sliced(Rows::new(&a, dims), Rows::new(&b, dims), 64, i)
        };
        assert_tells_spread(
            &(0..150)
                .map(repeat)
                .map(|found| (found.squared, found.interval(&MetricOptions::default())))
                .collect::<Vec<_>>(),
        );
    }
}
