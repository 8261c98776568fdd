//! Layer normalisation of tokens \[Ba16\] and a modulation by picture \[Peebles22, adaLN\], forward and backward.
//!
//! Over the `width` numbers of each token: `mean = Σ x / width`, `var = Σ (x − mean)² / width`,
//! `x̂ = (x − mean) / √(var + eps)`, `y = (x̂ · gain + offset) · (1 + scale) + shift`. Gain and offset belong to a
//! channel, scale and shift to a channel of a picture; for a picture all four are one line, `y = x̂ · a + b`.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{load, store};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::tree;

/// Tokens whose sums are one chain.
const TOKENS: usize = 64;

/// What is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Pictures.
    pub batch: usize,
    /// Tokens of a picture.
    pub tokens: usize,
    /// Numbers of a token.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line<'a> {
    /// Gain and offset, each `[width]`; ones and zeros for `None`.
    pub affine: Option<[&'a [f32]; 2]>,
    /// Scale and shift, each `[batch, width]`; zeros for `None`.
    pub modulation: Option<[&'a [f32]; 2]>,
}

/// The gradients that [`backward`] writes; those of what [`Line`] lacks must lack as well.
pub struct Gradients<'a> {
    /// Of `x`.
    pub x: &'a mut [f32],
    /// Of gain and offset, summed over tokens and then over pictures along the [`tree`].
    pub affine: Option<[&'a mut [f32]; 2]>,
    /// Of scale and shift.
    pub modulation: Option<[&'a mut [f32]; 2]>,
}

impl LayerNorm {
    fn len(&self) -> usize {
        self.batch * self.tokens * self.width
    }

    fn check(&self, lengths: &[usize], affine: Option<[usize; 2]>, modulation: Option<[usize; 2]>) {
        assert!(lengths.iter().all(|n| *n == self.len()), "layer_norm: lengths {lengths:?} for {self:?}");
        let affine = affine.unwrap_or([self.width; 2]);
        assert_eq!(affine, [self.width; 2], "layer_norm: lengths of gain and offset for {self:?}");
        let of_pictures = self.batch * self.width;
        let modulation = modulation.unwrap_or([of_pictures; 2]);
        assert_eq!(modulation, [of_pictures; 2], "layer_norm: lengths of scale and shift for {self:?}");
    }

    /// `a` and `b` of every picture, `[batch][a, b][width]`; of all of them alike without a modulation.
    fn lines(&self, line: &Line) -> (Scratch, usize) {
        let width = self.width;
        let pictures = if line.modulation.is_some() { self.batch } else { 1 };
        let mut lines = Scratch::new((pictures * 2 * width).div_ceil(LANES));
        for (picture, to) in lines.as_flattened_mut().chunks_exact_mut(2 * width).take(pictures).enumerate() {
            let (a, b) = to.split_at_mut(width);
            for c in 0..width {
                let [gain, offset] = line.affine.map_or([1.0, 0.0], |affine| affine.map(|t| t[c]));
                let [scale, shift] = line.modulation.map_or([0.0; 2], |m| m.map(|t| t[picture * width + c]));
                a[c] = gain * (1.0 + scale);
                b[c] = offset * (1.0 + scale) + shift;
            }
        }
        (lines, pictures)
    }
}

/// Writes `y [batch, tokens, width]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &LayerNorm, x: &[f32], line: &Line, y: &mut [f32]) {
    shape.check(&[x.len(), y.len()], lengths(line.affine), lengths(line.modulation));
    if y.is_empty() {
        return;
    }
    let (width, of_picture) = (shape.width, shape.tokens * shape.width);
    let (lines, pictures) = shape.lines(line);
    let lines = lines.as_flattened();
    let tasks = y.chunks_mut(of_picture).zip(x.chunks(of_picture)).enumerate().flat_map(|(picture, (y, x))| {
        let line = &lines[picture % pictures * 2 * width..][..2 * width];
        y.chunks_mut(TOKENS * width).zip(x.chunks(TOKENS * width)).map(move |(y, x)| (line, y, x))
    });
    for_each(tasks, x.len() * ELEMENTWISE, |(line, y, x)| {
        let (a, b) = line.split_at(width);
        dispatch(Forward { eps: shape.eps, x, a, b, y });
    });
}

/// Writes the gradients of everything from the gradient `dy` of the output.
///
/// # Panics
/// If a length does not fit `shape`, or a gradient is asked of what is not there.
pub fn backward(shape: &LayerNorm, x: &[f32], line: &Line, dy: &[f32], gradients: Gradients<'_>) {
    let Gradients { x: dx, affine: d_affine, modulation: d_modulation } = gradients;
    shape.check(&[x.len(), dy.len(), dx.len()], lengths(line.affine), lengths(line.modulation));
    let of = |d: &Option<[&mut [f32]; 2]>| d.as_ref().map(|d| d.each_ref().map(|t| t.len()));
    shape.check(&[], of(&d_affine), of(&d_modulation));
    let (width, of_picture) = (shape.width, shape.tokens * shape.width);
    if dx.is_empty() {
        [d_affine, d_modulation].into_iter().flatten().flatten().for_each(|d| d.fill(0.0));
        return;
    }
    let (lines, pictures) = shape.lines(line);
    let lines = lines.as_flattened();
    // [picture][block of tokens][Σ dy x̂, Σ dy][width]
    let blocks = shape.tokens.div_ceil(TOKENS);
    let mut sums = Scratch::zeroed((shape.batch * blocks * 2 * width).div_ceil(LANES));
    let sums = &mut sums.as_flattened_mut()[..shape.batch * blocks * 2 * width];
    let inputs = x.chunks(of_picture).zip(dy.chunks(of_picture));
    let pieces = dx.chunks_mut(of_picture).zip(inputs).zip(sums.chunks_mut(blocks * 2 * width)).enumerate();
    let tasks = pieces.flat_map(|(picture, ((dx, (x, dy)), sums))| {
        let a = &lines[picture % pictures * 2 * width..][..width];
        let inputs = x.chunks(TOKENS * width).zip(dy.chunks(TOKENS * width));
        dx.chunks_mut(TOKENS * width).zip(inputs).zip(sums.chunks_mut(2 * width)).map(move |piece| (a, piece))
    });
    for_each(tasks, x.len() * ELEMENTWISE, |(a, ((dx, (x, dy)), sums))| {
        let (sum_x, sum) = sums.split_at_mut(width);
        dispatch(Backward { eps: shape.eps, x, a, dy, dx, sum_x, sum });
    });
    for sums in sums.chunks_mut(blocks * 2 * width) {
        let (first, others) = sums.split_at_mut(2 * width);
        others.chunks(2 * width).for_each(|block| tree::add(first, block));
    }
    let of_pictures = || sums.chunks(blocks * 2 * width).map(|sums| (&sums[..width], &sums[width..2 * width]));
    if let Some([d_scale, d_shift]) = d_modulation {
        for ((d_scale, d_shift), (sum_x, sum)) in
            d_scale.chunks_mut(width).zip(d_shift.chunks_mut(width)).zip(of_pictures())
        {
            d_shift.copy_from_slice(sum);
            for c in 0..width {
                let [gain, offset] = line.affine.map_or([1.0, 0.0], |affine| affine.map(|t| t[c]));
                d_scale[c] = gain * sum_x[c] + offset * sum[c];
            }
        }
    }
    if let Some([d_gain, d_offset]) = d_affine {
        let scaled = |picture: usize, c: usize, sum: f32| {
            sum * line.modulation.map_or(1.0, |[scale, _]| 1.0 + scale[picture * width + c])
        };
        for (d, kind) in [d_gain, d_offset].into_iter().zip(0..) {
            tree::sum_pictures(shape.batch, d, |picture, d| {
                let sums = &sums[picture * blocks * 2 * width + kind * width..][..width];
                d.iter_mut().zip(sums).enumerate().for_each(|(c, (d, sum))| *d += scaled(picture, c, *sum));
            });
        }
    }
}

fn lengths(pair: Option<[&[f32]; 2]>) -> Option<[usize; 2]> {
    pair.map(|pair| pair.map(<[f32]>::len))
}

/// Mean and inverse deviation of a token.
#[inline(always)]
fn moments<S: Simd>(s: S, eps: f32, x: &[f32]) -> [f32; 2] {
    let mut sum = s.zero();
    for x in x.chunks(LANES) {
        sum = s.add(sum, load(s, x));
    }
    let mean = s.sum(sum) / x.len() as f32;
    let mut squares = s.zero();
    for x in x.chunks(LANES) {
        let x = match x.first_chunk() {
            Some(whole) => s.load(whole),
            None => s.load_or(x, mean),
        };
        let off = s.sub(x, s.splat(mean));
        squares = s.mul_add(off, off, squares);
    }
    [mean, 1.0 / (s.sum(squares) / x.len() as f32 + eps).sqrt()]
}

/// Tokens of one picture.
struct Forward<'a> {
    eps: f32,
    x: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { eps, x, a, b, y } = self;
        let width = a.len();
        for (y, x) in y.chunks_mut(width).zip(x.chunks(width)) {
            let [mean, inverse] = moments(s, eps, x);
            let line = a.chunks(LANES).zip(b.chunks(LANES));
            for ((y, x), (a, b)) in y.chunks_mut(LANES).zip(x.chunks(LANES)).zip(line) {
                let x = s.mul(s.sub(load(s, x), s.splat(mean)), s.splat(inverse));
                store(s, s.mul_add(x, load(s, a), load(s, b)), y);
            }
        }
    }
}

