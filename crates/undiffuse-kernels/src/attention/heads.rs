//! Heads that do not lie in whole vectors, brought into that form and back.

use super::{Attention, Layout};
use crate::blocks::{ELEMENTWISE, for_each};
use crate::map::{from_planes, len, to_planes};
use crate::panel::{fill, panels, spill};
use crate::scratch::Scratch;
use crate::simd::{LANES, Lanes};

/// Tokens that a thread brings together at a time; without influence on the result.
const TOKENS: usize = 256;

/// Brings one image's heads into maps of their own.
fn take_apart(shape: &Attention, from: &[f32], positions: usize, to: &mut [Lanes]) {
    let channels = shape.heads * shape.dim;
    match shape.layout {
        Layout::Maps => regroup(from, [channels, shape.dim], positions, to.as_flattened_mut()),
        Layout::Tokens => {
            let heads = to.chunks_exact_mut(panels(shape.dim) * positions).enumerate();
            for_each(heads, from.len() * ELEMENTWISE, |(head, to)| {
                for (token, from) in from.chunks_exact(channels).enumerate() {
                    let numbers = from[head * shape.dim..][..shape.dim].chunks(LANES);
                    numbers.enumerate().for_each(|(p, numbers)| fill(&mut to[p * positions + token], numbers));
                }
            });
        }
    }
}

/// The inverse of [`take_apart`].
fn bring_together(shape: &Attention, from: &[Lanes], positions: usize, to: &mut [f32]) {
    let channels = shape.heads * shape.dim;
    match shape.layout {
        Layout::Maps => regroup(from.as_flattened(), [shape.dim, channels], positions, to),
        Layout::Tokens => {
            let tokens = to.chunks_mut(TOKENS * channels).enumerate();
            for_each(tokens, from.as_flattened().len() * ELEMENTWISE, |(first, to)| {
                for (head, from) in from.chunks_exact(panels(shape.dim) * positions).enumerate() {
                    for (token, to) in to.chunks_exact_mut(channels).enumerate() {
                        let token = first * TOKENS + token;
                        for (p, numbers) in to[head * shape.dim..][..shape.dim].chunks_mut(LANES).enumerate() {
                            spill(&from[p * positions + token], numbers);
                        }
                    }
                }
            });
        }
    }
}

/// A map of heads side by side as one of heads apart, or the other way round, through planes.
fn regroup(from: &[f32], [from_channels, to_channels]: [usize; 2], pixels: usize, to: &mut [f32]) {
    let numbers = from.len() / len(1, from_channels, pixels) * from_channels * pixels;
    let mut planes = Scratch::new(numbers.div_ceil(LANES));
    let planes = &mut planes.as_flattened_mut()[..numbers];
    to_planes(from, from_channels, pixels, planes);
    from_planes(planes, to_channels, pixels, to);
}

/// Does `work`, which writes `outputs` from `inputs`, on the heads of every image apart. With every tensor comes its number
/// of positions.
pub fn on_heads_apart<const I: usize, const O: usize>(
    shape: &Attention,
    inputs: [(&[f32], usize); I],
    outputs: [(&mut [f32], usize); O],
    work: impl Fn(&Attention, usize, [&[Lanes]; I], [&mut [Lanes]; O]) + Sync,
) {
    let image = Attention { batch: 1, ..*shape };
    let apart = Attention { batch: shape.heads, heads: 1, layout: Layout::Maps, ..*shape };
    let scratch = |positions: usize| Scratch::new(apart.len(positions) / LANES);
    let mut outputs = outputs.map(|(to, positions)| (to.chunks_mut(image.len(positions)), positions));
    let tasks = (0..shape.batch).map(|i| {
        let of_image = outputs.each_mut().map(|(to, positions)| (to.next().expect("an image each"), *positions));
        (i, of_image)
    });
    for_each(tasks, shape.work(1 + O), |(i, outputs)| {
        let inputs = inputs.map(|(from, positions)| {
            let mut to = scratch(positions);
            take_apart(shape, &from[i * image.len(positions)..][..image.len(positions)], positions, &mut to);
            to
        });
        let mut results = outputs.each_ref().map(|(_, positions)| scratch(*positions));
        work(&apart, i, inputs.each_ref().map(|t| &**t), results.each_mut().map(|t| &mut **t));
        for ((to, positions), from) in outputs.into_iter().zip(&results) {
            bring_together(shape, from, positions, to);
        }
    });
}
