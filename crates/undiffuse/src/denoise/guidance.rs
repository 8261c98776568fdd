//! Classifier-free guidance.

use burn::tensor::{Device, Tensor};

use super::{At, Cond, Denoise, Guess};

/// `D = D(∅) + scale · (D(class) − D(∅))` \[Ho22, Eq. 6\]: 1 is the plain conditional model, more
/// trades variety for likeness to the class. Both guesses run as one batch.
pub struct Guided<D> {
    /// The class-conditional denoiser.
    pub inner: D,
    /// The label that stands for "no class".
    pub null: u32,
    /// Guidance scale.
    pub scale: f64,
}

impl<D: Denoise> Denoise for Guided<D> {
    /// The variance is that of the conditional model, as in \[Dhariwal21\].
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let labels = match &cond.labels {
            Some(labels) if self.scale != 1.0 => labels,
            _ => return self.inner.denoise(x, at, cond),
        };
        let n = labels.len();
        let both = Cond { labels: Some(labels.iter().copied().chain(std::iter::repeat_n(self.null, n)).collect()) };
        let twice = Tensor::cat(vec![x.clone(), x], 0);
        let Guess { x0, variance } = self.inner.denoise(twice, &[at, at].concat(), &both);
        let (with, without) = (x0.clone().narrow(0, 0, n), x0.narrow(0, n, n));
        Guess { x0: without.clone() + (with - without) * self.scale, variance: variance.map(|v| v.narrow(0, 0, n)) }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
