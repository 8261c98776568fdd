//! The pictures that a run is trained on: their statistics, and where they come from.

use std::ops::ControlFlow;
use std::path::Path;

use rayon::prelude::*;
use undiffuse::train::loss::PixelMoments;
use undiffuse_data::source::{self, Payload};
use undiffuse_data::{DataReport, Dataset, HeldOut, Image, Options, Split, decode};

/// Pictures that statistics of pixels are taken from, at most.
const SAMPLED: usize = 8192;
/// Bytes of pixels up to which every picture is compared with every other's hash.
const REPORTED: usize = 1 << 31;
/// Groups of numbers of about equal variance that are taken together.
const GROUPS: usize = 64;
/// Source files that are opened to see whether they have colour.
const OPENED: usize = 48;

/// A dataset and what its pixels look like.
pub struct DataStatistics {
    /// The pictures.
    pub dataset: Dataset,
    /// Which are trained on and which held out; a bare model has seen none of them as far as anyone knows.
    pub split: Split,
    /// Mean of each number of a picture `[C · H · W]`, in [−1, 1].
    pub mean: Vec<f64>,
    /// Its variance.
    pub variance: Vec<f64>,
    /// How often each byte occurs.
    pub histogram: [u64; 256],
    /// Share of pictures whose channels are equal; 1 for pictures of one channel.
    pub grey: f64,
    /// How many pictures the statistics come from.
    pub sampled: usize,
    /// Duplicates, classes and more, where the data are not too many.
    pub report: Option<DataReport>,
    /// Of the first source files, how many are coloured, and how many were opened.
    pub coloured: Option<(usize, usize)>,
}

impl DataStatistics {
    /// What a loss that needs no learning is computed from.
    pub fn moments(&self) -> PixelMoments {
        let squares = self.mean.iter().zip(&self.variance).map(|(m, v)| m * m + v);
        let mut variances = self.variance.clone();
        variances.sort_by(f64::total_cmp);
        let share = |group: &[f64]| group.len() as f64 / variances.len() as f64;
        let groups = variances.chunks(variances.len().div_ceil(GROUPS));
        PixelMoments {
            square: squares.sum::<f64>() / self.mean.len() as f64,
            variances: groups.map(|g| (g.iter().sum::<f64>() / g.len() as f64, share(g))).collect(),
        }
    }

    /// Looks at a dataset, of which a share is held out as a run with `seed` does it.
    pub fn new(dataset: Dataset, held_out: f64, seed: u64) -> Self {
        let split = dataset.split(HeldOut::Fraction(held_out), seed);
        let chosen = spaced(&split.train, SAMPLED);
        let (channels, plane) = (dataset.channels(), dataset.width() * dataset.height());
        let sums = chosen.par_iter().fold(|| Sums::new(channels * plane), |sums, &i| sums.add(&dataset, i));
        let sums = sums.reduce(|| Sums::new(channels * plane), Sums::join);
        let n = chosen.len().max(1) as f64;
        let unit = |x: f64| x / 127.5 - 1.0;
        // From pixels side by side to planes one after the other.
        let at = |k: usize| k % plane * channels + k / plane;
        let moments = (0..channels * plane).map(|k| {
            let (sum, square) = (sums.sum[at(k)] as f64 / n, sums.square[at(k)] as f64 / n);
            (unit(sum), (square - sum * sum).max(0.0) / 127.5f64.powi(2))
        });
        let (mean, variance) = moments.unzip();
        let report = (dataset.len() * channels * plane <= REPORTED).then(|| DataReport::new(&dataset));
        let coloured = coloured(dataset.path());
        let (histogram, grey, sampled) = (sums.histogram, sums.grey as f64 / n, chosen.len());
        Self { dataset, split, mean, variance, histogram, grey, sampled, report, coloured }
    }

