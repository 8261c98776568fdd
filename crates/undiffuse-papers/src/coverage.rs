//! How evenly samples fall on the things they should cover: modes of a mixture, classes of pictures.

use crate::mixture::{Mixture, pairs};

/// Samples counted by what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Samples that show each mode.
    pub counts: Vec<usize>,
    /// All samples, those that show no mode included.
    pub samples: usize,
}

impl Coverage {
    /// Points by the mode of `mixture` that is nearest; those farther than three standard deviations from every mode
    /// count for none \[Srivastava17; Lin18\].
    pub fn of_modes(points: &[f32], mixture: &Mixture) -> Self {
        let mut counts = vec![0; mixture.means.len()];
        for point in pairs(points) {
            let (mode, distance) = mixture.nearest(point);
            counts[mode] += usize::from(distance < 3.0 * mixture.std);
        }
        Self { counts, samples: points.len() / 2 }
    }

    /// Modes that at least one sample shows.
    pub fn found(&self) -> usize {
        self.counts.iter().filter(|c| **c > 0).count()
    }

    /// The share of samples that show a mode.
    pub fn quality(&self) -> f64 {
        self.counts.iter().sum::<usize>() as f64 / self.samples.max(1) as f64
    }

    /// Share of each mode among the samples that show one.
    pub fn shares(&self) -> Vec<f64> {
        let total = self.counts.iter().sum::<usize>().max(1) as f64;
        self.counts.iter().map(|c| *c as f64 / total).collect()
    }

    /// Entropy of the shares in nats; `ln(modes)` when all are equal.
    pub fn entropy(&self) -> f64 {
        self.shares().iter().filter(|s| **s > 0.0).fold(0.0, |sum, s| sum - s * s.ln())
    }

    /// `KL(shares ‖ equal shares)` in nats: what the literature calls the reverse KL, 0 when all are equal.
    pub fn reverse_kl(&self) -> f64 {
        (self.counts.len() as f64).ln() - self.entropy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_have_no_divergence() {
        let even = Coverage { counts: vec![3; 8], samples: 24 };
        assert_eq!((even.found(), even.quality()), (8, 1.0));
        assert!(even.reverse_kl().abs() < 1e-12);
        let one = Coverage { counts: vec![0, 5, 0, 0], samples: 10 };
        assert_eq!((one.found(), one.quality()), (1, 0.5));
        assert!((one.reverse_kl() - 4f64.ln()).abs() < 1e-12);
    }

    /// Samples of the grid itself: all modes, and `1 − exp(−9/2)` of a round Gaussian lies within three deviations.
    #[test]
    fn the_truth_covers_itself() {
        let grid = Mixture::grid();
        let truth = Coverage::of_modes(&grid.sample(20_000, 0.0, 0, 0), &grid);
        assert_eq!(truth.found(), 25);
        assert!((truth.quality() - (1.0 - (-4.5f64).exp())).abs() < 0.004, "{}", truth.quality());
        assert!(truth.reverse_kl() < 0.003);
    }
}
