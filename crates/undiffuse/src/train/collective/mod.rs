//! Ranks: processes that train one network together.
//!
//! Every rank holds the same [learner](super) and takes a share of each batch's parts: subtrees of the sum over pictures. It adds
//! those itself; what is left is to move subtree sums and numbers between ranks and to add them in the tree's order, so that the
//! bits are those of one rank alone. Rank 0 looks at the clock; the others hear what it has decided.

mod alone;

use std::fmt::Debug;
use std::ops::Range;

use undiffuse_math::kind;

pub use alone::Alone;

use super::length::Decision;
use super::state::Summed;

/// How ranks reach each other.
pub trait Collective: Debug + Send + Sync {
    /// The number of this one, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The sum of what every rank has summed of its own pictures, added along the tree over ranks in their order.
    fn sum_in_order(&self, own: Summed) -> Summed;

    /// The numbers of all ranks, one rank after the other.
    fn gather(&self, own: Vec<f64>) -> Vec<f64>;

    /// What rank 0 has decided.
    fn broadcast(&self, decision: Option<Decision>) -> Option<Decision>;

    /// Which of so many parts of a batch this rank computes: as many as any other, in a row.
    fn share(&self, parts: usize) -> Range<usize> {
        let begin = |rank: usize| rank * parts / self.size();
        begin(self.rank())..begin(self.rank() + 1)
    }

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

kind! {
    /// Every way for ranks to reach each other, by name.
    pub enum CollectiveKind: Collective, "collective" {
        "alone" => Alone(Alone), "one process, which does all of it";
    }
}
