//! Buffers that are reused: a thread keeps what it has returned, so a steady state allocates nothing.

use crate::simd::{CacheLine, LANES, Lanes, lanes, lanes_mut, zeroed};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static FREE: RefCell<Vec<Vec<CacheLine>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers a thread keeps for later; more are returned to the system.
const KEPT: usize = 24;

/// A borrowed buffer of [`Lanes`]; dropping it returns it to the thread that drops it.
pub(crate) struct Scratch {
    buffer: Vec<CacheLine>,
    len: usize,
}

impl Scratch {
    /// A buffer of `len` lanes with unspecified (but initialised) contents.
    pub(crate) fn new(len: usize) -> Self {
        let mut buffer = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, else the largest, which then grows.
            let fits = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
            let best = fits.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
            best.map(|i| free.swap_remove(i)).unwrap_or_default()
        });
        if buffer.len() < len {
            drop(std::mem::take(&mut buffer)); // growing need not copy
            buffer = zeroed(len);
        }
        Self { buffer, len }
    }

    /// A buffer of `len` lanes, all zero.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut scratch = Self::new(len);
        scratch.fill([0.0; LANES]);
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that is going away has no list any more: then the buffer just goes.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

impl Deref for Scratch {
    type Target = [Lanes];
    fn deref(&self) -> &[Lanes] {
        lanes(&self.buffer[..self.len])
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        lanes_mut(&mut self.buffer[..self.len])
    }
}
