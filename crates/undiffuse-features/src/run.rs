//! Runs operations on a batch of maps.

use undiffuse_kernels::activation::Activation as Kernel;
use undiffuse_kernels::clamp::Clamp;
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};
use undiffuse_kernels::depthwise::{self, Window};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::{activation, map, pool};

use super::build::Op;

/// Memory that is used again: pages that the system has to clear cost more than many an operation.
#[derive(Default)]
pub(super) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// `len` numbers of any value.
    pub fn take(&mut self, len: usize) -> Buffer {
        let fits = (0..self.0.len()).filter(|&i| self.0[i].len() >= len).min_by_key(|&i| self.0[i].len());
        let mut values = fits.map_or_else(Vec::new, |i| self.0.swap_remove(i));
        if values.len() < len {
            values.resize(len, 0.0);
        }
        Buffer { values, len }
    }

    /// Returns what [`take`](Self::take) gave.
    pub fn give(&mut self, buffer: Buffer) {
        self.0.push(buffer.values);
    }
}

/// The first `len` of some numbers.
pub(super) struct Buffer {
    values: Vec<f32>,
    len: usize,
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

/// Passes a batch through operations: `x` is a map of `batch` pictures (or their vectors), and so is what comes out.
pub(super) fn run(ops: &[Op], batch: usize, x: &[f32], buffers: &mut Buffers) -> Buffer {
    let mut values: Option<Buffer> = None;
    for op in ops {
        let input = values.as_deref().unwrap_or(x);
        match op {
            // What changes nothing but values is done in place.
            Op::Clamp(clamp) => {
                let mut here = values.take().unwrap_or_else(|| copy(x, buffers));
                here.iter_mut().for_each(|v| *v = v.clamp(clamp.low, clamp.high));
                values = Some(here);
            }
            _ => {
                let next = step(op, batch, input, buffers);
                values.replace(next).into_iter().for_each(|used| buffers.give(used));
            }
        }
    }
    values.unwrap_or_else(|| copy(x, buffers))
}

fn copy(x: &[f32], buffers: &mut Buffers) -> Buffer {
    let mut y = buffers.take(x.len());
    y.copy_from_slice(x);
    y
}

fn step(op: &Op, batch: usize, x: &[f32], buffers: &mut Buffers) -> Buffer {
    match op {
        Op::Conv { shape, weight, bias, then } => convolve(shape, batch, x, (weight, bias), None, *then, buffers),
        Op::Depthwise { shape, weight, bias, then } => {
            let shape = Window { batch, ..*shape };
            let mut y = buffers.take(map::len(batch, shape.channels, shape.out_h() * shape.out_w()));
            depthwise::forward(&shape, x, weight, Some(bias), *then, &mut y);
            y
        }
        Op::MaxPool(shape) => windows(shape, batch, buffers, |shape, y| pool::max(shape, x, y)),
        Op::AvgPool { shape, count_padding } => {
            windows(shape, batch, buffers, |shape, y| pool::average(shape, *count_padding, x, y))
        }
        Op::GlobalPool { channels, pixels } => {
            let mut y = buffers.take(batch * channels);
            pool::global_average(x, *channels, *pixels, &mut y);
            y
        }
        Op::Flatten { channels, pixels } => {
            let mut y = buffers.take(batch * channels * pixels);
            map::to_planes(x, *channels, *pixels, &mut y);
            y
        }
        Op::Linear { c_in, c_out, weight, bias } => {
            let mut y = buffers.take(batch * c_out);
            let shape = Linear { rows: batch, c_in: *c_in, c_out: *c_out };
            linear::forward(&shape, x, weight, Some(bias), &mut y);
            y
        }
        Op::Activation(kind) => {
            let mut y = buffers.take(x.len());
            activation::forward(*kind, x, &mut y);
            y
        }
        Op::Clamp(_) => unreachable!("done in place"),
        Op::Residual([inner, shortcut]) => residual(inner, shortcut, batch, x, buffers),
        Op::Branches { ways, pixels } => branches(ways, *pixels, batch, x, buffers),
    }
}

fn windows(shape: &Window, batch: usize, buffers: &mut Buffers, kernel: impl Fn(&Window, &mut [f32])) -> Buffer {
    let shape = Window { batch, ..*shape };
    let mut y = buffers.take(map::len(batch, shape.channels, shape.out_h() * shape.out_w()));
    kernel(&shape, &mut y);
    y
}

fn convolve(
    shape: &Conv2d,
    batch: usize,
    x: &[f32],
    (weight, bias): (&[f32], &[f32]),
    residual: Option<&[f32]>,
    then: Clamp,
    buffers: &mut Buffers,
) -> Buffer {
    let shape = Conv2d { batch, ..*shape };
    let mut y = buffers.take(map::len(batch, shape.c_out, shape.out_h() * shape.out_w()));
    let input = Input { maps: [x, &[]], coefficients: None, activation: Kernel::Identity };
    let add = Add { bias: Some(bias), residual, ..Add::default() };
    conv2d::forward_clamped(&shape, &input, weight, &add, then, &mut y);
    y
}

fn residual(inner: &[Op], shortcut: &[Op], batch: usize, x: &[f32], buffers: &mut Buffers) -> Buffer {
    let short = (!shortcut.is_empty()).then(|| run(shortcut, batch, x, buffers));
    let added = short.as_deref().unwrap_or(x);
    let y = match inner {
        // A convolution that ends without a non-linearity adds while it writes.
        [first @ .., Op::Conv { shape, weight, bias, then: Clamp::NONE }] => {
            let before = run(first, batch, x, buffers);
            let y = convolve(shape, batch, &before, (weight, bias), Some(added), Clamp::NONE, buffers);
            buffers.give(before);
            y
        }
        _ => {
            let mut y = run(inner, batch, x, buffers);
            y.iter_mut().zip(added).for_each(|(y, x)| *y += x);
            y
        }
    };
    short.into_iter().for_each(|short| buffers.give(short));
    y
}

/// Channels of a map that share a vector.
const LANES: usize = 16;

fn branches(ways: &[(Vec<Op>, usize)], pixels: usize, batch: usize, x: &[f32], buffers: &mut Buffers) -> Buffer {
    let channels: usize = ways.iter().map(|(_, channels)| channels).sum();
    let [whole, lanes] = [map::len(1, channels, pixels), LANES];
    let mut joined = buffers.take(batch * whole);
    if ways.iter().rev().skip(1).all(|(_, channels)| channels.is_multiple_of(lanes)) {
        // Whole vectors side by side.
        let mut at = 0;
        for (ops, channels) in ways {
            let y = run(ops, batch, x, buffers);
            let part = map::len(1, *channels, pixels);
            for (to, from) in joined.chunks_exact_mut(whole).zip(y.chunks_exact(part)) {
                to[at..at + part].copy_from_slice(from);
            }
            at += part;
            buffers.give(y);
        }
        return joined;
    }
    let mut planes = buffers.take(batch * channels * pixels);
    let mut at = 0;
    for (ops, of_way) in ways {
        let y = run(ops, batch, x, buffers);
        let mut part = buffers.take(batch * of_way * pixels);
        map::to_planes(&y, *of_way, pixels, &mut part);
        let images = planes.chunks_exact_mut(channels * pixels).zip(part.chunks_exact(of_way * pixels));
        images.for_each(|(to, from)| to[at..at + from.len()].copy_from_slice(from));
        at += of_way * pixels;
        [y, part].into_iter().for_each(|used| buffers.give(used));
    }
    map::from_planes(&planes, channels, pixels, &mut joined);
    buffers.give(planes);
    joined
}
