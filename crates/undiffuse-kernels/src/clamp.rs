//! The cheapest non-linearities, as a range that outputs are held to while they are written.

use crate::simd::Simd;

/// `min(max(y, low), high)`. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// At most 0.
    pub low: f32,
    /// At least 0.
    pub high: f32,
}

impl Clamp {
    /// Leaves every bit as it is.
    pub const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
    /// `max(y, 0)`.
    pub const RELU: Self = Self { low: 0.0, high: f32::INFINITY };
    /// `min(max(y, 0), 6)` \[Sandler18\].
    pub const RELU6: Self = Self { low: 0.0, high: 6.0 };

    /// The unused lanes of a map are zero and have to stay so.
    pub(crate) fn check(&self) {
        assert!(self.low <= 0.0 && self.high >= 0.0, "clamp: {self:?} does not hold 0");
    }

    /// Both ends as vectors.
    #[inline(always)]
    pub(crate) fn ends<S: Simd>(self, s: S) -> [S::V; 2] {
        [s.splat(self.low), s.splat(self.high)]
    }
}

/// A vector held to its range.
#[inline(always)]
pub(crate) fn clamp<S: Simd>(s: S, [low, high]: [S::V; 2], y: S::V) -> S::V {
    s.min(high, s.max(low, y))
}
