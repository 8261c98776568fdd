//! Group normalisation \[Wu18\] as an affine map of every channel of every image.
//!
//! With `m` = channels per group × pixels, over each group of each image: `mean = Σ x / m`, `var = Σ (x − mean)² / m`,
//! `x̂ = (x − mean) / √(var + eps)`, then `z = (x̂ · gamma + beta) · (1 + scale) + shift` and `y = activation(z)`.
//! All of it but the activation is one multiplication and one addition, `z = x · a + b`, so whoever reads `x` can
//! normalise it on the way: [`coefficients`] are what a convolution takes. Scale and shift (of an image and channel)
//! are optional [Dhariwal21, AdaGN].
//!
//! The channels may lie in two maps side by side, as at the joints of a U-Net.

use crate::activation::{self, Activation};
use crate::blocks::{ELEMENTWISE, for_each};
use crate::map::{len, vectors, vectors_mut};
use crate::panel::panels;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use crate::tree::sum_pictures;

/// Vectors that sum side by side, so that an addition need not wait for the one before.
const SUMS: usize = 4;

/// What is normalised, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Images.
    pub batch: usize,
    /// Channels of the first and of the second map; the first a multiple of sixteen if the second is not 0.
    pub channels: [usize; 2],
    /// Pixels of an image (height × width).
    pub pixels: usize,
    /// Groups that the channels are cut into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// What follows.
    pub activation: Activation,
}

impl Norm {
    /// Channels of both maps.
    pub fn all_channels(&self) -> usize {
        self.channels[0] + self.channels[1]
    }

    /// Numbers of [`statistics`]: `[image][group][mean, 1 / √(var + eps)]`.
    pub fn statistics_len(&self) -> usize {
        self.batch * self.groups * 2
    }

    /// Numbers of [`coefficients`]: `[image][a, b][channels, padded to panels]`.
    pub fn coefficients_len(&self) -> usize {
        self.batch * 2 * panels(self.all_channels()) * LANES
    }

    fn group_channels(&self) -> usize {
        self.all_channels() / self.groups
    }

    fn check(&self, maps: [usize; 2]) {
        let Self { channels: [first, second], groups, .. } = *self;
        assert!(second == 0 || first.is_multiple_of(LANES), "norm: the first map ends within a panel: {self:?}");
        assert!(groups > 0 && self.all_channels().is_multiple_of(groups), "norm: groups of {self:?}");
        assert_eq!(maps, self.channels.map(|c| len(self.batch, c, self.pixels)), "norm: lengths of maps for {self:?}");
    }

    /// Panels of an image: of the first map, of both.
    fn panels(&self) -> [usize; 2] {
        [panels(self.channels[0]), panels(self.channels[0]) + panels(self.channels[1])]
    }
}

/// One panel of one image.
fn panel<'a>(shape: &Norm, maps: [&'a [Lanes]; 2], image: usize, panel: usize) -> &'a [Lanes] {
    let [first, all] = shape.panels();
    let (map, index) =
        if panel < first { (maps[0], image * first + panel) } else { (maps[1], image * (all - first) + panel - first) };
    &map[index * shape.pixels..][..shape.pixels]
}

