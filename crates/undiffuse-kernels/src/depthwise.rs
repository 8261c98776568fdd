//! Depthwise convolution: every channel has one filter of its own [Chollet17; Howard17, MobileNet].
//!
//! `y[n, c, p, q] = clamp(bias[c] + Σ_{i, j} weight[c, i, j] · x[n, c, p·stride + i − top, q·stride + j − left])`, zeros
//! outside of the image.

use crate::clamp::{Clamp, clamp};
use crate::map::{vectors, vectors_mut};
use crate::panel::panels;
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
pub use crate::window::Window;
use crate::window::{Fold, slide};

/// Writes `y`; `weight` is plain `[channels, kh, kw]`, `bias` `[channels]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Window, x: &[f32], weight: &[f32], bias: Option<&[f32]>, then: Clamp, y: &mut [f32]) {
    let taps = shape.kernel.0 * shape.kernel.1;
    shape.check(x.len(), y.len());
    then.check();
    assert_eq!(weight.len(), shape.channels * taps, "depthwise: length of weight for {shape:?}");
    assert_eq!(bias.map_or(shape.channels, <[f32]>::len), shape.channels, "depthwise: length of bias for {shape:?}");
    if y.is_empty() {
        return;
    }
    // [panel][bias, taps]
    let all = panels(shape.channels);
    let mut packed = Scratch::zeroed(all * (taps + 1));
    for (c, filter) in weight.chunks_exact(taps).enumerate() {
        let panel = &mut packed[c / LANES * (taps + 1)..][..taps + 1];
        panel[0][c % LANES] = bias.map_or(0.0, |bias| bias[c]);
        panel[1..].iter_mut().zip(filter).for_each(|(to, w)| to[c % LANES] = *w);
    }
    shape.for_panels(vectors(x), vectors_mut(y), |panel, x, y| {
        let filter = &packed[panel % all * (taps + 1)..][..taps + 1];
        dispatch(Forward { shape, filter, then, x, y });
    });
}

struct Forward<'a> {
    shape: &'a Window,
    /// Bias, taps.
    filter: &'a [Lanes],
    then: Clamp,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, filter, then, x, y } = self;
        let fold = Products { bias: s.load(&filter[0]), taps: &filter[1..], ends: then.ends(s) };
        slide(s, shape, fold, x, y);
    }
}

/// A chain of fused multiply-adds that begins with the bias.
#[derive(Clone, Copy)]
struct Products<'a, V> {
    bias: V,
    taps: &'a [Lanes],
    ends: [V; 2],
}

impl<S: Simd> Fold<S> for Products<'_, S::V> {
    #[inline(always)]
    fn start(self, _: S) -> S::V {
        self.bias
    }
    #[inline(always)]
    fn step(self, s: S, acc: S::V, x: S::V, tap: usize) -> S::V {
        s.mul_add(x, s.load(&self.taps[tap]), acc)
    }
    #[inline(always)]
    fn end(self, s: S, acc: S::V, _: usize) -> S::V {
        clamp(s, self.ends, acc)
    }
}
