//! The unit of memory.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

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

/// So many lines of zeros. Memory that is new from the system is not gone over once more: its pages are cleared when they are first
/// touched, by the threads that do.
pub(crate) fn zeroed(len: usize) -> Vec<CacheLine> {
    let layout = Layout::array::<CacheLine>(len).expect("a buffer fits the address space");
    if layout.size() == 0 {
        return Vec::new();
    }
    // SAFETY: the layout is that of `len` lines, and not empty.
    let first = unsafe { alloc_zeroed(layout) }.cast::<CacheLine>();
    if first.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: the global allocator gave the memory for this layout, and zeros are lines.
    unsafe { Vec::from_raw_parts(first, len, len) }
}
