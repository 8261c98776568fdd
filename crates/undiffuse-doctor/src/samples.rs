//! The newest grid of samples, cell by cell, beside the pictures of the data.

use std::path::PathBuf;

use rayon::prelude::*;
use undiffuse::run::RunFolder;
use undiffuse_data::{Image, Options};

use super::DataStatistics;
use super::log::median;
use super::pictures::spaced;

/// White pixels between the cells of a grid, as [`undiffuse::train`] draws it.
const PAD: usize = 2;
/// Differences of bytes that a search for copies may take.
const COMPARISONS: usize = 8_000_000_000;
/// Pictures that samples are compared with each other and with for their variety.
const COMPARED: usize = 60;

/// What the newest samples look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The grid.
    pub path: PathBuf,
    /// Pictures in it.
    pub count: usize,
    /// Mean of all numbers, in [−1, 1].
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// Share of numbers that are black or white.
    pub saturated: f64,
    /// Correlation of the samples' mean picture with the data's, pixel by pixel; NaN where either is flat.
    pub correlation: f64,
    /// Root mean square difference of channels within a pixel; 0 for pictures of one channel.
    pub chroma: f64,
    /// The same of the data.
    pub data_chroma: f64,
    /// Median root mean square difference between two samples, over that between two pictures of the data.
    pub variety: f64,
    /// Median distance from a sample to the nearest training picture, and from a picture of the data to the nearest *other*
    /// one, RMS of 255.
    pub nearest: Option<(f64, f64)>,
}

impl Samples {
    /// Reads the newest grid of a run; nothing where there is none that fits the data.
    pub fn newest(run: &RunFolder, pictures: &DataStatistics) -> Option<Self> {
        let (_, path) = run.samples().pop_last()?;
        let sheet = Image::open(&path, &Options::default()).ok()?;
        let cells = cells(&sheet, pictures);
        (cells.len() >= 2).then(|| Self::of(path, &cells, pictures))
    }

    fn of(path: PathBuf, cells: &[Vec<u8>], pictures: &DataStatistics) -> Self {
        let data = &pictures.dataset;
        let (channels, dims) = (data.channels(), pictures.dims());
        let count = (cells.len() * dims) as f64;
        let unit = |v: u8| f64::from(v) / 127.5 - 1.0;
        let all = || cells.iter().flatten();
        let mean = all().map(|&v| unit(v)).sum::<f64>() / count;
        let std = (all().map(|&v| (unit(v) - mean).powi(2)).sum::<f64>() / count).sqrt();
        let saturated = all().filter(|&&v| !(2..=253).contains(&v)).count() as f64 / count;
        let plane = dims / channels;
        let own = (0..dims).map(|k| {
            let at = k % plane * channels + k / plane;
            cells.iter().map(|c| unit(c[at])).sum::<f64>() / cells.len() as f64
        });
        let real: Vec<&[u8]> = spaced(&pictures.split.train, COMPARED).into_iter().map(|i| data.pixels(i)).collect();
        let shown: Vec<&[u8]> = cells.iter().take(COMPARED).map(Vec::as_slice).collect();
        let chroma = |pictures: &[&[u8]]| {
            let gaps = pictures.iter().flat_map(|p| p.chunks_exact(channels)).map(|p| {
                let mean = p.iter().map(|&v| f64::from(v)).sum::<f64>() / channels as f64;
                p.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>()
            });
            (gaps.sum::<f64>() / (pictures.len() * dims) as f64).sqrt()
        };
        Self {
            path,
            count: cells.len(),
            mean,
            std,
            saturated,
            correlation: correlation(&own.collect::<Vec<_>>(), &pictures.mean),
            chroma: chroma(&shown),
            data_chroma: chroma(&real),
            variety: between(&shown) / between(&real),
            nearest: nearest(&shown, pictures),
        }
    }
}

/// The pictures of a grid, as bytes of pixels side by side.
fn cells(sheet: &Image, pictures: &DataStatistics) -> Vec<Vec<u8>> {
    let data = &pictures.dataset;
    let (w, h) = (data.width(), data.height());
    let whole = |side: usize, cell: usize| {
        (side > PAD && (side - PAD).is_multiple_of(cell + PAD)).then(|| (side - PAD) / (cell + PAD))
    };
    let (Some(columns), Some(rows)) = (whole(sheet.width, w), whole(sheet.height, h)) else { return Vec::new() };
    let cell = |k: usize| sheet.crop(PAD + k % columns * (w + PAD), PAD + k / columns * (h + PAD), w, h);
    let all = (0..columns * rows).map(cell);
    // A last row that is not full ends in the white of the sheet.
    let filled = |image: &Image| !image.pixels.iter().all(|v| *v == 255);
    all.filter(filled).map(|image| image.to_channels(data.channels()).pixels).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
    product(a, ma, b, mb) / (product(a, ma, a, ma) * product(b, mb, b, mb)).sqrt()
}

/// Squared difference of two pictures.
fn distance(a: &[u8], b: &[u8]) -> u64 {
    // Sums of strips fit 32 bits, which is what makes this fast.
    let strip = |(a, b): (&[u8], &[u8])| {
        let of = |(a, b): (&u8, &u8)| (i32::from(*a) - i32::from(*b)).pow(2) as u32;
        u64::from(a.iter().zip(b).map(of).sum::<u32>())
    };
    a.chunks(4096).zip(b.chunks(4096)).map(strip).sum()
}

/// Median distance between two of the pictures.
fn between(pictures: &[&[u8]]) -> f64 {
    let pairs = (0..pictures.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    median(pairs.map(|(i, j)| (distance(pictures[i], pictures[j]) as f64).sqrt()))
}

fn nearest(shown: &[&[u8]], pictures: &DataStatistics) -> Option<(f64, f64)> {
    let (data, train) = (&pictures.dataset, &pictures.split.train);
    if 2 * shown.len() * train.len() * pictures.dims() > COMPARISONS {
        return None;
    }
    let of = |picture: &[u8], not: Option<usize>| {
        let others = train.iter().filter(|&&i| Some(i) != not).map(|&i| data.image(i));
        let near = |image: Image| match data.flip() {
            true => distance(picture, &image.pixels).min(distance(picture, &image.flip().pixels)),
            false => distance(picture, &image.pixels),
        };
        let least = others.map(near).min().unwrap_or(0);
        (least as f64 / picture.len() as f64).sqrt()
    };
    let of_samples: Vec<f64> = shown.par_iter().map(|picture| of(picture, None)).collect();
    let real = spaced(train, shown.len());
    let of_real: Vec<f64> = real.par_iter().map(|&i| of(data.pixels(i), Some(i))).collect();
    Some((median(of_samples), median(of_real)))
}
