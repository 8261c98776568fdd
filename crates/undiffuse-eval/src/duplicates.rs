//! Pictures of a dataset that are nearly the same.

use rayon::prelude::*;
use serde::Serialize;
use undiffuse_data::{Dataset, transform};
use undiffuse_metrics::Rows;
use undiffuse_metrics::neighbours::{Neighbour, nearest_where};

/// Side of the thumbnails that are searched.
const SIDE: usize = 8;
/// Neighbours whose median distance tells how far pictures of a kind are apart, in small sets a tenth of these: a picture may have half as many near-copies.
const RING: usize = 64;
/// Neighbours that are compared pixel by pixel.
const COMPARED: usize = 3;
/// A near-copy is nearer than this share of the ring's distance. Of the 10,000 bundled pictures 5 have such a neighbour, and 1100 one
/// within half.
const RATIO: f64 = 0.25;
/// A near-copy differs by at most this many of 255 levels on average.
const LEVELS: f64 = 8.0;

/// Pictures up to which [`near`] takes seconds; its work grows with the square.
pub const QUICK: usize = 60_000;

/// Two pictures that are nearly the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NearCopy {
    /// The place of one.
    pub earlier: usize,
    /// The place of the other.
    pub later: usize,
    /// Mean absolute difference of their pixels, in levels of 255.
    pub difference: f64,
}

/// Pairs of pictures that are nearly the same, but not exactly, in ascending order: each picture that has near-copies is in a
/// pair with the nearest of them.
///
/// Nearly is near on two scales: by at most 8 of 255 levels, and a quarter as far at most as pictures of their kind are from one another (the
/// median distance of the next 64), so that dim or simple pictures are not all the same. The search compares grey thumbnails of 8×8
/// with all others; a copy that was recoloured or scaled is found, one that was shifted by much or mirrored is not.
pub fn near(dataset: &Dataset) -> Vec<NearCopy> {
    let n = dataset.len();
    let thumbnails: Vec<f32> = (0..n).into_par_iter().flat_map_iter(|i| thumbnail(dataset, i)).collect();
    let rows = Rows::new(&thumbnails, thumbnails.len() / n.max(1));
    let keep = |i: usize, j: usize| i != j && dataset.pixels(i) != dataset.pixels(j);
    let found = nearest_where(rows, rows, RING.min(n / 10).max(1) + 1, keep);
    let copy = |(i, nearest): (usize, &Vec<Neighbour>)| {
        let middle = nearest.get(1..)?.get((nearest.len().checked_sub(2)?) / 2)?.distance;
        let like = nearest.iter().take(COMPARED).filter(|neighbour| neighbour.distance < RATIO * middle);
        let differences = like.map(|j| (difference(dataset.pixels(i), dataset.pixels(j.index)), j.index));
        let (difference, j) = differences.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (difference <= LEVELS).then(|| NearCopy { earlier: i.min(j), later: i.max(j), difference })
    };
    let mut pairs: Vec<NearCopy> = found.par_iter().enumerate().filter_map(copy).collect();
    pairs.sort_unstable_by_key(|pair| (pair.earlier, pair.later));
    pairs.dedup();
    pairs
}

fn thumbnail(dataset: &Dataset, i: usize) -> Vec<f32> {
    let grey = dataset.image(i).to_grey();
    let small = transform::resize(&grey, SIDE.min(grey.width), SIDE.min(grey.height));
    small.pixels.into_iter().map(f32::from).collect()
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    sum as f64 / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use undiffuse_data::source::Memory;
    use undiffuse_data::{Cache, Image, Options};
    use undiffuse_math::noise;

    use super::*;

    fn bundled(n: usize) -> Vec<Image> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist");
        let data = Dataset::open(path.as_ref(), &Options { cache: Cache::Off, ..Options::default() }).unwrap();
        (0..n).map(|i| data.image(i)).collect()
    }

    fn dataset(images: Vec<Image>) -> Dataset {
        Dataset::from_source("x", &mut Memory::from_images(images, &[]), &Options::default()).unwrap()
    }

    fn changed(image: &Image, change: impl Fn(usize, f64) -> f64) -> Image {
        let pixels = image.pixels.iter().enumerate().map(|(k, &p)| change(k, p.into()).round().clamp(0.0, 255.0) as u8);
        Image::new(image.width, image.height, image.channels, pixels.collect())
    }

    #[test]
    fn changed_copies_are_found_and_different_pictures_are_not() {
        let images = bundled(600);
        let real = near(&dataset(images.clone()));
        assert!(real.len() <= 3, "{real:?}");
        // Noise, less contrast, a mark in a corner, an exact copy.
        let mut with_copies = images.clone();
        let noisy = |seed: u64| move |k: usize, p: f64| p + 16.0 * (noise::uniform(seed, 0, k as u64) - 0.5);
        with_copies.push(changed(&images[100], noisy(1)));
        with_copies.push(changed(&images[200], |_, p| 8.0 + p * 0.95));
        with_copies.push(changed(&images[300], |k, p| if k < 3 { 255.0 } else { p }));
        with_copies.push(images[400].clone());
        // A picture with many near-copies.
        with_copies.extend((10..40).map(|seed| changed(&images[500], noisy(seed))));
        let pairs: Vec<_> = near(&dataset(with_copies)).iter().map(|pair| (pair.earlier, pair.later)).collect();
        for expected in [(100, 600), (200, 601), (300, 602)] {
            assert!(pairs.contains(&expected), "{expected:?} is not in {pairs:?}");
        }
        assert!(!pairs.contains(&(400, 603)), "exact copies are not near-copies");
        for later in 604..634 {
            assert!(pairs.iter().any(|pair| pair.1 == later || pair.0 == later), "{later} is not in {pairs:?}");
        }
        assert!(pairs.len() <= 3 + 31 + real.len(), "{pairs:?}");
    }

    #[test]
    fn dim_pictures_are_not_all_the_same() {
        let dim: Vec<Image> = bundled(300).iter().map(|image| changed(image, |_, p| 100.0 + p / 25.0)).collect();
        let pairs = near(&dataset(dim));
        assert!(pairs.len() <= 6, "{pairs:?}");
    }

    #[test]
    fn few_pictures_are_no_trouble() {
        for n in 2..5 {
            assert!(near(&dataset(bundled(n))).is_empty());
        }
    }
}