/// Writes mean and inverse deviation of every group of every image: `[image][group][mean, 1 / √(var + eps)]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn statistics(shape: &Norm, maps: [&[f32]; 2], statistics: &mut [f32]) {
    shape.check(maps.map(<[f32]>::len));
    assert_eq!(statistics.len(), shape.statistics_len(), "norm: length of statistics for {shape:?}");
    let [_, all] = shape.panels();
    if all == 0 {
        return;
    }
    let work = (maps[0].len() + maps[1].len()) * ELEMENTWISE / 4;
    let maps = maps.map(vectors);
    // [image][panel][mean, sum of squares]
    let mut moments = vec![[[0.0; LANES]; 2]; shape.batch * all];
    for_each(moments.iter_mut().enumerate(), work, |(i, to)| {
        *to = dispatch(Moments(panel(shape, maps, i / all, i % all)));
    });
    let of_group = shape.group_channels();
    for (to, moments) in statistics.chunks_exact_mut(2 * shape.groups).zip(moments.chunks_exact(all)) {
        let moment = |kind: usize, c: usize| f64::from(moments[c / LANES][kind][c % LANES]);
        for (group, to) in to.chunks_exact_mut(2).enumerate() {
            let channels = group * of_group..(group + 1) * of_group;
            let mean = channels.clone().map(|c| moment(0, c)).sum::<f64>() / of_group as f64;
            let off = |c| moment(0, c) - mean;
            let squares: f64 = channels.map(|c| moment(1, c) + shape.pixels as f64 * off(c) * off(c)).sum();
            let variance = squares / (of_group * shape.pixels) as f64;
            to[0] = mean as f32;
            to[1] = (1.0 / (variance + f64::from(shape.eps)).sqrt()) as f32;
        }
    }
}

/// Writes `a` and `b` of `z = x · a + b`: `[image][a, b][channels, padded]`, from [`statistics`], `affine` =
/// `[gamma, beta]` (each `[channels]`) and `scale_shift` (`[image][scale, shift][channels]`).
///
/// # Panics
/// If a length does not fit `shape`.
pub fn coefficients(
    shape: &Norm,
    statistics: &[f32],
    affine: [&[f32]; 2],
    scale_shift: Option<&[f32]>,
    coefficients: &mut [f32],
) {
    let channels = shape.all_channels();
    check_parameters(shape, statistics, affine, scale_shift);
    assert_eq!(coefficients.len(), shape.coefficients_len(), "norm: length of coefficients for {shape:?}");
    coefficients.fill(0.0);
    for (image, to) in coefficients.chunks_exact_mut(2 * panels(channels).max(1) * LANES).enumerate() {
        let (a, b) = to.split_at_mut(panels(channels) * LANES);
        for c in 0..channels {
            let [mean, inverse] = group_of(shape, statistics, image, c);
            let [scale, shift] = modulation(scale_shift, channels, image, c);
            a[c] = affine[0][c] * inverse * scale;
            b[c] = (affine[1][c] - mean * affine[0][c] * inverse) * scale + shift;
        }
    }
}

/// Mean and inverse deviation of the group of a channel.
fn group_of(shape: &Norm, statistics: &[f32], image: usize, c: usize) -> [f32; 2] {
    let at = 2 * (image * shape.groups + c / shape.group_channels());
    [statistics[at], statistics[at + 1]]
}

/// `1 + scale` and `shift` of a channel.
fn modulation(scale_shift: Option<&[f32]>, channels: usize, image: usize, c: usize) -> [f32; 2] {
    scale_shift.map_or([1.0, 0.0], |s| [1.0 + s[2 * image * channels + c], s[(2 * image + 1) * channels + c]])
}

fn check_parameters(shape: &Norm, statistics: &[f32], affine: [&[f32]; 2], scale_shift: Option<&[f32]>) {
    let channels = shape.all_channels();
    assert_eq!(statistics.len(), shape.statistics_len(), "norm: length of statistics for {shape:?}");
    assert_eq!(affine.map(<[f32]>::len), [channels; 2], "norm: lengths of gamma and beta for {shape:?}");
    if let Some(s) = scale_shift {
        assert_eq!(s.len(), 2 * shape.batch * channels, "norm: length of scale and shift for {shape:?}");
    }
}

