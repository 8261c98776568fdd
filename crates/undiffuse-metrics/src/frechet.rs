//! The Fréchet distance: how far apart two sets of features are when each is taken for a normal distribution.
//!
//! `d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½)` \[Dowson82\], on features of Inception the FID [Heusel17, Eq. 6].
//!
//! With `Σ₂ = L Lᵀ` (`L = U √λ` of an eigen-decomposition), `tr (Σ₁Σ₂)^½ = Σ √eig(Lᵀ Σ₁ L)`: symmetric problems only, so
//! nothing complex can appear, and singular covariances (fewer images than features) need no special care.
//!
//! **Interval.** To first order one image `x` of the first set moves the distance by its influence
//! `2(μ₁ − μ₂)·(x − μ₁) + (x − μ₁)ᵀ(I − T)(x − μ₁)`, less the mean of that, where `T = L (LᵀΣ₁L)^{−½} Lᵀ` carries the first
//! normal distribution to the second (the distance is the squared Wasserstein distance between them, and this its
//! Kantorovich potential); an image of the second set likewise with the inverse map. The influences are what
//! [`bootstrap`] resamples. They tell the spread, not the bias of few images, about `1/n`: that is what
//! [`extrapolate`] is for.

use faer::{Mat, MatRef};
use rayon::prelude::*;
use undiffuse_math::noise;

use crate::distances::tiles;
use crate::matrix::{Eigen, eigenvalues, product};
use crate::moments::{Gaussian, centred};
use crate::{Better, Figure, Metric, MetricError, MetricOptions, Over, Rows, Sets, bootstrap};

/// The line of [`METRICS`](crate::METRICS).
pub(crate) const METRIC: Metric = Metric {
    tag: "fid",
    about: "Fréchet distance between normal distributions fitted to the features [Heusel17]",
    over: Over::Features,
    pairs: false,
    itself: &[("fid", Some(0.0)), ("fid_infinity", None)],
    measure,
};

/// Keeps the subsets of [`extrapolate`] apart from the other uses of a seed.
const SUBSETS: u64 = 0xF1D << 32;

/// The squared Fréchet distance of two normal distributions, as everyone reports it.
///
/// # Errors
/// Eigenvalues that were not found.
///
/// # Panics
/// If their dimensions differ.
pub fn distance(real: &Gaussian, generated: &Gaussian) -> Result<f64, MetricError> {
    Factor::of(real)?.distance(generated)
}

/// The distance, and the influence of each image on it where the images are at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// The squared distance.
    pub distance: f64,
    /// How the distance moves by the weight of each real image; mean 0.
    pub real: Vec<f64>,
    /// The same of generated images.
    pub generated: Vec<f64>,
}

impl Influence {
    /// The interval of the distance; its lower end is no lower than 0.
    pub fn interval(&self, settings: &MetricOptions) -> [f64; 2] {
        let [low, high] = bootstrap::interval(self.distance, &[&self.real, &self.generated], settings);
        [low.max(0.0), high]
    }
}

/// Distance and influences of two sets whose moments are known (cached, perhaps). `real` and `generated` may be empty
/// where only moments were kept; then that side does not widen an interval.
///
/// # Errors
/// Eigenvalues that were not found.
///
/// # Panics
/// If dimensions differ.
pub fn influence(moments: [&Gaussian; 2], real: Rows, generated: Rows) -> Result<Influence, MetricError> {
    let factor = Factor::of(moments[0])?;
    let to = factor.to(moments[1])?;
    let there = |rows: Rows, from: &Gaussian, other: &Gaussian, map: MatRef<f64>| influences(rows, from, other, map);
    Ok(Influence {
        distance: to.distance,
        real: there(real, moments[0], moments[1], to.map_back(&factor).as_ref()),
        generated: there(generated, moments[1], moments[0], to.map(&factor).as_ref()),
    })
}

