//! The unit of memory.

use super::LANES;

/// Sixteen numbers that fill one cache line: the unit of every scratch buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub [f32; LANES]);

/// The same memory as plain numbers.
pub(crate) fn flat(lanes: &[Lanes]) -> &[f32] {
    // SAFETY: `Lanes` is sixteen `f32` and nothing else (64 bytes, `repr(C)`), so the slice covers `16 · len`
    // initialised `f32`, aligned, borrowed for as long as the result lives.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
}

/// The same memory as plain numbers, to be written.
pub(crate) fn flat_mut(lanes: &mut [Lanes]) -> &mut [f32] {
    // SAFETY: as in `flat`; the borrow is exclusive, and every bit pattern is a valid `f32`.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
}
