//! Posterior sampling: the model times what is known of one picture.

use burn::tensor::{Device, Tensor};

use super::{At, Cond, Denoise, Guess, per_image};
use crate::codec::AnyCodec;

/// The distribution `p(x0) r(x0)` for `r` a Gaussian around an observed picture \[Sohl15, section 2.5\]: denoising where the
/// observation is noisy, inpainting where parts of it are exact and others unknown.
///
/// The reverse kernel is multiplied by `r` \[Sohl15, Eq. 22\], which moves its mean along the slope of `ln r` \[Sohl15,
/// Eq. 61\]. Written as a guess, with `tau² = sigma² / (alpha² +
/// sigma²)` for what `x_t` leaves open of data of unit variance, `D' = (D + tau² P y) / (1 + tau² P)`: exact for Gaussian data
/// of unit variance, and for other data the better the less noise is left.
pub struct Posterior<D> {
    /// The model.
    pub inner: D,
    /// Between pictures and what the model diffuses.
    pub codec: AnyCodec,
    /// What was observed, `y [1, C, H, W]`, in the model's pixel range.
    pub observed: Tensor<4>,
    /// Its precision `P = 1 / std² [1, 1, H, W]`; 0 where nothing is known.
    pub precision: Tensor<4>,
}

impl<D: Denoise> Denoise for Posterior<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let open = |at: &At| (at.level.sigma / at.level.scale()).powi(2);
        let gain = per_image(at.iter().map(open), &x.device()) * self.precision.clone();
        let Guess { x0, variance } = self.inner.denoise(x, at, cond);
        let observed = |x: Tensor<4>| (x + gain.clone() * self.observed.clone()) / (gain.clone() + 1.0);
        Guess { x0: self.codec.edit(x0, &observed), variance }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