/// Writes `y = activation(x · a + b)`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Norm, maps: [&[f32]; 2], coefficients: &[f32], y: [&mut [f32]; 2]) {
    shape.check(maps.map(<[f32]>::len));
    shape.check([y[0].len(), y[1].len()]);
    assert_eq!(coefficients.len(), shape.coefficients_len(), "norm: length of coefficients for {shape:?}");
    let ([first, all], pixels) = (shape.panels(), shape.pixels);
    if all * pixels == 0 {
        return;
    }
    let (maps, coefficients) = (maps.map(vectors), vectors(coefficients));
    let work = (maps[0].len() + maps[1].len()) * LANES * ELEMENTWISE;
    let [y0, y1] = y.map(|y| vectors_mut(y).chunks_mut(pixels));
    let tasks = y0
        .enumerate()
        .map(|(i, y)| (i / first, i % first, y))
        .chain(y1.enumerate().map(|(i, y)| (i / (all - first), first + i % (all - first), y)));
    for_each(tasks, work, |(image, p, y)| {
        let [a, b] = [0, 1].map(|k| &coefficients[(2 * image + k) * all + p]);
        dispatch(Apply { x: panel(shape, maps, image, p), a, b, activation: shape.activation, y });
    });
}

/// The gradients that [`backward`] sums: of gamma and beta (each `[channels]`, summed over images along the
/// [`tree`](crate::tree)), and of scale and shift (`[image][scale, shift][channels]`).
pub struct Gradients<'a> {
    /// Of gamma and beta.
    pub affine: [&'a mut [f32]; 2],
    /// Of scale and shift.
    pub scale_shift: Option<&'a mut [f32]>,
}

/// Turns `d`, the gradient of `y`, into the gradient of `x`, to which `add` is added (what reaches `x` on other ways).
/// `coefficients` and `statistics` are those of the forward pass.
///
/// # Panics
/// If a length does not fit `shape`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    shape: &Norm,
    maps: [&[f32]; 2],
    [statistics, coefficients]: [&[f32]; 2],
    affine: [&[f32]; 2],
    scale_shift: Option<&[f32]>,
    d: [&mut [f32]; 2],
    add: [Option<&[f32]>; 2],
    gradients: Gradients<'_>,
) {
    shape.check(maps.map(<[f32]>::len));
    shape.check([d[0].len(), d[1].len()]);
    check_parameters(shape, statistics, affine, scale_shift);
    assert_eq!(coefficients.len(), shape.coefficients_len(), "norm: length of coefficients for {shape:?}");
    for (add, d) in add.iter().zip(&d) {
        assert_eq!(add.map_or(d.len(), <[f32]>::len), d.len(), "norm: length of what is added for {shape:?}");
    }
    let ([first, all], pixels, channels) = (shape.panels(), shape.pixels, shape.all_channels());
    let Gradients { affine: [dgamma, dbeta], scale_shift: d_scale_shift } = gradients;
    if all * pixels == 0 {
        dgamma.fill(0.0);
        dbeta.fill(0.0);
        return;
    }
    let (maps, coefficients, add) = (maps.map(vectors), vectors(coefficients), add.map(|a| a.map(vectors)));
    let work = (maps[0].len() + maps[1].len()) * LANES * ELEMENTWISE;
    // [image][panel][Σ dz, Σ dz x̂]
    let mut sums = vec![[[0.0; LANES]; 2]; shape.batch * all];
    let [d0, d1] = d.map(vectors_mut);
    let mut d1 = d1.chunks_mut(((all - first) * pixels).max(1));
    let images = d0.chunks_mut(first * pixels).map(|d0| (d0, d1.next().unwrap_or_default()));
    for_each(images.zip(sums.chunks_mut(all)).enumerate(), work, |(image, ((d0, d1), sums))| {
        let mut d: Vec<&mut [Lanes]> = d0.chunks_mut(pixels).chain(d1.chunks_mut(pixels)).collect();
        for (p, (d, sums)) in d.iter_mut().zip(sums.iter_mut()).enumerate() {
            let x = panel(shape, maps, image, p);
            let [a, b] = [0, 1].map(|k| &coefficients[(2 * image + k) * all + p]);
            let [mut mean, mut inverse] = [[0.0; LANES]; 2];
            for lane in 0..LANES.min(channels - p * LANES) {
                [mean[lane], inverse[lane]] = group_of(shape, statistics, image, p * LANES + lane);
            }
            *sums = dispatch(Slopes { x, a, b, mean, inverse, activation: shape.activation, d });
        }
        let effective = |c: usize| affine[0][c] * modulation(scale_shift, channels, image, c)[0];
        let lines = lines(shape, statistics, image, effective, sums);
        for (p, (d, line)) in d.iter_mut().zip(&lines).enumerate() {
            let x = panel(shape, maps, image, p);
            let a = &coefficients[2 * image * all + p];
            let add = if p < first {
                add[0].map(|add| &add[(image * first + p) * pixels..][..pixels])
            } else {
                add[1].map(|add| &add[(image * (all - first) + p - first) * pixels..][..pixels])
            };
            dispatch(Finish { x, a, line, add, d });
        }
    });
    let sum = |image: usize, k: usize, c: usize| sums[image * all + c / LANES][k][c % LANES];
    for (d, k) in [dbeta, dgamma].into_iter().zip(0..) {
        sum_pictures(shape.batch, d, |image, d| {
            for (c, d) in d.iter_mut().enumerate() {
                let [scale, _] = modulation(scale_shift, channels, image, c);
                *d += scale * sum(image, k, c);
            }
        });
    }
    for (image, to) in d_scale_shift.into_iter().flat_map(|d| d.chunks_exact_mut(2 * channels)).enumerate() {
        let (d_scale, d_shift) = to.split_at_mut(channels);
        for c in 0..channels {
            let [dz, dz_x] = [0, 1].map(|k| sum(image, k, c));
            d_scale[c] = affine[0][c] * dz_x + affine[1][c] * dz;
            d_shift[c] = dz;
        }
    }
}

