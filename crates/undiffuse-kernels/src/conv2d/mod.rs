//! Two-dimensional convolution (cross-correlation, as the field calls it) of maps, forward and backward.
//!
//! `y[n, o, p, q] = Σ_{c, i, j} weight[o, c, i, j] · u[n, c, p·stride + i − top, q·stride + j − left]`
//! `              + bias[o] + shift[n, o] + residual[n, o, p, q]`, with zeros outside of the image.
//!
//! What is convolved, `u = activation(x · a + b)`, may be a normalised and activated map ([`crate::norm`]), two maps
//! side by side, and have every pixel doubled: nothing of that is ever written to memory.
//!
//! 3×3 convolutions of stride 1 and padding 1 with enough input channels use Winograd's algorithm, all others a matrix
//! product over the taps of the filter. The choice looks at channels and filter alone.

mod source;
mod taps;
mod winograd;

use crate::activation::Activation;
use crate::blocks::{ELEMENTWISE, for_each};
use crate::clamp::Clamp;
use crate::map::{len, vectors, vectors_mut};
use crate::panel::{self, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use source::Source;

/// The size of a convolution. Maps are `x [batch, c_in, h, w]`, `y [batch, c_out, out_h, out_w]`; `weight` is plain
/// `[c_out, c_in, kh, kw]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Channels of the first and of the second input map; the first a multiple of sixteen if the second is not 0.
    pub c_in: [usize; 2],
    /// Height of the input maps.
    pub h: usize,
    /// Width of the input maps.
    pub w: usize,
    /// Channels of `y`.
    pub c_out: usize,
    /// Height and width of the filter.
    pub kernel: (usize, usize),
    /// Step of the filter, down and across.
    pub stride: usize,
    /// Zeros around the image: top, left, bottom, right.
    pub pad: [usize; 4],
    /// Whether every pixel is read as 2×2 (nearest-neighbour enlargement), so that the image is `2h × 2w`.
    pub upsample: bool,
}

/// What is convolved: `activation(x · a + b)`, or `x` itself without coefficients.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The maps, side by side.
    pub maps: [&'a [f32]; 2],
    /// `a` and `b`: `[image][a, b][channels, padded]`, see [`crate::norm::coefficients`].
    pub coefficients: Option<&'a [f32]>,
    /// Applied with coefficients only.
    pub activation: Activation,
}

/// What is added to the sums.
#[derive(Clone, Copy, Default)]
pub struct Add<'a> {
    /// To a channel: `[c_out]`.
    pub bias: Option<&'a [f32]>,
    /// To a channel of an image: `[batch, c_out]`.
    pub shift: Option<&'a [f32]>,
    /// To everything: a map like `y`.
    pub residual: Option<&'a [f32]>,
}

impl Conv2d {
    /// Height of `y`.
    ///
    /// # Panics
    /// If the filter does not fit the padded image, or `stride` is 0.
    pub fn out_h(&self) -> usize {
        self.out(self.image_h() + self.pad[0] + self.pad[2], self.kernel.0)
    }

    /// Width of `y`.
    ///
    /// # Panics
    /// If the filter does not fit the padded image, or `stride` is 0.
    pub fn out_w(&self) -> usize {
        self.out(self.image_w() + self.pad[1] + self.pad[3], self.kernel.1)
    }

    fn out(&self, padded: usize, kernel: usize) -> usize {
        assert!(kernel > 0 && padded >= kernel && self.stride > 0, "conv2d: {self:?} has no output");
        (padded - kernel) / self.stride + 1
    }

    /// Channels of both inputs.
    pub fn all_in(&self) -> usize {
        self.c_in[0] + self.c_in[1]
    }

    /// Height of the image that is convolved.
    fn image_h(&self) -> usize {
        self.h << usize::from(self.upsample)
    }

    /// Width of the image that is convolved.
    fn image_w(&self) -> usize {
        self.w << usize::from(self.upsample)
    }

    /// Pixels of an image of `y`.
    fn out_pixels(&self) -> usize {
        self.out_h() * self.out_w()
    }

    /// Products that make one element of `y`.
    fn taps(&self) -> usize {
        self.all_in() * self.kernel.0 * self.kernel.1
    }

    fn in_lens(&self) -> [usize; 2] {
        self.c_in.map(|c| len(self.batch, c, self.h * self.w))
    }