/// Tokens of one picture; adds to the sums.
struct Backward<'a> {
    eps: f32,
    x: &'a [f32],
    a: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    sum_x: &'a mut [f32],
    sum: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `g = dy · a` and `ḡ` the mean over the token: `dx = (g − ḡ(g) − x̂ · ḡ(g x̂)) / √(var + eps)`.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { eps, x, a, dy, dx, sum_x, sum } = self;
        let width = a.len();
        for (dx, (x, dy)) in dx.chunks_mut(width).zip(x.chunks(width).zip(dy.chunks(width))) {
            let [mean, inverse] = moments(s, eps, x);
            let (mean, v_inverse) = (s.splat(mean), s.splat(inverse));
            let (mut sum_g, mut sum_gx) = (s.zero(), s.zero());
            for (i, (x, dy)) in x.chunks(LANES).zip(dy.chunks(LANES)).enumerate() {
                let at = i * LANES..(i * LANES + LANES).min(width);
                // Lanes beyond the end have dy = 0 and add nothing.
                let (x, dy) = (s.mul(s.sub(load(s, x), mean), v_inverse), load(s, dy));
                let g = s.mul(dy, load(s, &a[at.clone()]));
                sum_g = s.add(sum_g, g);
                sum_gx = s.mul_add(g, x, sum_gx);
                let (sum_x, sum) = (&mut sum_x[at.clone()], &mut sum[at]);
                store(s, s.mul_add(dy, x, load(s, sum_x)), sum_x);
                store(s, s.add(dy, load(s, sum)), sum);
            }
            let (mean_g, mean_gx) = (s.splat(s.sum(sum_g) / width as f32), s.splat(s.sum(sum_gx) / width as f32));
            for (i, ((dx, x), dy)) in dx.chunks_mut(LANES).zip(x.chunks(LANES)).zip(dy.chunks(LANES)).enumerate() {
                let at = i * LANES..(i * LANES + LANES).min(width);
                let x = s.mul(s.sub(load(s, x), mean), v_inverse);
                let g = s.mul(load(s, dy), load(s, &a[at]));
                let rest = s.neg_mul_add(x, mean_gx, s.sub(g, mean_g));
                store(s, s.mul(rest, v_inverse), dx);
            }
        }
    }
}