/// The distance extrapolated to infinitely many generated images, FID∞ \[Chong20\], with its interval: the value
/// at `1/n = 0` of a line through the distances of 15 random subsets, from half to all of the images. (The authors' code
/// begins at 5,000 images instead, which few evaluations here have many times over.)
///
/// The data keep their number, so their own bias stays. The interval adds the line's standard error to the
/// spread by images, `influence`.
///
/// # Errors
/// Eigenvalues that were not found.
pub fn extrapolate(
    real: &Gaussian,
    generated: Rows,
    influence: &Influence,
    settings: &MetricOptions,
) -> Result<(f64, [f64; 2]), MetricError> {
    const POINTS: usize = 15;
    let (n, dims) = (generated.len(), generated.dims());
    let factor = Factor::of(real)?;
    let distance = |size: usize, point: usize| -> Result<(f64, f64), MetricError> {
        let order = noise::shuffled(settings.seed, SUBSETS + point as u64, n as u32);
        let mut subset = Vec::with_capacity(size * dims);
        order[..size].iter().for_each(|i| subset.extend_from_slice(generated.row(*i as usize)));
        Ok((1.0 / size as f64, factor.distance(&Gaussian::of(Rows::new(&subset, dims)))?))
    };
    let sizes = (0..POINTS).map(|point| (n / 2 + (n - n / 2) * point / (POINTS - 1)).max(2));
    let points = sizes.enumerate().map(|(point, size)| distance(size, point)).collect::<Result<Vec<_>, _>>()?;
    let (value, line_error) = at_zero(&points);
    let images = bootstrap::interval(0.0, &[&influence.real, &influence.generated], settings);
    let line = bootstrap::normal_quantile(0.5 + settings.confidence / 2.0) * line_error;
    Ok((value, [value - images[0].hypot(line), value + images[1].hypot(line)]))
}

/// Where the least-squares line meets zero, and the standard error of that.
fn at_zero(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let xx: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    if xx == 0.0 {
        return (mean_y, 0.0);
    }
    let (slope, zero) = (xy / xx, mean_y - xy / xx * mean_x);
    let rest: f64 = points.iter().map(|(x, y)| (y - zero - slope * x).powi(2)).sum();
    (zero, (rest / (n - 2.0).max(1.0) * (1.0 / n + mean_x * mean_x / xx)).sqrt())
}

fn measure(sets: &Sets, settings: &MetricOptions) -> Result<Vec<Figure>, MetricError> {
    sets.check("the Fréchet distance", 2)?;
    let (real, generated) = (Gaussian::of(sets.real), Gaussian::of(sets.generated));
    figures([&real, &generated], sets.real, sets.generated, settings)
}

/// The figures of a report from moments that are known already; see [`influence`] for empty rows.
///
/// # Errors
/// Eigenvalues that were not found.
pub fn figures(
    moments: [&Gaussian; 2],
    real: Rows,
    generated: Rows,
    settings: &MetricOptions,
) -> Result<Vec<Figure>, MetricError> {
    let found = influence(moments, real, generated)?;
    let figure = |tag: &str, name: &str, value: f64, interval: [f64; 2], note| Figure {
        tag: tag.into(),
        name: name.into(),
        value,
        interval: Some(interval),
        better: Better::Lower,
        note,
    };
    let mut figures = vec![figure("fid", "Fréchet distance", found.distance, found.interval(settings), note(moments))];
    if settings.extrapolate && generated.len() >= 4 {
        let (value, interval) = extrapolate(moments[0], generated, &found, settings)?;
        let mut note =
            String::from("for infinitely many generated images, from a line in 1/n; the data stay as many as they are");
        if generated.len() < 4 * generated.dims() {
            note += &format!("; {} images for {} features are too few for a line", generated.len(), generated.dims());
        }
        figures.push(figure("fid_infinity", "Fréchet distance, n → ∞", value, interval, Some(note)));
    }
    Ok(figures)
}

/// What the reader has to know of too few images.
fn note(moments: [&Gaussian; 2]) -> Option<String> {
    let (dims, fewest) = (moments[0].dims(), moments[0].count.min(moments[1].count));
    let few = |what: &str| {
        format!("{fewest} images for {dims} features: {what}; compare only with the same number of images")
    };
    match fewest {
        _ if fewest <= dims => Some(few("the covariance is singular and the distance far too large")),
        _ if fewest < 3 * dims => Some(few("the distance is biased upward")),
        _ => None,
    }
}

/// `L` with `L Lᵀ` the covariance of `of`, without directions that it does not vary in.
struct Factor<'a> {
    of: &'a Gaussian,
    /// `[dims, rank]`, eigenvectors times roots of eigenvalues.
    root: Mat<f64>,
    /// Eigenvalues, `[rank]`.
    values: Vec<f64>,
}

/// From a [`Factor`]'s distribution to another one.
struct To {
    distance: f64,
    /// Of `Lᵀ Σ L`.
    eigen: Eigen,
}

impl<'a> Factor<'a> {
    fn of(of: &'a Gaussian) -> Result<Self, MetricError> {
        let eigen = Eigen::of(of.matrix())?;
        let first = eigen.first_significant();
        let values = eigen.values[first..].to_vec();
        let root = Mat::from_fn(of.dims(), values.len(), |i, j| eigen.vectors[(i, first + j)] * values[j].sqrt());
        Ok(Self { of, root, values })
    }