    fn check(&self, maps: [usize; 2], weight: usize, y: usize) {
        let [first, second] = self.c_in;
        assert!(second == 0 || first.is_multiple_of(LANES), "conv2d: the first map ends within a panel: {self:?}");
        assert_eq!(maps, self.in_lens(), "conv2d: lengths of the inputs or their gradients for {self:?}");
        assert_eq!(weight, self.c_out * self.taps(), "conv2d: length of weight or dw for {self:?}");
        assert_eq!(y, len(self.batch, self.c_out, self.out_pixels()), "conv2d: length of y or dy for {self:?}");
    }

    fn check_input(&self, input: &Input) {
        if let Some(coefficients) = input.coefficients {
            let expected = self.batch * 2 * panels(self.all_in()) * LANES;
            assert_eq!(coefficients.len(), expected, "conv2d: length of coefficients for {self:?}");
        }
    }

    fn is_empty(&self) -> bool {
        self.batch == 0 || self.taps() == 0 || self.c_out == 0 || self.h * self.w == 0
    }
}

/// The two products of a map with a filter bank.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// `y` from `x`.
    Forward,
    /// `dx` from `dy`.
    Data,
}

/// The filter bank as a product in one direction sees it.
#[derive(Clone, Copy)]
struct Bank {
    /// Channels that come out, and from one to the next in the weights.
    outs: usize,
    out_stride: usize,
    /// Channels that go in, and from one to the next in the weights.
    ins: usize,
    in_stride: usize,
}

impl Direction {
    fn bank(self, shape: &Conv2d) -> Bank {
        let of_plane = shape.kernel.0 * shape.kernel.1;
        let (c_out, out_stride, c_in, in_stride) = (shape.c_out, shape.taps(), shape.all_in(), of_plane);
        match self {
            Direction::Forward => Bank { outs: c_out, out_stride, ins: c_in, in_stride },
            Direction::Data => Bank { outs: c_in, out_stride: in_stride, ins: c_out, in_stride: out_stride },
        }
    }
}

/// What is added to outputs, as vectors.
#[derive(Clone, Copy)]
struct Epilogue<'a> {
    /// `[image][panel]`: bias and shift; one row for all images, or one each.
    offsets: &'a [Lanes],
    /// Panels of the output.
    panels: usize,
    residual: Option<&'a [Lanes]>,
    /// Pixels of an image of the output.
    pixels: usize,
    /// What sums are held to at last.
    then: Clamp,
}

impl<'a> Epilogue<'a> {
    /// What is added to every pixel of a panel of an image.
    fn offset(&self, image: usize, panel: usize) -> &'a Lanes {
        &self.offsets[(image * self.panels + panel) % self.offsets.len()]
    }

    /// What is added pixel by pixel.
    fn residual(&self, image: usize, panel: usize) -> Option<&'a [Lanes]> {
        self.residual.map(|r| &r[(image * self.panels + panel) * self.pixels..][..self.pixels])
    }
}

/// Bias and shift as vectors.
fn offsets(shape: &Conv2d, add: &Add) -> Scratch {
    let of_image = panels(shape.c_out);
    let mut offsets = Scratch::zeroed(of_image * if add.shift.is_some() { shape.batch } else { 1 });
    for (image, to) in offsets.chunks_mut(of_image).enumerate() {
        let to = &mut to.as_flattened_mut()[..shape.c_out];
        for added in [add.bias, add.shift.map(|s| &s[image * shape.c_out..])].into_iter().flatten() {
            to.iter_mut().zip(added).for_each(|(to, x)| *to += x);
        }
    }
    offsets
}

/// Writes `y`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Conv2d, input: &Input, weight: &[f32], add: &Add, y: &mut [f32]) {
    forward_clamped(shape, input, weight, add, Clamp::NONE, y);
}

