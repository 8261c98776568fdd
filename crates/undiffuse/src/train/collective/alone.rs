//! One process.

use serde::{Deserialize, Serialize};

use super::{Collective, Decision, Summed};

/// One process that does all of it: its sums are the sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alone {}

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_in_order(&self, own: Summed) -> Summed {
        own
    }

    fn gather(&self, own: Vec<f64>) -> Vec<f64> {
        own
    }

    fn broadcast(&self, decision: Option<Decision>) -> Option<Decision> {
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks share all parts of a batch, each once and in order, whether or not they divide.
    #[test]
    fn parts_are_shared() {
        #[derive(Debug)]
        struct One(usize, usize);
        impl Collective for One {
            fn rank(&self) -> usize {
                self.0
            }
            fn size(&self) -> usize {
                self.1
            }
            fn sum_in_order(&self, own: Summed) -> Summed {
                own
            }
            fn gather(&self, own: Vec<f64>) -> Vec<f64> {
                own
            }
            fn broadcast(&self, decision: Option<Decision>) -> Option<Decision> {
                decision
            }
        }
        for (size, parts) in [(1, 1), (1, 5), (2, 8), (3, 8), (4, 2)] {
            let all: Vec<usize> = (0..size).flat_map(|rank| One(rank, size).share(parts)).collect();
            assert_eq!(all, (0..parts).collect::<Vec<_>>(), "{size} {parts}");
        }
        assert_eq!(Alone::default().share(4), 0..4);
    }
}
