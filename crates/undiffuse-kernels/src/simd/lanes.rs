//! The unit of memory.

use super::LANES;

/// Sixteen numbers: a vector in memory, a pixel of a panel, a row of a matrix.
pub(crate) type Lanes = [f32; LANES];

/// [`Lanes`] that fill one cache line: what scratch buffers are made of.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct CacheLine(Lanes);

/// The same memory as lanes.
pub(crate) fn lanes(lines: &[CacheLine]) -> &[Lanes] {
    // SAFETY: `CacheLine` is one `Lanes` and nothing else (64 bytes, `repr(C)`), so the slice covers `len` initialised
    // `Lanes`, aligned, borrowed for as long as the result lives.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len()) }
}

/// The same memory as lanes, to be written.
pub(crate) fn lanes_mut(lines: &mut [CacheLine]) -> &mut [Lanes] {
    // SAFETY: as in `lanes`; the borrow is exclusive, and every bit pattern is a valid `f32`.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len()) }
}
