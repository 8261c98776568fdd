//! Averages of the weights along training.

use burn::tensor::Tensor;

use super::networks::Learned;

/// A power-function average: weights of `t` steps count as `t^γ` \[Karras24, Eq. 121\], which needs
/// no warm-up and stays as wide, relative to the run so far, as it was asked to be.
pub struct Average {
    /// Relative width: the standard deviation of the profile as a share of the run's length.
    pub width: f64,
    /// Flat parameters, in the networks' order.
    pub values: Vec<Tensor<1>>,
}

impl Average {
    /// An average that starts as the networks themselves.
    pub fn new(width: f64, networks: &impl Learned) -> Self {
        let mut values = Vec::new();
        networks.for_each(|p| values.push(p.value.inner()));
        Self { width, values }
    }

    /// How far the average moves toward the weights after step number `step` (the first is 1).
    pub fn rate(&self, step: u64) -> f64 {
        1.0 - (1.0 - 1.0 / step as f64).powf(exponent(self.width) + 1.0)
    }

    /// A copy of the networks with the averaged weights, without gradients.
    pub fn networks<N: Learned>(&self, networks: &N) -> N {
        let mut values = self.values.iter();
        networks.valid().map(|_, _| values.next().expect("an average has the networks' parameters").clone())
    }
}

/// How far an average of relative width `width` stands behind the weights, as a share of the run: its profile `t^γ` has its
/// mean at `(γ+1) / (γ+2)`.
pub fn lag(width: f64) -> f64 {
    1.0 / (exponent(width) + 2.0)
}

/// The exponent γ whose profile has relative width `σ`: `σ² = (γ+1) / ((γ+2)² (γ+3))` \[Karras24, Eq. 123\].
fn exponent(width: f64) -> f64 {
    let width_of = |g: f64| ((g + 1.0) / ((g + 2.0).powi(2) * (g + 3.0))).sqrt();
    let (mut low, mut high) = (0.0f64, 1e4f64);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if width_of(middle) > width { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::exponent;

    /// The pairs that \[Karras24\] prints: σ_rel 0.05 is γ ≈ 16.97, 0.10 is γ ≈ 6.94.
    #[test]
    fn exponents_are_those_of_the_paper() {
        assert!((exponent(0.05) - 16.97).abs() < 0.01, "{}", exponent(0.05));
        assert!((exponent(0.10) - 6.94).abs() < 0.01, "{}", exponent(0.10));
    }
}