    /// `Lᵀ Σ L` with the other's covariance.
    fn inner(&self, other: &Gaussian) -> Mat<f64> {
        product(self.root.transpose(), product(other.matrix(), self.root.as_ref()).as_ref())
    }

    fn distance(&self, other: &Gaussian) -> Result<f64, MetricError> {
        Ok(self.distance_by(other, &eigenvalues(self.inner(other).as_ref())?))
    }

    fn to(&self, other: &Gaussian) -> Result<To, MetricError> {
        let eigen = Eigen::of(self.inner(other).as_ref())?;
        Ok(To { distance: self.distance_by(other, &eigen.values), eigen })
    }

    fn distance_by(&self, other: &Gaussian, eigenvalues: &[f64]) -> f64 {
        let trace = |gaussian: &Gaussian| gaussian.covariance.iter().step_by(gaussian.dims() + 1).sum::<f64>();
        let shared: f64 = eigenvalues.iter().map(|value| value.max(0.0).sqrt()).sum();
        let apart: f64 = self.of.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        (apart + trace(self.of) + trace(other) - 2.0 * shared).max(0.0)
    }
}

impl To {
    /// `B` with `Bᵀ B = L (LᵀΣL)^{−½} Lᵀ`, the map from the other distribution to the factor's.
    fn map(&self, factor: &Factor) -> Mat<f64> {
        self.scaled(factor.root.transpose(), -0.25)
    }

    /// `B` with `Bᵀ B = L⁻ᵀ (LᵀΣL)^½ L⁻¹`, the map from the factor's distribution to the other.
    fn map_back(&self, factor: &Factor) -> Mat<f64> {
        let inverse =
            Mat::from_fn(factor.root.ncols(), factor.root.nrows(), |i, j| factor.root[(j, i)] / factor.values[i]);
        self.scaled(inverse.as_ref(), 0.25)
    }

    /// `diag(eigenvalues^power) Vᵀ right`, where eigenvalues are more than noise.
    fn scaled(&self, right: MatRef<f64>, power: f64) -> Mat<f64> {
        let first = self.eigen.first_significant();
        let (values, vectors) = (&self.eigen.values, &self.eigen.vectors);
        let left = Mat::from_fn(values.len() - first, vectors.nrows(), |i, j| {
            vectors[(j, first + i)] * values[first + i].powf(power)
        });
        product(left.as_ref(), right)
    }
}

