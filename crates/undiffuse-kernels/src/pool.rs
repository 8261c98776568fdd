//! Pooling: the largest, or the mean, of the pixels of a window, channel by channel.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::map::{len, vectors, vectors_mut};
use crate::panel::{self, panels};
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
pub use crate::window::Window;
use crate::window::{Fold, slide};

/// `y` = the largest pixel of each window; padding never is.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn max(shape: &Window, x: &[f32], y: &mut [f32]) {
    shape.check(x.len(), y.len());
    shape.for_panels(vectors(x), vectors_mut(y), |_, x, y| dispatch(Slide { shape, fold: Kind::Max, x, y }));
}

/// `y` = the mean of each window: of all its pixels, padding being zeros, with `count_padding`; else of those in the image.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn average(shape: &Window, count_padding: bool, x: &[f32], y: &mut [f32]) {
    shape.check(x.len(), y.len());
    let all = count_padding.then_some(shape.kernel.0 * shape.kernel.1);
    shape.for_panels(vectors(x), vectors_mut(y), |_, x, y| dispatch(Slide { shape, fold: Kind::Mean(all), x, y }));
}

/// `y[n, c]` = the mean of all pixels: `x` a map of `pixels` pixels, `y` plain `[batch, channels]`.
///
/// # Panics
/// If the lengths do not fit each other, or there are no pixels.
pub fn global_average(x: &[f32], channels: usize, pixels: usize, y: &mut [f32]) {
    let batch = y.len().checked_div(channels).unwrap_or(0);
    assert!(pixels > 0 && y.len() == batch * channels, "global_average: {channels} channels, {pixels} pixels");
    assert_eq!(x.len(), len(batch, channels, pixels), "global_average: length of x");
    if y.is_empty() {
        return;
    }
    let of_image = panels(channels) * pixels;
    let tasks = y.chunks_mut(channels).zip(vectors(x).chunks(of_image));
    for_each(tasks, x.len() * ELEMENTWISE, |(y, x)| {
        for (y, x) in y.chunks_mut(LANES).zip(x.chunks(pixels)) {
            y.copy_from_slice(&dispatch(Mean(x))[..y.len()]);
        }
    });
}

/// The two poolings.
#[derive(Clone, Copy)]
enum Kind {
    Max,
    /// By this number, or by how many pixels lie in the image.
    Mean(Option<usize>),
}

struct Slide<'a> {
    shape: &'a Window,
    fold: Kind,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl Kernel for Slide<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.fold {
            Kind::Max => slide(s, self.shape, Largest, self.x, self.y),
            Kind::Mean(by) => slide(s, self.shape, Sum { by }, self.x, self.y),
        }
    }
}

#[derive(Clone, Copy)]
struct Largest;

impl<S: Simd> Fold<S> for Largest {
    #[inline(always)]
    fn start(self, s: S) -> S::V {
        s.splat(f32::NEG_INFINITY)
    }
    #[inline(always)]
    fn step(self, s: S, acc: S::V, x: S::V, _: usize) -> S::V {
        s.max(acc, x)
    }
    #[inline(always)]
    fn end(self, _: S, acc: S::V, _: usize) -> S::V {
        acc
    }
}

#[derive(Clone, Copy)]
struct Sum {
    by: Option<usize>,
}

impl<S: Simd> Fold<S> for Sum {
    #[inline(always)]
    fn start(self, s: S) -> S::V {
        s.zero()
    }
    #[inline(always)]
    fn step(self, s: S, acc: S::V, x: S::V, _: usize) -> S::V {
        s.add(acc, x)
    }
    #[inline(always)]
    fn end(self, s: S, acc: S::V, count: usize) -> S::V {
        s.div(acc, s.splat(self.by.unwrap_or(count) as f32))
    }
}

/// The mean of every lane.
struct Mean<'a>(&'a [Lanes]);

impl Kernel for Mean<'_> {
    type Output = Lanes;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Lanes {
        s.lanes(s.div(panel::sum(s, self.0), s.splat(self.0.len() as f32)))
    }
}
