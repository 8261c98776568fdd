//! Sums over pictures: chains of eight, added along a fixed binary tree.
//!
//! The pictures of a batch form groups of [`GROUP`] neighbours; the last may be smaller. A group's sum is one chain, in
//! the order of its pictures. The sums of `n` groups are added along a binary tree whose shape is a function of `n` alone:
//! the first `2ᵏ` of them, the largest power of two below `n`, are one branch, the others are the other.
//!
//! Hence a run of `2ᵏ` groups that begins at a multiple of `2ᵏ` is a subtree. Whoever has the pictures of a subtree alone
//! (a part of a batch, another process) adds them alone, and the sum of such sums, along the same tree, has the bits of
//! the sum over the whole batch. A batch of 64 pictures may so be cut into parts of 8, 16 or 32; parts of 24 are added in
//! a fixed order as well, but in another one than the whole batch.

use crate::blocks::{ELEMENTWISE, for_each, steps};
use crate::scratch::Scratch;
use crate::simd::{Kernel, Lanes, Simd, dispatch};
use std::ops::Range;

/// Pictures whose sum is one chain.
pub const GROUP: usize = 8;

/// A sum that grows by one leaf at a time: a group of pictures, or as many groups as every other leaf has.
pub struct Tree<T> {
    /// Whole subtrees, the largest first, each with its number of leaves.
    subtrees: Vec<(usize, T)>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { subtrees: Vec::new() }
    }
}

impl<T> Tree<T> {
    /// Adds a leaf; `add` adds its second argument, the later pictures, to its first.
    pub fn push(&mut self, leaf: T, mut add: impl FnMut(&mut T, T)) {
        let (mut leaves, mut sum) = (1, leaf);
        while let Some((n, mut earlier)) = self.subtrees.pop_if(|(n, _)| *n == leaves) {
            add(&mut earlier, sum);
            (leaves, sum) = (leaves + n, earlier);
        }
        self.subtrees.push((leaves, sum));
    }

    /// The whole sum; none of nothing.
    pub fn total(self, mut add: impl FnMut(&mut T, T)) -> Option<T> {
        let later_first = self.subtrees.into_iter().rev().map(|(_, sum)| sum);
        later_first.reduce(|later, mut earlier| {
            add(&mut earlier, later);
            earlier
        })
    }
}

/// The sum of one number a picture.
pub fn sum(pictures: &[f64]) -> f64 {
    let mut tree = Tree::default();
    for group in pictures.chunks(GROUP) {
        tree.push(group.iter().sum(), |a: &mut f64, b| *a += b);
    }
    tree.total(|a, b| *a += b).unwrap_or(0.0)
}

/// Writes the sum of vectors, one a picture: `accumulate(picture, sum)` adds one.
pub fn sum_pictures(batch: usize, to: &mut [f32], mut accumulate: impl FnMut(usize, &mut [f32])) {
    let mut tree = Tree::default();
    for group in steps(batch, GROUP) {
        let mut sum = vec![0.0; to.len()];
        group.for_each(|picture| accumulate(picture, &mut sum));
        tree.push(sum, |a: &mut Vec<f32>, b| add(a, &b));
    }
    match tree.total(|a, b| add(a, &b)) {
        Some(total) => to.copy_from_slice(&total),
        None => to.fill(0.0),
    }
}

/// The sum of vectors of `len` lanes, whose groups are computed on all threads.
///
/// `compute(pictures, first, lanes)` writes the part of a group's sum that begins at lane `first`, a multiple of `unit`;
/// all of them cost about `work` multiply-adds. As many groups are held at once as there are threads; their number
/// changes no bit.
pub(crate) fn sum_groups(
    batch: usize,
    len: usize,
    unit: usize,
    work: usize,
    compute: impl Fn(Range<usize>, usize, &mut [Lanes]) + Sync,
) -> Scratch {
    let threads = rayon::current_num_threads();
    let mut tree = Tree::default();
    for round in steps(batch, GROUP * threads) {
        let groups = steps(round.len(), GROUP).map(|g| round.start + g.start..round.start + g.end);
        let parts = threads.div_ceil(round.len().div_ceil(GROUP));
        let part = len.div_ceil(unit).div_ceil(parts) * unit;
        let mut sums: Vec<(Range<usize>, Scratch)> = groups.map(|group| (group, Scratch::new(len))).collect();
        let tasks = sums.iter_mut().flat_map(|(group, sum)| {
            sum.chunks_mut(part).enumerate().map(|(i, lanes)| (group.clone(), i * part, lanes))
        });
        for_each(tasks, work / batch * round.len(), |(group, first, lanes)| compute(group, first, lanes));
        for (_, sum) in sums {
            tree.push(sum, |a: &mut Scratch, b| add_on_threads(a, &b));
        }
    }
    tree.total(|a, b| add_on_threads(a, &b)).unwrap_or_else(|| Scratch::zeroed(len))
}

/// `total += share`, elementwise.
pub(crate) fn add(total: &mut [f32], share: &[f32]) {
    total.iter_mut().zip(share).for_each(|(total, share)| *total += share);
}

/// `total += share`, elementwise.
pub(crate) fn add_lanes(total: &mut [Lanes], share: &[Lanes]) {
    dispatch(Add { total, share });
}

/// Lanes added by a thread at a time; without influence on the result.
const ADDED: usize = 1 << 10;

/// [`add_lanes`] on all threads, if that pays.
fn add_on_threads(total: &mut [Lanes], share: &[Lanes]) {
    let work = share.as_flattened().len() * ELEMENTWISE / 4;
    for_each(total.chunks_mut(ADDED).zip(share.chunks(ADDED)), work, |(total, share)| add_lanes(total, share));
}

struct Add<'a> {
    total: &'a mut [Lanes],
    share: &'a [Lanes],
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (total, share) in self.total.iter_mut().zip(self.share) {
            s.store(s.add(s.load(total), s.load(share)), total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree as it is defined.
    fn defined(leaves: &[f32]) -> f32 {
        match leaves {
            [] => 0.0,
            [leaf] => *leaf,
            _ => {
                let (first, others) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                defined(first) + defined(others)
            }
        }
    }

    fn of_leaves(leaves: impl IntoIterator<Item = f32>) -> f32 {
        let mut tree = Tree::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf, |a: &mut f32, b| *a += b));
        tree.total(|a, b| *a += b).unwrap_or(0.0)
    }

    proptest! {
        #[test]
        fn leaf_by_leaf_it_is_the_tree_of_its_definition(leaves in prop::collection::vec(-1f32..1.0, 0..70)) {
            prop_assert_eq!(of_leaves(leaves.clone()).to_bits(), defined(&leaves).to_bits());
        }

        #[test]
        fn parts_of_a_power_of_two_are_subtrees(leaves in prop::collection::vec(-1f32..1.0, 1..70), k in 0u32..5) {
            let parts = leaves.chunks(1 << k).map(|part| of_leaves(part.iter().copied()));
            prop_assert_eq!(of_leaves(parts).to_bits(), defined(&leaves).to_bits());
        }
    }

    #[test]
    fn the_shape_matters() {
        // Parts of three leaves are no subtrees of six.
        let leaves = [1.0, 1e-8, 6e-8, 1e8, 1.0, -1e8];
        let parts = leaves.chunks(3).map(|part| of_leaves(part.iter().copied()));
        assert_ne!(of_leaves(parts), of_leaves(leaves));
    }
}