/// `b` and `offset` of every channel of an image in `dx = a · dz + b · x + offset`, from the panels' `Σ dz` and `Σ dz x̂`;
/// `effective` is the gain of a channel of this image.
fn lines(
    shape: &Norm,
    statistics: &[f32],
    image: usize,
    effective: impl Fn(usize) -> f32,
    sums: &[[Lanes; 2]],
) -> Vec<[Lanes; 2]> {
    let of_group = shape.group_channels();
    let m = (of_group * shape.pixels) as f32;
    let mut lines = vec![[[0.0; LANES]; 2]; sums.len()];
    for group in 0..shape.groups {
        let of_group = group * of_group..(group + 1) * of_group;
        let [mut mean_dz, mut mean_dz_x] = [0.0; 2];
        for c in of_group.clone() {
            mean_dz += effective(c) * sums[c / LANES][0][c % LANES];
            mean_dz_x += effective(c) * sums[c / LANES][1][c % LANES];
        }
        let [mean, inverse] = group_of(shape, statistics, image, of_group.start);
        let b = -inverse * inverse * (mean_dz_x / m);
        for c in of_group {
            lines[c / LANES][0][c % LANES] = b;
            lines[c / LANES][1][c % LANES] = -inverse * (mean_dz / m) - b * mean;
        }
    }
    lines
}

/// Mean and `Σ (x − mean)²` of every lane, in one pass: of `x` less the first pixel, which lies among the others, so that
/// little cancels.
struct Moments<'a>(&'a [Lanes]);

impl Kernel for Moments<'_> {
    type Output = [Lanes; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let Some(first) = self.0.first() else { return [[0.0; LANES]; 2] };
        let first = s.load(first);
        let (mut sums, mut squares) = ([s.zero(); SUMS], [s.zero(); SUMS]);
        for block in self.0.chunks(SUMS) {
            for ((sum, square), x) in sums.iter_mut().zip(&mut squares).zip(block) {
                let x = s.sub(s.load(x), first);
                *sum = s.add(*sum, x);
                *square = s.mul_add(x, x, *square);
            }
        }
        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
        let square = s.add(s.add(squares[0], squares[1]), s.add(squares[2], squares[3]));
        let mean = s.mul(sum, s.splat(1.0 / self.0.len() as f32));
        let squares = s.max(s.zero(), s.neg_mul_add(sum, mean, square));
        [s.lanes(s.add(first, mean)), s.lanes(squares)]
    }
}

