//! What depthwise convolution and pooling share: a window that slides over every panel of a map by itself.

use crate::blocks::for_each;
use crate::map::len;
use crate::simd::{Lanes, Simd};
use std::ops::Range;

/// The size of an operation on windows, channel by channel: `x [batch, channels, h, w]`, `y [batch, channels, out_h, out_w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Height of `x`.
    pub h: usize,
    /// Width of `x`.
    pub w: usize,
    /// Height and width of the window.
    pub kernel: (usize, usize),
    /// Step of the window, down and across.
    pub stride: usize,
    /// Pixels around the image: above and below, left and right. Smaller than the window.
    pub pad: (usize, usize),
}

impl Window {
    /// Height of `y`.
    ///
    /// # Panics
    /// If the window does not fit the padded image, lies in the padding whole, or `stride` is 0.
    pub fn out_h(&self) -> usize {
        self.out(self.h, self.kernel.0, self.pad.0)
    }

    /// Width of `y`.
    ///
    /// # Panics
    /// As [`out_h`](Self::out_h).
    pub fn out_w(&self) -> usize {
        self.out(self.w, self.kernel.1, self.pad.1)
    }

    fn out(&self, size: usize, kernel: usize, pad: usize) -> usize {
        let fits = kernel > 0 && size > 0 && size + 2 * pad >= kernel && pad < kernel && self.stride > 0;
        assert!(fits, "window: {self:?} has no output");
        (size + 2 * pad - kernel) / self.stride + 1
    }

    pub(crate) fn out_pixels(&self) -> usize {
        self.out_h() * self.out_w()
    }

    pub(crate) fn check(&self, x: usize, y: usize) {
        assert_eq!(x, len(self.batch, self.channels, self.h * self.w), "window: length of x for {self:?}");
        assert_eq!(y, len(self.batch, self.channels, self.out_pixels()), "window: length of y for {self:?}");
    }

    /// Does `task(panel, x, y)` for every panel of every image, `panel` counted through all images.
    pub(crate) fn for_panels(
        &self,
        x: &[Lanes],
        y: &mut [Lanes],
        task: impl Fn(usize, &[Lanes], &mut [Lanes]) + Sync + Send,
    ) {
        let work = y.len() * self.kernel.0 * self.kernel.1 * 16;
        let tasks = y.chunks_mut(self.out_pixels()).zip(x.chunks(self.h * self.w)).enumerate();
        for_each(tasks, work, |(panel, (y, x))| task(panel, x, y));
    }

    /// The rows or columns of a window that lie in the image: the `at`-th window along a side of `size` pixels.
    #[inline(always)]
    fn inside(&self, at: usize, kernel: usize, pad: usize, size: usize) -> Range<usize> {
        let first = at * self.stride;
        pad.saturating_sub(first).min(kernel)..(size + pad).saturating_sub(first).min(kernel)
    }
}

/// What is made of the pixels of a window.
pub(crate) trait Fold<S: Simd>: Copy {
    /// Of nothing.
    fn start(self, s: S) -> S::V;
    /// With one more pixel, which is tap `tap` of the window.
    fn step(self, s: S, acc: S::V, x: S::V, tap: usize) -> S::V;
    /// Of all pixels; `count` of them lie in the image.
    fn end(self, s: S, acc: S::V, count: usize) -> S::V;
}

/// Outputs that are computed together, to hide how long an addition takes.
const TOGETHER: usize = 8;

/// Slides a window over one panel. Taps are folded row by row, those outside of the image left out.
#[inline(always)]
pub(crate) fn slide<S: Simd, F: Fold<S>>(s: S, shape: &Window, fold: F, x: &[Lanes], y: &mut [Lanes]) {
    let (w, (_, kw), stride) = (shape.w, shape.kernel, shape.stride);
    for (row, y) in y.chunks_exact_mut(shape.out_w()).enumerate() {
        let rows = shape.inside(row, shape.kernel.0, shape.pad.0, shape.h);
        let mut column = 0;
        while column < y.len() {
            let last = shape.inside(column + TOGETHER - 1, kw, shape.pad.1, w);
            let whole = column * stride >= shape.pad.1 && last == (0..kw);
            if whole && column + TOGETHER <= y.len() {
                let mut acc = [fold.start(s); TOGETHER];
                for i in rows.clone() {
                    let from = &x[(row * stride + i - shape.pad.0) * w + column * stride - shape.pad.1..];
                    for j in 0..kw {
                        let from = &from[j..j + (TOGETHER - 1) * stride + 1];
                        for k in 0..TOGETHER {
                            acc[k] = fold.step(s, acc[k], s.load(&from[k * stride]), i * kw + j);
                        }
                    }
                }
                for k in 0..TOGETHER {
                    s.store(fold.end(s, acc[k], rows.len() * kw), &mut y[column + k]);
                }
                column += TOGETHER;
            } else {
                let columns = shape.inside(column, kw, shape.pad.1, w);
                let mut acc = fold.start(s);
                for i in rows.clone() {
                    for j in columns.clone() {
                        let at = (row * stride + i - shape.pad.0) * w + column * stride + j - shape.pad.1;
                        acc = fold.step(s, acc, s.load(&x[at]), i * kw + j);
                    }
                }
                s.store(fold.end(s, acc, rows.len() * columns.len()), &mut y[column]);
                column += 1;
            }
        }
    }
}