    /// Mean and standard deviation of all numbers, in [−1, 1].
    pub fn overall(&self) -> (f64, f64) {
        let n = self.mean.len() as f64;
        let mean = self.mean.iter().sum::<f64>() / n;
        let square = self.mean.iter().zip(&self.variance).map(|(m, v)| m * m + v).sum::<f64>() / n;
        (mean, (square - mean * mean).max(0.0).sqrt())
    }

    /// The byte below which a share of all numbers lies.
    pub fn quantile(&self, share: f64) -> u8 {
        let wanted = share * self.histogram.iter().sum::<u64>() as f64;
        let mut below = 0;
        let first = self.histogram.iter().position(|n| {
            below += n;
            below as f64 > wanted
        });
        first.unwrap_or(255) as u8
    }

    /// Share of all numbers that are black or white.
    pub fn saturated(&self) -> f64 {
        let ends: u64 = self.histogram[..2].iter().chain(&self.histogram[254..]).sum();
        ends as f64 / self.histogram.iter().sum::<u64>().max(1) as f64
    }

    /// Root mean square error of the best guess of each pixel from itself alone, knowing the mean picture and each pixel's
    /// variance `v`, at noise `sigma / alpha`: `mean v σ² / (v + σ²)`, a Wiener filter's.
    pub fn wiener(&self, sigma: f64) -> f64 {
        let square = sigma * sigma;
        let errors = self.variance.iter().map(|v| v * square / (v + square));
        (errors.sum::<f64>() / self.variance.len() as f64).sqrt()
    }

    /// Numbers in a picture.
    pub fn dims(&self) -> usize {
        self.mean.len()
    }
}

/// `most` of `indices`, evenly spaced.
pub fn spaced(indices: &[usize], most: usize) -> Vec<usize> {
    let n = indices.len().min(most);
    (0..n).map(|k| indices[k * indices.len() / n]).collect()
}

/// Exact sums of bytes, so that no result depends on the number of threads.
struct Sums {
    sum: Vec<u64>,
    square: Vec<u64>,
    histogram: [u64; 256],
    grey: usize,
}

impl Sums {
    fn new(dims: usize) -> Self {
        Self { sum: vec![0; dims], square: vec![0; dims], histogram: [0; 256], grey: 0 }
    }

    fn add(mut self, dataset: &Dataset, i: usize) -> Self {
        let pixels = dataset.pixels(i);
        for ((sum, square), &v) in self.sum.iter_mut().zip(&mut self.square).zip(pixels) {
            *sum += u64::from(v);
            *square += u64::from(v).pow(2);
            self.histogram[usize::from(v)] += 1;
        }
        self.grey += usize::from(pixels.chunks_exact(dataset.channels()).all(|p| p.iter().all(|v| *v == p[0])));
        self
    }

    fn join(mut self, other: Self) -> Self {
        self.sum.iter_mut().zip(other.sum).for_each(|(a, b)| *a += b);
        self.square.iter_mut().zip(other.square).for_each(|(a, b)| *a += b);
        self.histogram.iter_mut().zip(other.histogram).for_each(|(a, b)| *a += b);
        self.grey += other.grey;
        self
    }
}

/// Of the first source pictures, how many have colour, and how many could be opened.
fn coloured(path: &Path) -> Option<(usize, usize)> {
    let options = Options::default();
    let (_, mut source) = source::open(path, &options).ok()?;
    let (mut coloured, mut opened) = (0, 0);
    let decoded = |bytes: &[u8]| decode::decode(bytes, &options).ok().map(|decoded| decoded.image);
    let visited = source.visit(&mut |entry| {
        let image: Option<Image> = match entry.payload {
            Payload::File(path) => std::fs::read(path).ok().and_then(|bytes| decoded(&bytes)),
            Payload::Bytes(bytes) => decoded(&bytes),
            Payload::Pixels(image, _) => Some(image),
            Payload::Failed(_) => None,
        };
        if let Some(image) = image {
            opened += 1;
            coloured += usize::from(!image.is_grey());
        }
        if opened < OPENED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    visited.ok().filter(|()| opened > 0).map(|()| (coloured, opened))
}