/// `y = activation(x · a + b)` of pixels. `a` and `b` are of the panel.
pub(crate) struct Apply<'a> {
    pub x: &'a [Lanes],
    pub a: &'a Lanes,
    pub b: &'a Lanes,
    pub activation: Activation,
    pub y: &'a mut [Lanes],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (a, b) = (s.load(self.a), s.load(self.b));
        apply(s, self.x, a, b, self.activation, self.y);
    }
}

/// `y = activation(x · a + b)` of pixels.
#[inline(always)]
pub(crate) fn apply<S: Simd>(s: S, x: &[Lanes], a: S::V, b: S::V, activation: Activation, y: &mut [Lanes]) {
    // One loop a function, so that none asks at every pixel.
    macro_rules! with {
        ($activation:expr) => {
            for (y, x) in y.iter_mut().zip(x) {
                s.store(activation::value(s, $activation, s.mul_add(s.load(x), a, b)), y);
            }
        };
    }
    match activation {
        Activation::Identity => with!(Activation::Identity),
        Activation::Silu => with!(Activation::Silu),
        #[allow(unreachable_patterns)]
        other => with!(other),
    }
}

/// Turns the gradients of activated pixels into those of `z`, and returns `Σ dz` and `Σ dz x̂`.
struct Slopes<'a, 'b> {
    x: &'a [Lanes],
    a: &'a Lanes,
    b: &'a Lanes,
    mean: Lanes,
    inverse: Lanes,
    activation: Activation,
    d: &'b mut [Lanes],
}

impl Kernel for Slopes<'_, '_> {
    type Output = [Lanes; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let Self { x, a, b, mean, inverse, activation, d } = self;
        let (a, b, mean, inverse) = (s.load(a), s.load(b), s.load(&mean), s.load(&inverse));
        let offset = s.neg_mul_add(mean, inverse, s.zero());
        let (mut sum, mut sum_x) = ([s.zero(); 2], [s.zero(); 2]);
        macro_rules! with {
            ($activation:expr) => {
                for (x, d) in x.chunks(2).zip(d.chunks_mut(2)) {
                    for (i, (x, d)) in x.iter().zip(d).enumerate() {
                        let x = s.load(x);
                        let dz = s.mul(s.load(d), activation::slope(s, $activation, s.mul_add(x, a, b)));
                        sum[i] = s.add(sum[i], dz);
                        sum_x[i] = s.mul_add(dz, s.mul_add(x, inverse, offset), sum_x[i]);
                        s.store(dz, d);
                    }
                }
            };
        }
        match activation {
            Activation::Identity => with!(Activation::Identity),
            Activation::Silu => with!(Activation::Silu),
            #[allow(unreachable_patterns)]
            other => with!(other),
        }
        [s.lanes(s.add(sum[0], sum[1])), s.lanes(s.add(sum_x[0], sum_x[1]))]
    }
}

/// `d = a · d + b · x + offset (+ add)` of pixels; `line` is `[b, offset]`.
struct Finish<'a, 'b> {
    x: &'a [Lanes],
    a: &'a Lanes,
    line: &'a [Lanes; 2],
    add: Option<&'a [Lanes]>,
    d: &'b mut [Lanes],
}

impl Kernel for Finish<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (a, b, offset) = (s.load(self.a), s.load(&self.line[0]), s.load(&self.line[1]));
        if let Some(add) = self.add {
            for ((d, x), add) in self.d.iter_mut().zip(self.x).zip(add) {
                let dx = s.mul_add(a, s.load(d), s.mul_add(b, s.load(x), offset));
                s.store(s.add(dx, s.load(add)), d);
            }
        } else {
            for (d, x) in self.d.iter_mut().zip(self.x) {
                s.store(s.mul_add(a, s.load(d), s.mul_add(b, s.load(x), offset)), d);
            }
        }
    }
}
