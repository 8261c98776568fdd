//! Group normalisation (Wu and He 2018), with SiLU fused when asked for, forward and backward.
//!
//! With `m` = channels per group × pixels, over each group of each image:
//! `mean = Σ x / m`, `var = Σ (x − mean)² / m`, `x̂ = (x − mean) / √(var + eps)`, `z = x̂ · gamma + beta`,
//! `y = z` or `y = silu(z)`.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{load, store};
use crate::silu;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::sums::{SUMS, fold, sum};

/// What is normalised, and how. Tensors are `[batch, channels, pixels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Images.
    pub batch: usize,
    /// Channels: a multiple of `groups`.
    pub channels: usize,
    /// Pixels of an image (height × width).
    pub pixels: usize,
    /// Groups that the channels are cut into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

impl GroupNorm {
    fn check(&self, x: &[f32], y: &[f32], affine: [usize; 2]) {
        let Self { batch, channels, pixels, groups, .. } = *self;
        assert!(groups > 0 && channels % groups == 0, "group_norm: {channels} channels in {groups} groups");
        let len = batch * channels * pixels;
        assert_eq!(x.len(), len, "group_norm: input length for {self:?}");
        assert_eq!(y.len(), len, "group_norm: output length for {self:?}");
        assert_eq!(affine, [channels; 2], "group_norm: lengths of gamma and beta for {self:?}");
    }

    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }
}

/// Writes the normalised `y`. `affine` is `[gamma, beta]`, each `[channels]`.
///
/// # Panics
/// If a length does not fit `shape`, or `channels` is no multiple of `groups`.
pub fn forward(shape: &GroupNorm, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
    shape.check(x, y, affine.map(<[f32]>::len));
    let cg = shape.group_channels();
    let len = cg * shape.pixels;
    if len == 0 {
        return;
    }
    let groups = y.chunks_mut(len).zip(x.chunks(len)).enumerate();
    for_each(groups, x.len() * ELEMENTWISE, |(i, (y, x))| {
        let first = i % shape.groups * cg;
        let affine = affine.map(|a| &a[first..first + cg]);
        dispatch(Forward { shape, x, affine, y });
    });
}

/// Writes the gradients `dx`, and `[dgamma, dbeta]` summed over the batch in image order.
///
/// # Panics
/// If a length does not fit `shape`, or `channels` is no multiple of `groups`.
pub fn backward(
    shape: &GroupNorm,
    x: &[f32],
    affine: [&[f32]; 2],
    dy: &[f32],
    dx: &mut [f32],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    shape.check(x, dx, affine.map(<[f32]>::len));
    shape.check(dy, dx, [dgamma.len(), dbeta.len()]);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    let cg = shape.group_channels();
    let len = cg * shape.pixels;
    if len == 0 {
        return;
    }
    // [image][channel][gamma, beta]: one share a channel of an image, added below in image order
    let mut shares = vec![[0.0; 2]; shape.batch * shape.channels];
    let outputs = dx.chunks_mut(len).zip(shares.chunks_mut(cg));
    let groups = outputs.zip(x.chunks(len).zip(dy.chunks(len))).enumerate();
    for_each(groups, x.len() * ELEMENTWISE, |(i, ((dx, shares), (x, dy)))| {
        let first = i % shape.groups * cg;
        let affine = affine.map(|a| &a[first..first + cg]);
        dispatch(Backward { shape, x, affine, dy, dx, shares });
    });
    for image in shares.chunks(shape.channels) {
        for ((dgamma, dbeta), share) in dgamma.iter_mut().zip(dbeta.iter_mut()).zip(image) {
            *dgamma += share[0];
            *dbeta += share[1];
        }
    }
}

/// One group of one image.
struct Forward<'a> {
    shape: &'a GroupNorm,
    x: &'a [f32],
    affine: [&'a [f32]; 2],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, affine: [gamma, beta], y } = self;
        let (mean, inverse) = moments(s, x, shape.eps);
        let channels = y.chunks_mut(shape.pixels).zip(x.chunks(shape.pixels));
        for ((y, x), (gamma, beta)) in channels.zip(gamma.iter().zip(beta)) {
            let scale = s.splat(gamma * inverse);
            let shift = s.neg_mul_add(s.splat(mean), scale, s.splat(*beta));
            for (y, x) in y.chunks_mut(LANES).zip(x.chunks(LANES)) {
                let z = s.mul_add(load(s, x), scale, shift);
                store(s, if shape.silu { silu::value(s, z) } else { z }, y);
            }
        }
    }
}

