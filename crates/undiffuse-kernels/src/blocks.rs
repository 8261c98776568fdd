//! How work is cut into blocks of an output that a thread owns, and given to threads.

use crate::simd::Lanes;
use rayon::prelude::*;
use std::ops::Range;

/// A part of an image stack that one thread may write.
pub(crate) struct Block<'a> {
    pub images: Range<usize>,
    pub panels: Range<usize>,
    pub pixels: Range<usize>,
    /// The part itself: the pixels of one panel of one image each, `[images][panels]`.
    pub parts: Vec<&'a mut [Lanes]>,
}

/// The largest extent of a [`Block`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub images: usize,
    pub panels: usize,
    pub pixels: usize,
}

/// Cuts maps whose panels lie side by side (`panels` of each) into blocks.
pub(crate) fn split<'a>(maps: [&'a mut [Lanes]; 2], panels: [usize; 2], pixels: usize, by: Extent) -> Vec<Block<'a>> {
    let batch = maps[0].len() / (panels[0] * pixels);
    let all = panels[0] + panels[1];
    let (panel_steps, pixel_steps) = (all.div_ceil(by.panels), pixels.div_ceil(by.pixels));
    let mut blocks = Vec::with_capacity(batch.div_ceil(by.images) * panel_steps * pixel_steps);
    for images in steps(batch, by.images) {
        for panels in steps(all, by.panels) {
            for pixels in steps(pixels, by.pixels) {
                let parts = Vec::with_capacity(images.len() * panels.len());
                blocks.push(Block { images: images.clone(), panels: panels.clone(), pixels, parts });
            }
        }
    }
    let [mut first, mut second] = maps.map(|map| map.chunks_mut(pixels));
    for image in 0..batch {
        for (panel, pixels) in first.by_ref().take(panels[0]).chain(second.by_ref().take(panels[1])).enumerate() {
            let step = (image / by.images * panel_steps + panel / by.panels) * pixel_steps;
            for (part, block) in pixels.chunks_mut(by.pixels).zip(&mut blocks[step..]) {
                block.parts.push(part);
            }
        }
    }
    blocks
}

/// `0..n` in steps of `by`, the last one shorter if need be.
pub(crate) fn steps(n: usize, by: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(by).map(move |start| start..n.min(start + by))
}

/// How many panels a task should take so that `tasks` tasks over all panels become enough for every thread: all of
/// them, or a share rounded up to whole pairs.
pub(crate) fn panels_per_task(panels: usize, tasks: usize) -> usize {
    let shares = rayon::current_num_threads().div_ceil(tasks.max(1));
    panels.div_ceil(shares).next_multiple_of(2).min(panels)
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
