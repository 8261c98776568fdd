//! A curve of any length in bounded memory.

/// Most bins that a curve keeps, an even number: more than a terminal has columns of dots.
const BINS: usize = 1024;
/// The running mean looks back over this share of the curve.
const SMOOTHING: f64 = 1.0 / 40.0;

/// Points `(x, y)` with rising `x`, averaged in bins of equally many points. When the bins are full,
/// neighbours are merged, so that the whole curve is always there at an even resolution.
pub struct Curve {
    bins: Vec<Bin>,
    per_bin: u64,
    last: Option<f64>,
}

#[derive(Clone, Copy)]
struct Bin {
    points: u64,
    x: f64,
    y: f64,
}

impl Bin {
    fn merge(self, other: Bin) -> Bin {
        let points = self.points + other.points;
        let share = other.points as f64 / points as f64;
        Bin { points, x: self.x + (other.x - self.x) * share, y: self.y + (other.y - self.y) * share }
    }
}

impl Default for Curve {
    fn default() -> Self {
        Self { bins: Vec::new(), per_bin: 1, last: None }
    }
}

impl Curve {
    /// Adds a point; one that is not finite is left out.
    pub fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        self.last = Some(y);
        let bin = Bin { points: 1, x, y };
        match self.bins.last_mut() {
            Some(last) if last.points < self.per_bin => *last = last.merge(bin),
            _ => {
                if self.bins.len() == BINS {
                    self.bins = self.bins.chunks(2).map(|pair| pair[0].merge(pair[1])).collect();
                    self.per_bin *= 2;
                }
                self.bins.push(bin);
            }
        }
    }

    /// The newest value, as it was given.
    pub fn last(&self) -> Option<f64> {
        self.last
    }

    /// The bins' means.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.bins.iter().map(|bin| (bin.x, bin.y)).collect()
    }

    /// An exponential running mean over a fixed share of the curve, without the bias of its start.
    pub fn smoothed(&self) -> Vec<(f64, f64)> {
        let keep = 1.0 - 1.0 / (self.bins.len() as f64 * SMOOTHING).max(1.0);
        let (mut sum, mut weight) = (0.0, 0.0);
        let smooth = |bin: &Bin| {
            let kept = keep.powf(bin.points as f64 / self.per_bin as f64);
            sum = sum * kept + bin.y * (1.0 - kept);
            weight = weight * kept + (1.0 - kept);
            (bin.x, sum / weight)
        };
        self.bins.iter().map(smooth).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_points_keep_their_mean_and_their_ends() {
        let mut curve = Curve::default();
        for i in 0..1_000_000 {
            curve.push(i as f64, (i % 2) as f64 + i as f64 * 1e-6);
        }
        curve.push(1e6, f64::NAN);
        let points = curve.points();
        assert!(points.len() <= BINS && points.len() >= BINS / 2);
        assert!(points[0].0 < 2000.0 && points[points.len() - 1].0 > 997_000.0);
        // The mean of the alternation is a half; the slope stays.
        assert!(points.iter().all(|&(x, y)| (y - 0.5 - x * 1e-6).abs() < 1e-3));
        assert_eq!(curve.last(), Some(1.0 + 0.999999));
    }

    #[test]
    fn the_running_mean_of_a_constant_is_the_constant_from_its_first_point() {
        let mut curve = Curve::default();
        (0..300).for_each(|i| curve.push(i as f64, 2.5));
        assert!(curve.smoothed().iter().all(|&(_, y)| (y - 2.5).abs() < 1e-12));
        let mut noisy = Curve::default();
        (0..1000).for_each(|i| noisy.push(i as f64, if i % 2 == 0 { 0.0 } else { 1.0 }));
        assert!(noisy.smoothed()[500..].iter().all(|&(_, y)| (y - 0.5).abs() < 0.05));
    }
}
