//! Inpainting: part of the picture is known.

use burn::tensor::{Device, Tensor};

use super::{At, Cond, Denoise};

/// Where the picture is known, the guess *is* the known picture; elsewhere it is the model's.
///
/// Every solver then walks the known pixels along their own exact path and ends on them, while the
/// model sees them, properly noisy, as context for the rest.
pub struct Inpaint<D> {
    /// The model.
    pub inner: D,
    /// Known picture `[1, C, H, W]` in [−1, 1].
    pub known: Tensor<4>,
    /// `[1, 1, H, W]`: 1 where the model paints, 0 where the picture is known.
    pub mask: Tensor<4>,
}

impl<D: Denoise> Denoise for Inpaint<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Tensor<4> {
        let guess = self.inner.denoise(x, at, cond);
        guess * self.mask.clone() + self.known.clone() * (1.0 - self.mask.clone())
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
