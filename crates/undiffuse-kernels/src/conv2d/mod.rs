//! Two-dimensional convolution (cross-correlation, as the field calls it), forward and backward.
//!
//! `y[n, o, p, q] = bias[o] + Σ_{c, i, j} weight[o, c, i, j] · x[n, c, p·stride + i − top, q·stride + j − left]`,
//! with zeros outside of the image.
//!
//! 3×3 convolutions of stride 1 and padding 1 with enough input channels use Winograd's algorithm, all others a matrix
//! product over the taps of the filter. The choice looks at channels and filter alone.

mod taps;
mod winograd;

use crate::sums::sum_planes;

/// The size of a convolution. Tensors are `x [batch, c_in, h, w]`, `weight [c_out, c_in, kh, kw]`,
/// `y [batch, c_out, out_h, out_w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Channels of `x`.
    pub c_in: usize,
    /// Height of `x`.
    pub h: usize,
    /// Width of `x`.
    pub w: usize,
    /// Channels of `y`.
    pub c_out: usize,
    /// Height and width of the filter.
    pub kernel: (usize, usize),
    /// Step of the filter, down and across.
    pub stride: usize,
    /// Zeros around the image: top, left, bottom, right.
    pub pad: [usize; 4],
}

impl Conv2d {
    /// Height of `y`.
    ///
    /// # Panics
    /// If the filter does not fit the padded image, or `stride` is 0.
    pub fn out_h(&self) -> usize {
        self.out(self.h + self.pad[0] + self.pad[2], self.kernel.0)
    }

    /// Width of `y`.
    ///
    /// # Panics
    /// If the filter does not fit the padded image, or `stride` is 0.
    pub fn out_w(&self) -> usize {
        self.out(self.w + self.pad[1] + self.pad[3], self.kernel.1)
    }

    fn out(&self, padded: usize, kernel: usize) -> usize {
        assert!(kernel > 0 && padded >= kernel && self.stride > 0, "conv2d: {self:?} has no output");
        (padded - kernel) / self.stride + 1
    }

    /// Pixels of an image of `x`.
    fn pixels(&self) -> usize {
        self.h * self.w
    }

    /// Pixels of an image of `y`.
    fn out_pixels(&self) -> usize {
        self.out_h() * self.out_w()
    }

    /// Products that make one element of `y`.
    fn taps(&self) -> usize {
        self.c_in * self.kernel.0 * self.kernel.1
    }

    fn check(&self, x: usize, weight: usize, y: usize, bias: Option<usize>) {
        assert_eq!(x, self.batch * self.c_in * self.pixels(), "conv2d: length of x or dx for {self:?}");
        assert_eq!(weight, self.c_out * self.taps(), "conv2d: length of weight or dw for {self:?}");
        assert_eq!(y, self.batch * self.c_out * self.out_pixels(), "conv2d: length of y or dy for {self:?}");
        if let Some(bias) = bias {
            assert_eq!(bias, self.c_out, "conv2d: length of bias or db for {self:?}");
        }
    }

    fn is_empty(&self) -> bool {
        self.batch == 0 || self.taps() == 0 || self.c_out == 0 || self.pixels() == 0
    }
}

/// The two products of a tensor with a filter bank.
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
        let (c_out, out_stride, c_in, in_stride) = (shape.c_out, shape.taps(), shape.c_in, of_plane);
        match self {
            Direction::Forward => Bank { outs: c_out, out_stride, ins: c_in, in_stride },
            Direction::Data => Bank { outs: c_in, out_stride: in_stride, ins: c_out, in_stride: out_stride },
        }
    }
}

/// Writes `y`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x.len(), weight.len(), y.len(), bias.map(<[f32]>::len));
    if shape.is_empty() {
        fill_planes(shape, bias, y);
    } else if winograd::serves(shape, shape.c_in) {
        winograd::forward(shape, x, weight, bias, y);
    } else {
        taps::forward(shape, x, weight, bias, y);
    }
}

/// Writes `dx`, the gradient of the input, from the gradient `dy` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_data(shape: &Conv2d, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    shape.check(dx.len(), weight.len(), dy.len(), None);
    if shape.is_empty() {
        dx.fill(0.0);
    } else if winograd::serves(shape, shape.c_out) {
        winograd::backward_data(shape, dy, weight, dx);
    } else {
        taps::backward_data(shape, dy, weight, dx);
    }
}

/// Writes `dw` and `db`, the gradients of weight and bias summed over the batch, from the gradient `dy` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward_weight(shape: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    shape.check(x.len(), dw.len(), dy.len(), db.as_ref().map(|b| b.len()));
    if let Some(db) = db {
        sum_planes(dy, shape.out_pixels(), db);
    }
    if shape.is_empty() {
        dw.fill(0.0);
    } else if winograd::serves(shape, shape.c_in.max(shape.c_out)) {
        winograd::backward_weight(shape, x, dy, dw);
    } else {
        taps::backward_weight(shape, x, dy, dw);
    }
}

fn fill_planes(shape: &Conv2d, bias: Option<&[f32]>, y: &mut [f32]) {
    y.fill(0.0);
    if let (Some(bias), true) = (bias, shape.c_out > 0) {
        for (i, plane) in y.chunks_mut(shape.out_pixels()).enumerate() {
            plane.fill(bias[i % shape.c_out]);
        }
    }
}
