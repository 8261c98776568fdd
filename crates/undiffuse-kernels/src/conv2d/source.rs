//! Where a convolution reads: maps side by side, normalised and activated on the way, every pixel doubled if asked.

use super::{Conv2d, Input};
use crate::activation::{self, Activation};
use crate::map::vectors;
use crate::norm::apply;
use crate::panel::panels;
use crate::simd::{Lanes, Simd};

/// What a product reads.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    maps: [&'a [Lanes]; 2],
    /// Panels of each map.
    panels: [usize; 2],
    /// Height and width of the maps.
    h: usize,
    w: usize,
    /// `[image][a, b][panel]`.
    coefficients: Option<&'a [Lanes]>,
    activation: Activation,
    /// Every pixel is `1 << doubled` pixels of the image, down and across.
    doubled: u32,
}

/// One panel of one image of a [`Source`].
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, V> {
    pixels: &'a [Lanes],
    w: usize,
    affine: Option<(V, V)>,
    activation: Activation,
    doubled: u32,
}

impl<'a> Source<'a> {
    /// The inputs of a convolution.
    pub(super) fn input(shape: &Conv2d, input: &Input<'a>) -> Self {
        Self {
            maps: input.maps.map(vectors),
            panels: shape.c_in.map(panels),
            h: shape.h,
            w: shape.w,
            coefficients: input.coefficients.map(vectors),
            activation: input.activation,
            doubled: shape.upsample.into(),
        }
    }

    /// The gradient of its output.
    pub(super) fn gradient(shape: &Conv2d, dy: &'a [f32]) -> Self {
        Self {
            maps: [vectors(dy), &[]],
            panels: [panels(shape.c_out), 0],
            h: shape.out_h(),
            w: shape.out_w(),
            coefficients: None,
            activation: Activation::Identity,
            doubled: 0,
        }
    }

    /// Height and width of the image.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.h << self.doubled, self.w << self.doubled)
    }

    /// One panel of one image.
    #[inline(always)]
    pub(super) fn panel<S: Simd>(&self, s: S, image: usize, panel: usize) -> Panel<'a, S::V> {
        let [first, second] = self.panels;
        let (map, index) = if panel < first {
            (self.maps[0], image * first + panel)
        } else {
            (self.maps[1], image * second + panel - first)
        };
        let pixels = self.h * self.w;
        let affine = self.coefficients.map(|c| {
            let at = 2 * image * (first + second) + panel;
            (s.load(&c[at]), s.load(&c[at + first + second]))
        });
        Panel {
            pixels: &map[index * pixels..][..pixels],
            w: self.w,
            affine,
            activation: self.activation,
            doubled: self.doubled,
        }
    }
}

impl<V: Copy> Panel<'_, V> {
    /// Writes a row of the image.
    #[inline(always)]
    pub(super) fn row<S: Simd<V = V>>(&self, s: S, row: usize, to: &mut [Lanes]) {
        let from = &self.pixels[(row >> self.doubled) * self.w..][..self.w];
        if self.doubled == 0 {
            self.run(s, from, to);
        } else {
            for (to, from) in to.chunks_exact_mut(2).zip(from) {
                let v = self.read(s, from);
                s.store(v, &mut to[0]);
                s.store(v, &mut to[1]);
            }
        }
    }

    /// Writes pixels that follow each other in an image that is not doubled.
    #[inline(always)]
    pub(super) fn run<S: Simd<V = V>>(&self, s: S, from: &[Lanes], to: &mut [Lanes]) {
        match self.affine {
            Some((a, b)) => apply(s, from, a, b, self.activation, to),
            None => {
                for (to, from) in to.iter_mut().zip(from) {
                    s.store(s.load(from), to);
                }
            }
        }
    }

    /// The pixel of the image at a place within it.
    #[inline(always)]
    pub(super) fn at<S: Simd<V = V>>(&self, s: S, row: usize, column: usize) -> V {
        self.read(s, &self.pixels[(row >> self.doubled) * self.w + (column >> self.doubled)])
    }

    /// The pixels of the map, if they are those of the image; to be read with [`Self::run`].
    #[inline(always)]
    pub(super) fn whole(&self) -> Option<&[Lanes]> {
        (self.doubled == 0).then_some(self.pixels)
    }

    #[inline(always)]
    fn read<S: Simd<V = V>>(&self, s: S, from: &Lanes) -> V {
        match self.affine {
            Some((a, b)) => activation::value(s, self.activation, s.mul_add(s.load(from), a, b)),
            None => s.load(from),
        }
    }
}