/// One group of one image.
struct Backward<'a> {
    shape: &'a GroupNorm,
    x: &'a [f32],
    affine: [&'a [f32]; 2],
    dy: &'a [f32],
    dx: &'a mut [f32],
    shares: &'a mut [[f32; 2]],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `dz = dy · silu'(z)`: `dgamma = Σ dz x̂`, `dbeta = Σ dz` over pixels, and with `ḡ` the mean over the
    /// group, `dx = (gamma dz − ḡ(gamma dz) − x̂ · ḡ(gamma dz x̂)) / √(var + eps)`.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, affine: [gamma, beta], dy, dx, shares } = self;
        let pixels = shape.pixels;
        let (mean, inverse) = moments(s, x, shape.eps);
        let (v_inverse, v_offset) = (s.splat(inverse), s.splat(-mean * inverse));
        let mut sums = [0.0; 2];
        for (c, share) in shares.iter_mut().enumerate() {
            let (v_gamma, v_beta) = (s.splat(gamma[c]), s.splat(beta[c]));
            let range = c * pixels..(c + 1) * pixels;
            let (mut sum_dz, mut sum_dz_x) = (s.zero(), s.zero());
            let rows = x[range.clone()].chunks(LANES).zip(dy[range.clone()].chunks(LANES));
            for ((x, dy), dx) in rows.zip(dx[range].chunks_mut(LANES)) {
                let x = s.mul_add(load(s, x), v_inverse, v_offset);
                // Lanes beyond the end have dy = 0, hence dz = 0, and add nothing.
                let mut dz = load(s, dy);
                if shape.silu {
                    dz = s.mul(dz, silu::slope(s, s.mul_add(x, v_gamma, v_beta)));
                }
                sum_dz = s.add(sum_dz, dz);
                sum_dz_x = s.mul_add(dz, x, sum_dz_x);
                store(s, dz, dx);
            }
            *share = [s.sum(sum_dz_x), s.sum(sum_dz)];
            sums[0] += gamma[c] * share[0];
            sums[1] += gamma[c] * share[1];
        }
        // dx = a·dz + b·x + offset, with x̂ = x·inverse − mean·inverse
        let m = x.len() as f32;
        let b = -inverse * inverse * (sums[0] / m);
        let offset = -inverse * (sums[1] / m) - b * mean;
        let (v_b, v_offset) = (s.splat(b), s.splat(offset));
        for (c, gamma) in gamma.iter().enumerate() {
            let a = s.splat(gamma * inverse);
            let range = c * pixels..(c + 1) * pixels;
            for (dx, x) in dx[range.clone()].chunks_mut(LANES).zip(x[range].chunks(LANES)) {
                let dz = load(s, dx);
                store(s, s.mul_add(a, dz, s.mul_add(v_b, load(s, x), v_offset)), dx);
            }
        }
    }
}

/// The mean, and `1 / √(var + eps)`.
#[inline(always)]
fn moments<S: Simd>(s: S, x: &[f32], eps: f32) -> (f32, f32) {
    let m = x.len() as f32;
    let mean = sum(s, x) / m;
    let variance = sum_squares(s, x, mean) / m;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// `Σ (x − mean)²`
#[inline(always)]
fn sum_squares<S: Simd>(s: S, x: &[f32], mean: f32) -> f32 {
    let mut acc = [s.zero(); SUMS];
    let v_mean = s.splat(mean);
    for block in x.chunks(LANES * SUMS) {
        for (acc, x) in acc.iter_mut().zip(block.chunks(LANES)) {
            let x = match x.first_chunk() {
                Some(whole) => s.load(whole),
                None => s.load_or(x, mean),
            };
            let d = s.sub(x, v_mean);
            *acc = s.mul_add(d, d, *acc);
        }
    }
    fold(s, acc)
}
