//! Bytes in memory or in a mapped file.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes that somebody else may own.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A part of a file.
    Mapped { map: Arc<Mmap>, range: Range<usize> },
    /// Memory.
    Owned(Vec<u8>),
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Owned(Vec::new())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped { map, range } => &map[range.clone()],
            Bytes::Owned(bytes) => bytes,
        }
    }
}