/// Writes `y`, held to a range after everything was added.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward_clamped(shape: &Conv2d, input: &Input, weight: &[f32], add: &Add, then: Clamp, y: &mut [f32]) {
    then.check();
    shape.check(input.maps.map(<[f32]>::len), weight.len(), y.len());
    shape.check_input(input);
    assert_eq!(add.bias.map_or(shape.c_out, <[f32]>::len), shape.c_out, "conv2d: length of bias for {shape:?}");
    let shifts = shape.batch * shape.c_out;
    assert_eq!(add.shift.map_or(shifts, <[f32]>::len), shifts, "conv2d: length of shift for {shape:?}");
    assert_eq!(add.residual.map_or(y.len(), <[f32]>::len), y.len(), "conv2d: length of residual for {shape:?}");
    if y.is_empty() {
        return;
    }
    let offsets = offsets(shape, add);
    let residual = add.residual.map(vectors);
    let epilogue =
        Epilogue { offsets: &offsets, panels: panels(shape.c_out), residual, pixels: shape.out_pixels(), then };
    let y = vectors_mut(y);
    let source = Source::input(shape, input);
    if shape.is_empty() {
        fill(&epilogue, y.chunks_mut(shape.out_pixels()));
    } else if winograd::serves(shape, shape.all_in()) {
        winograd::convolve(shape, Direction::Forward, &source, weight, &epilogue, [y, &mut []]);
    } else {
        taps::convolve(shape, Direction::Forward, &source, weight, &epilogue, [y, &mut []]);
    }
}

/// The outputs of a convolution without products.
fn fill<'a>(epilogue: &Epilogue, planes: impl Iterator<Item = &'a mut [Lanes]>) {
    for (i, plane) in planes.enumerate() {
        let (image, panel) = (i / epilogue.panels, i % epilogue.panels);
        plane.fill(*epilogue.offset(image, panel));
        for (y, r) in plane.iter_mut().zip(epilogue.residual(image, panel).unwrap_or_default()) {
            y.iter_mut().zip(r).for_each(|(y, r)| *y += r);
        }
        plane.as_flattened_mut().iter_mut().for_each(|y| *y = y.clamp(epilogue.then.low, epilogue.then.high));
    }
}

/// Writes `dx`, the gradients of what is convolved (`u` above, not doubled), from the gradient `dy` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_data(shape: &Conv2d, dy: &[f32], weight: &[f32], dx: [&mut [f32]; 2]) {
    shape.check([dx[0].len(), dx[1].len()], weight.len(), dy.len());
    if shape.is_empty() {
        dx.into_iter().for_each(|dx| dx.fill(0.0));
        return;
    }
    let zero = [[0.0; LANES]];
    let epilogue = Epilogue { offsets: &zero, panels: 1, residual: None, pixels: 0, then: Clamp::NONE };
    let (source, outputs) = (Source::gradient(shape, dy), dx.map(vectors_mut));
    if winograd::serves(shape, shape.c_out) {
        winograd::convolve(shape, Direction::Data, &source, weight, &epilogue, outputs);
    } else {
        taps::convolve(shape, Direction::Data, &source, weight, &epilogue, outputs);
    }
}

/// Writes `dw`, the gradient of the weights summed over the batch, from the gradient `dy` of the output; and the
/// `sums` over pixels of `dy`, `[batch, c_out]`: the gradient of the shift, and of the bias when summed over images.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_weight(shape: &Conv2d, input: &Input, dy: &[f32], dw: &mut [f32], sums: Option<&mut [f32]>) {
    shape.check(input.maps.map(<[f32]>::len), dw.len(), dy.len());
    shape.check_input(input);
    if let Some(sums) = sums {
        assert_eq!(sums.len(), shape.batch * shape.c_out, "conv2d: length of sums for {shape:?}");
        sum_pixels(shape, vectors(dy), sums);
    }
    let source = Source::input(shape, input);
    if shape.is_empty() {
        dw.fill(0.0);
    } else if winograd::serves(shape, shape.all_in().max(shape.c_out)) {
        winograd::backward_weight(shape, &source, &Source::gradient(shape, dy), dw);
    } else {
        taps::backward_weight(shape, &source, vectors(dy), dw);
    }
}

/// `sums[n, o] = Σ_p dy[n, o, p]`
fn sum_pixels(shape: &Conv2d, dy: &[Lanes], sums: &mut [f32]) {
    let (pixels, all) = (shape.out_pixels(), panels(shape.c_out));
    if sums.is_empty() {
        return;
    }
    let of_image = sums.chunks_mut(shape.c_out).flat_map(|sums| sums.chunks_mut(LANES));
    for_each(of_image.zip(dy.chunks(pixels)), shape.batch * all * pixels * ELEMENTWISE, |(sums, panel)| {
        sums.copy_from_slice(&dispatch(Sum(panel))[..sums.len()]);
    });
}

/// The sum of every lane.
struct Sum<'a>(&'a [Lanes]);

impl Kernel for Sum<'_> {
    type Output = Lanes;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Lanes {
        s.lanes(panel::sum(s, self.0))
    }
}
