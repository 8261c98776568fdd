//! How work is cut into blocks of an output that a thread owns, and given to threads.

use crate::simd::LANES;
use rayon::prelude::*;
use std::ops::Range;

/// A part of a `[batch, planes, pixels]` tensor that one thread may write.
pub(crate) struct Block<'a> {
    pub images: Range<usize>,
    pub planes: Range<usize>,
    pub pixels: Range<usize>,
    /// The part itself: the pixels of one plane of one image each, `[images][planes]`.
    pub parts: Vec<&'a mut [f32]>,
}

/// The largest extent of a [`Block`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub images: usize,
    pub planes: usize,
    pub pixels: usize,
}

/// Cuts `y` of `[batch, planes, pixels]` into blocks.
pub(crate) fn split(y: &mut [f32], planes: usize, pixels: usize, by: Extent) -> Vec<Block<'_>> {
    let batch = y.len() / (planes * pixels);
    let (plane_steps, pixel_steps) = (planes.div_ceil(by.planes), pixels.div_ceil(by.pixels));
    let mut blocks = Vec::with_capacity(batch.div_ceil(by.images) * plane_steps * pixel_steps);
    for images in steps(batch, by.images) {
        for planes in steps(planes, by.planes) {
            for pixels in steps(pixels, by.pixels) {
                let parts = Vec::with_capacity(images.len() * planes.len());
                blocks.push(Block { images: images.clone(), planes: planes.clone(), pixels, parts });
            }
        }
    }
    for (i, plane) in y.chunks_mut(pixels).enumerate() {
        let (image, plane_index) = (i / planes, i % planes);
        let first = (image / by.images * plane_steps + plane_index / by.planes) * pixel_steps;
        for (part, block) in plane.chunks_mut(by.pixels).zip(&mut blocks[first..]) {
            block.parts.push(part);
        }
    }
    blocks
}

/// `0..n` in steps of `by`, the last one shorter if need be.
pub(crate) fn steps(n: usize, by: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(by).map(move |start| start..n.min(start + by))
}

/// How many planes a task should take so that `tasks` tasks over all planes become enough for every thread: all of
/// them, or a share rounded up to whole pairs of panels.
pub(crate) fn planes_per_task(planes: usize, tasks: usize) -> usize {
    let shares = rayon::current_num_threads().div_ceil(tasks.max(1));
    planes.div_ceil(shares).next_multiple_of(2 * LANES).min(planes)
}

/// Multiply-adds below which waking other threads takes longer than doing the work.
const SMALL: usize = 1 << 21;

/// What to multiply a count of numbers by where each costs a few reads or an exponential, in multiply-adds.
pub(crate) const ELEMENTWISE: usize = 32;

/// Does `task` for all `tasks`, which cost about `work` multiply-adds together: on all threads if that pays.
pub(crate) fn for_each<T: Send>(tasks: impl Iterator<Item = T>, work: usize, task: impl Fn(T) + Sync + Send) {
    if work < SMALL || rayon::current_num_threads() == 1 {
        tasks.for_each(task);
    } else {
        tasks.collect::<Vec<_>>().into_par_iter().for_each(task);
    }
}
