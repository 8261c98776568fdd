//! Training and held-out pictures.

use sha2::{Digest, Sha256};

use crate::Dataset;

/// How many pictures to hold out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldOut {
    /// This share of all, from 0 to 1.
    Fraction(f64),
    /// This many.
    Count(usize),
}

/// Indices of a dataset, divided; each list is in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pictures to train on.
    pub train: Vec<usize>,
    /// Pictures that training must not see.
    pub held_out: Vec<usize>,
}

impl Dataset {
    /// Divides the pictures. At most half are held out, so a handful of pictures may give none.
    ///
    /// A picture's place depends on `seed`, its name and the amount alone: pictures are ordered by the SHA-256 of seed and
    /// name and the first ones are held out. So adding pictures moves few of the old ones.
    pub fn split(&self, amount: HeldOut, seed: u64) -> Split {
        let n = self.len();
        let wanted = match amount {
            HeldOut::Fraction(share) => (share.clamp(0.0, 1.0) * n as f64).round() as usize,
            HeldOut::Count(count) => count,
        };
        let rank = |i: usize| {
            let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(self.name(i)).finalize();
            (<[u8; 32]>::from(hash), i)
        };
        let mut order: Vec<_> = (0..n).map(rank).collect();
        order.sort_unstable();
        let mut held_out: Vec<usize> = order.into_iter().take(wanted.min(n / 2)).map(|(_, i)| i).collect();
        held_out.sort_unstable();
        let train = (0..n).filter(|i| held_out.binary_search(i).is_err()).collect();
        Split { train, held_out }
    }
}
