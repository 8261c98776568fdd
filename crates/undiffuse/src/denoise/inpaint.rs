//! Inpainting: part of the picture is known.

use burn::tensor::{Device, Tensor};

use super::{At, Cond, Denoise, Guess};
use crate::codec::AnyCodec;

/// Where the picture is known, the guess *is* the known picture; elsewhere it is the model's, and so is a learned variance
/// everywhere.
///
/// Every solver then walks the known pixels along their own exact path and ends on them, while the
/// model sees them, properly noisy, as context for the rest.
pub struct Inpaint<D> {
    inner: D,
    codec: AnyCodec,
    /// As [`keep`](crate::codec::Codec::keep) needs it.
    known: [Tensor<4>; 2],
}

impl<D> Inpaint<D> {
    /// A model of what this codec makes of pictures, with what the codec makes of a [known](crate::codec::Codec::known) one.
    pub fn new(inner: D, codec: AnyCodec, known: [Tensor<4>; 2]) -> Self {
        Self { inner, codec, known }
    }
}

impl<D: Denoise> Denoise for Inpaint<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let Guess { x0, variance } = self.inner.denoise(x, at, cond);
        Guess { x0: self.codec.keep(x0, &self.known), variance }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

#[cfg(test)]
mod tests {
    use undiffuse_math::prelude::*;
    use undiffuse_math::recipe::Learned;
    use undiffuse_math::solver::Ddpm;

    use super::*;
    use crate::sample::{Noise, sample};

    /// Always guesses a black picture, and has learned that every step is as noisy as the forward process.
    struct Noisy(Device);

    impl Denoise for Noisy {
        fn denoise(&self, x: Tensor<4>, _: &[At], _: &Cond) -> Guess {
            Guess { x0: -x.ones_like(), variance: Some(x.ones_like()) }
        }

        fn device(&self) -> Device {
            self.0.clone()
        }
    }

    #[test]
    fn a_learned_variance_survives() {
        let device = Device::flex();
        let (schedule, spacing): (ScheduleKind, SpacingKind) = ("cosine".parse().unwrap(), "trailing".parse().unwrap());
        let plan = Grid::new(&*schedule, &*spacing, 8, Last::Clean).unwrap().plan(&Ddpm::default()).unwrap();
        let (shape, cond) = ([1, 4, 4], Cond::default());
        // The noisy pictures of a walk: its end is the guess, whatever the steps' noise was.
        let walk = |denoiser: &dyn Denoise| {
            let walk = sample(denoiser, &plan, Noise::Seeds(vec![3]), shape, &cond);
            let steps = walk.with_learned_variance(Learned::Range).map(|step| step.x.into_data());
            steps.map(|x| x.try_into_vec_as::<f32>().unwrap()).collect::<Vec<_>>()
        };
        // Nothing is known of the picture, so it is painted as if there were no mask.
        let (known, mask) = (Tensor::ones([1, 1, 4, 4], &device), Tensor::ones([1, 1, 4, 4], &device));
        let painted = walk(&Inpaint::new(Noisy(device.clone()), AnyCodec::default(), [known, mask]));
        assert_eq!(painted, walk(&Noisy(device)));
    }
}
