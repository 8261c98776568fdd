//! Sums whose order is fixed by the length of what is summed.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::scratch::Scratch;
use crate::simd::{LANES, Lanes};

/// Vectors that sum side by side, so that an addition need not wait for the one before.
pub(crate) const SUMS: usize = 4;

/// Adds the shares of `chunks` chunks, elementwise and in order, into one buffer of `len` lanes.
///
/// A share is computed in parts of `part` lanes: `compute(chunk, first, lanes)` adds to the zeroed `lanes`, which
/// begin at `first`; all of them cost about `work` multiply-adds. As many shares are held at once as there are threads; their number changes no bit.
pub(crate) fn add_in_order(
    chunks: usize,
    len: usize,
    part: usize,
    work: usize,
    compute: impl Fn(usize, usize, &mut [Lanes]) + Sync,
) -> Scratch {
    let mut total = Scratch::zeroed(len);
    if chunks == 1 {
        for_each(total.chunks_mut(part).enumerate(), work, |(i, lanes)| compute(0, i * part, lanes));
        return total;
    }
    let at_once = rayon::current_num_threads().min(chunks);
    let mut shares = Scratch::new(at_once * len);
    for first in (0..chunks).step_by(at_once) {
        let shares = &mut shares[..at_once.min(chunks - first) * len];
        let tasks = shares.chunks_mut(len).enumerate().flat_map(|(c, share)| {
            share.chunks_mut(part).enumerate().map(move |(i, lanes)| (first + c, i * part, lanes))
        });
        for_each(tasks, work / chunks * at_once, |(chunk, first, lanes)| {
            lanes.fill([0.0; LANES]);
            compute(chunk, first, lanes);
        });
        for_each(total.chunks_mut(ADDED).enumerate(), len * LANES * ELEMENTWISE, |(i, total)| {
            for share in shares.chunks(len) {
                add(total, &share[i * ADDED..]);
            }
        });
    }
    total
}

/// `total += share`, elementwise.
pub(crate) fn add(total: &mut [Lanes], share: &[Lanes]) {
    for (total, share) in total.iter_mut().zip(share) {
        for (total, share) in total.iter_mut().zip(share) {
            *total += share;
        }
    }
}

/// Lanes added by a thread at a time; without influence on the result.
const ADDED: usize = 1 << 10;
