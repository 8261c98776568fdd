//! Classifier-free guidance.

use burn::tensor::{Device, Tensor};

use super::{At, Cond, Denoise, Guess};

/// `D = D(∅) + scale · (D(cond) − D(∅))` \[Ho22, Eq. 6\]: 1 is the plain conditional model, more
/// trades variety for likeness to what was asked for. Both guesses run as one batch.
pub struct Guided<D> {
    /// The conditional denoiser, which has learned to go without.
    pub inner: D,
    /// Guidance scale.
    pub scale: f64,
}

/// Whether guidance of this scale evaluates what is asked twice, with it and without.
pub fn is_guided(scale: f64, cond: &Cond) -> bool {
    scale != 1.0 && !cond.is_empty()
}

impl<D: Denoise> Denoise for Guided<D> {
    /// The variance is that of the conditional model, as in \[Dhariwal21\].
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        if !is_guided(self.scale, cond) {
            return self.inner.denoise(x, at, cond);
        }
        let n = cond.len();
        let both = Cond::concat([cond, &cond.unconditional()]);
        let twice = Tensor::cat(vec![x.clone(), x], 0);
        let Guess { x0, variance } = self.inner.denoise(twice, &[at, at].concat(), &both);
        let (with, without) = (x0.clone().narrow(0, 0, n), x0.narrow(0, n, n));
        Guess { x0: without.clone() + (with - without) * self.scale, variance: variance.map(|v| v.narrow(0, 0, n)) }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
