//! Pictures that occur more than once, exactly or nearly.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{Dataset, transform};

/// Mean absolute difference of pixel values below which two pictures are nearly the same.
const NEAR: f64 = 4.0;
/// Pictures with equal coarse structure that a new one is compared with; bounds the work on flat pictures.
const COMPARED: usize = 16;

/// Groups of equal pictures, each in ascending order; the groups by their first picture.
pub(crate) fn exact(dataset: &Dataset) -> Vec<Vec<usize>> {
    let keys: Vec<[u8; 32]> =
        (0..dataset.len()).into_par_iter().map(|i| Sha256::digest(dataset.pixels(i)).into()).collect();
    let mut groups: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    for (i, key) in keys.into_iter().enumerate() {
        groups.entry(key).or_default().push(i);
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_unstable();
    groups
}

/// Pairs `(earlier, later)` that are likely to show the same: equal difference hash [Krawetz13, "Kind of Like That"] and a mean
/// absolute difference of at most 4 of 255 levels. Exact duplicates do not count. Not every such pair is found: the hash of
/// a shifted or recoloured copy differs.
pub(crate) fn near(dataset: &Dataset) -> Vec<(usize, usize)> {
    let keys: Vec<u64> = (0..dataset.len()).into_par_iter().map(|i| difference_hash(dataset, i)).collect();
    let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut pairs = Vec::new();
    for (i, key) in keys.into_iter().enumerate() {
        let group = seen.entry(key).or_default();
        let difference = |&&j: &&usize| mean_difference(dataset.pixels(i), dataset.pixels(j));
        match group.iter().find(|j| difference(j) <= NEAR) {
            Some(&j) if dataset.pixels(i) != dataset.pixels(j) => pairs.push((j, i)),
            Some(_) => {}
            None if group.len() < COMPARED => group.push(i),
            None => {}
        }
    }
    pairs
}

/// One bit for each of 8×8 neighbours in a 9×8 reduction: whether the left is darker.
fn difference_hash(dataset: &Dataset, i: usize) -> u64 {
    let small = transform::resize(&dataset.image(i).to_grey(), 9, 8);
    let bits = small.pixels.chunks_exact(9).flat_map(|row| row.windows(2).map(|pair| pair[0] < pair[1]));
    bits.fold(0, |hash, bit| hash << 1 | bit as u64)
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(&a, &b)| a.abs_diff(b) as u64).sum();
    sum as f64 / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Memory;
    use crate::{Image, Options};

    #[test]
    fn copies_are_found_and_told_apart() {
        let picture =
            |seed: usize| Image::new(16, 16, 1, (0..256).map(|i| (i * (seed * 2 + 37) % 251) as u8).collect());
        let mut near_copy = picture(3);
        near_copy.pixels[100] ^= 64;
        let images = vec![picture(0), picture(1), picture(0), picture(3), picture(1), picture(0), near_copy];
        let dataset = Dataset::from_source("x", &mut Memory::from_images(images, &[]), &Options::default()).unwrap();
        assert_eq!(exact(&dataset), [vec![0, 2, 5], vec![1, 4]]);
        assert_eq!(near(&dataset), [(3, 6)]);
    }
}
