//! Pictures that occur more than once.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::Dataset;

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
    }
}