/// `2(μ − μ′)·c + ‖c‖² − ‖B c‖²` of every centred row `c`, less the mean of all.
fn influences(rows: Rows, from: &Gaussian, other: &Gaussian, map: MatRef<f64>) -> Vec<f64> {
    let slope: Vec<f64> = from.mean.iter().zip(&other.mean).map(|(a, b)| 2.0 * (a - b)).collect();
    let mut out = Vec::with_capacity(rows.len());
    for tile in tiles(rows.len()) {
        let values = &rows.values()[tile.start * rows.dims()..tile.end * rows.dims()];
        let centred = centred(Rows::new(values, rows.dims()), &from.mean);
        let mapped = product(map, centred.as_ref());
        let one = |i: usize| {
            let (centred, mapped) = (centred.col(i), mapped.col(i));
            let along: f64 = centred.iter().zip(&slope).map(|(x, s)| x * s).sum();
            along + centred.squared_norm_l2() - mapped.squared_norm_l2()
        };
        out.par_extend((0..tile.len()).into_par_iter().map(one));
    }
    let mean = bootstrap::mean(&out);
    out.iter_mut().for_each(|x| *x -= mean);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::assert_tells_spread;

    fn sample(seed: u64, n: usize, dims: usize, scale: f32, offset: f32) -> Vec<f32> {
        let mut values = vec![0.0; n * dims];
        noise::normal(seed, 0, 0, &mut values);
        for row in values.chunks_exact_mut(dims) {
            (1..dims).for_each(|i| row[i] += 0.5 * row[i - 1]);
            row.iter_mut().for_each(|x| *x = *x * scale + offset);
        }
        values
    }

    fn measured(a: &[f32], b: &[f32], dims: usize) -> Influence {
        let (a, b) = (Rows::new(a, dims), Rows::new(b, dims));
        influence([&Gaussian::of(a), &Gaussian::of(b)], a, b).unwrap()
    }

    /// Of normal distributions whose covariances commute: `Σ (μ₁ − μ₂)² + (√λ₁ − √λ₂)²`.
    #[test]
    fn closed_form() {
        let gaussian = |mean: [f64; 2], variance: [f64; 2]| {
            let covariance = vec![variance[0], 0.0, 0.0, variance[1]];
            Gaussian { count: 100, mean: mean.to_vec(), covariance }
        };
        let (a, b) = (gaussian([0.0, 1.0], [4.0, 0.0]), gaussian([3.0, 1.0], [1.0, 9.0]));
        let want = 9.0 + 1.0 + 9.0;
        assert!((distance(&a, &b).unwrap() - want).abs() < 1e-12);
        assert!((distance(&b, &a).unwrap() - want).abs() < 1e-12);
    }

    /// Both for more images than features and for fewer.
    #[test]
    fn the_same_set_is_at_zero() {
        for n in [200, 20] {
            let a = sample(1, n, 40, 1.0, 2.0);
            let found = measured(&a, &a, 40);
            assert!((0.0..1e-9).contains(&found.distance), "{}", found.distance);
            assert!(found.real.iter().chain(&found.generated).all(|x| x.abs() < 1e-6));
        }
    }

    /// The influence of an image against what its weight does to the distance: the moments with a little more of it.
    #[test]
    fn influences_are_derivatives() {
        let dims = 5;
        let (a, b) = (sample(1, 60, dims, 1.0, 0.0), sample(2, 50, dims, 1.5, 0.4));
        let (a, b) = (Rows::new(&a, dims), Rows::new(&b, dims));
        // With divisor n, so that weights are probabilities.
        let whole = |rows: Rows| {
            let mut found = Gaussian::of(rows);
            let n = found.count as f64;
            found.covariance.iter_mut().for_each(|x| *x *= (n - 1.0) / n);
            found
        };
        let (p, q) = (whole(a), whole(b));
        let found = influence([&p, &q], a, b).unwrap();
        let toward = |from: &Gaussian, x: &[f32], weight: f64| {
            let delta: Vec<f64> = x.iter().zip(&from.mean).map(|(x, m)| f64::from(*x) - m).collect();
            let mean = from.mean.iter().zip(&delta).map(|(m, d)| m + weight * d).collect();
            let entry =
                |at: usize| (1.0 - weight) * (from.covariance[at] + weight * delta[at / dims] * delta[at % dims]);
            Gaussian { count: from.count, mean, covariance: (0..dims * dims).map(entry).collect() }
        };
        let h = 1e-5;
        for i in [0, 17] {
            let at = |weight: f64| distance(&toward(&p, a.row(i), weight), &q).unwrap();
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!((found.real[i] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{} {slope}", found.real[i]);
            let at = |weight: f64| distance(&p, &toward(&q, b.row(i), weight)).unwrap();
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!((found.generated[i] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{} {slope}", found.generated[i]);
        }
    }

    /// The bootstrap's spread beside that of the distances of independent sets.
    #[test]
    fn interval_tells_the_spread_of_repeats() {
        let dims = 10;
        let repeat = |i: u64| {
            let found = measured(&sample(2 * i, 500, dims, 1.0, 0.0), &sample(2 * i + 1, 300, dims, 1.1, 0.3), dims);
            (found.distance, found.interval(&MetricOptions::default()))
        };
        assert_tells_spread(&(0..150).map(repeat).collect::<Vec<_>>());
    }

    /// Of 400 images each the distance is far above the true one; the extrapolation is near what the data's own number leaves.
    #[test]
    fn extrapolation_takes_the_bias() {
        let dims = 20;
        let (a, b) = (sample(1, 40_000, dims, 1.0, 0.0), sample(2, 400, dims, 1.0, 0.0));
        let (a, b) = (Rows::new(&a, dims), Rows::new(&b, dims));
        let p = Gaussian::of(a);
        let found = influence([&p, &Gaussian::of(b)], a, b).unwrap();
        let (value, [low, high]) = extrapolate(&p, b, &found, &MetricOptions::default()).unwrap();
        assert!(found.distance > 0.2, "{}", found.distance);
        assert!(value.abs() < 0.25 * found.distance, "{value} of {}", found.distance);
        assert!(low < 0.0 && 0.0 < high, "{low} {high}");
        assert_eq!(at_zero(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).0, 3.0);
    }

    #[test]
    fn threads_change_no_bit() {
        let (a, b) = (sample(1, 700, 130, 1.0, 0.0), sample(2, 600, 130, 1.2, 0.1));
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| measured(&a, &b, 130))
        };
        assert_eq!(on(1), on(3));
    }
}
