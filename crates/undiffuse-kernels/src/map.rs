//! Feature maps as the kernels keep them: `[image][channels / 16][row][column][16]`, "maps" for short.
//!
//! Sixteen channels are the lanes of a vector; lanes beyond the last channel are zero. A map is at once an image whose
//! pixels are vectors and, panel by panel, a matrix of pixels × channels (see `panel.rs`), so convolutions,
//! normalisation and attention read and write it as it lies. Framework tensors come in planes, `[image][channel][pixel]`,
//! and are turned into maps and back at the two ends of a network.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{fill, load, panels, spill, store};
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// Numbers of a map.
pub fn len(batch: usize, channels: usize, pixels: usize) -> usize {
    batch * panels(channels) * pixels * LANES
}

/// A map as vectors.
///
/// # Panics
/// If the length is no multiple of sixteen.
pub(crate) fn vectors(map: &[f32]) -> &[Lanes] {
    let (vectors, rest) = map.as_chunks();
    assert!(rest.is_empty(), "a map is a whole number of vectors");
    vectors
}

/// A map as vectors, to be written.
///
/// # Panics
/// If the length is no multiple of sixteen.
pub(crate) fn vectors_mut(map: &mut [f32]) -> &mut [Lanes] {
    let (vectors, rest) = map.as_chunks_mut();
    assert!(rest.is_empty(), "a map is a whole number of vectors");
    vectors
}

/// Writes `map` from `planes` of `[image][channel][pixel]`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn from_planes(planes: &[f32], channels: usize, pixels: usize, map: &mut [f32]) {
    let batch = check(planes.len(), channels, pixels, map.len());
    if batch > 0 {
        let images = planes.chunks(channels * pixels);
        let of_image = panels(channels) * pixels;
        let tasks = vectors_mut(map)
            .chunks_mut(of_image)
            .zip(images)
            .flat_map(|(map, planes)| map.chunks_mut(pixels).zip(planes.chunks(LANES * pixels)));
        for_each(tasks, planes.len() * ELEMENTWISE, |(panel, planes)| dispatch(FromPlanes { planes, panel }));
    }
}

/// Writes `planes` of `[image][channel][pixel]` from `map`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn to_planes(map: &[f32], channels: usize, pixels: usize, planes: &mut [f32]) {
    let batch = check(planes.len(), channels, pixels, map.len());
    if batch > 0 {
        let work = planes.len() * ELEMENTWISE;
        let images = planes.chunks_mut(channels * pixels);
        let of_image = panels(channels) * pixels;
        let tasks = vectors(map)
            .chunks(of_image)
            .zip(images)
            .flat_map(|(map, planes)| map.chunks(pixels).zip(planes.chunks_mut(LANES * pixels)));
        for_each(tasks, work, |(panel, planes)| dispatch(ToPlanes { panel, planes }));
    }
}

/// Writes `tokens` of `[image][pixel][channel]` from `map`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn to_tokens(map: &[f32], channels: usize, pixels: usize, tokens: &mut [f32]) {
    if check(tokens.len(), channels, pixels, map.len()) > 0 {
        let work = tokens.len() * ELEMENTWISE;
        let images = tokens.chunks_mut(channels * pixels).zip(vectors(map).chunks(panels(channels) * pixels));
        let tasks = images.flat_map(|(tokens, map)| {
            tokens.chunks_mut(TOKENS * channels).enumerate().map(move |(i, tokens)| (map, i * TOKENS, tokens))
        });
        for_each(tasks, work, |(map, first, tokens)| {
            for (i, token) in tokens.chunks_mut(channels).enumerate() {
                let vectors = map.iter().skip(first + i).step_by(pixels);
                token.chunks_mut(LANES).zip(vectors).for_each(|(to, from)| spill(from, to));
            }
        });
    }
}

/// Writes `map` from `tokens` of `[image][pixel][channel]`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn from_tokens(tokens: &[f32], channels: usize, pixels: usize, map: &mut [f32]) {
    if check(tokens.len(), channels, pixels, map.len()) > 0 {
        let images = vectors_mut(map).chunks_mut(panels(channels) * pixels).zip(tokens.chunks(channels * pixels));
        let tasks = images
            .flat_map(|(map, tokens)| map.chunks_mut(pixels).enumerate().map(move |(p, panel)| (panel, p, tokens)));
        for_each(tasks, tokens.len() * ELEMENTWISE, |(panel, p, tokens)| {
            for (to, token) in panel.iter_mut().zip(tokens.chunks(channels)) {
                fill(to, &token[p * LANES..channels.min((p + 1) * LANES)]);
            }
        });
    }
}

/// Tokens that a thread writes at a time; without influence on the result.
const TOKENS: usize = 64;

/// The number of images.
fn check(planes: usize, channels: usize, pixels: usize, map: usize) -> usize {
    let batch = planes.checked_div(channels * pixels).unwrap_or(0);
    assert_eq!(planes, batch * channels * pixels, "planes: a whole number of images");
    assert_eq!(map, len(batch, channels, pixels), "map: length for {batch} images of {channels} × {pixels}");
    batch
}

/// Up to sixteen planes of one image to one panel.
struct FromPlanes<'a> {
    planes: &'a [f32],
    panel: &'a mut [Lanes],
}

impl Kernel for FromPlanes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { planes, panel } = self;
        let pixels = panel.len();
        for (i, to) in panel.chunks_mut(LANES).enumerate() {
            let mut block = [s.zero(); LANES];
            for (v, plane) in block.iter_mut().zip(planes.chunks(pixels)) {
                *v = load(s, &plane[i * LANES..][..to.len()]);
            }
            for (to, v) in to.iter_mut().zip(s.transpose(block)) {
                s.store(v, to);
            }
        }
    }
}

/// One panel to up to sixteen planes of one image.
struct ToPlanes<'a> {
    panel: &'a [Lanes],
    planes: &'a mut [f32],
}

impl Kernel for ToPlanes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panel, planes } = self;
        let pixels = panel.len();
        for (i, from) in panel.chunks(LANES).enumerate() {
            let mut block = [s.zero(); LANES];
            for (v, from) in block.iter_mut().zip(from) {
                *v = s.load(from);
            }
            for (plane, v) in planes.chunks_mut(pixels).zip(s.transpose(block)) {
                store(s, v, &mut plane[i * LANES..][..from.len()]);
            }
        }
    }
}
