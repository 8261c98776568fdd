//! Generative adversarial networks, the other road, to stand beside diffusion on the same clock.

use undiffuse::burn::tensor::{Tensor, activation};

use crate::adam::Adam;
use crate::mlp::Net;

/// `E[−ln d(real)] + E[−ln(1 − d(fake))]` from logits `[B, 1]` \[Goodfellow14, Eq. 1\].
pub fn discriminator_loss(real: Tensor<2>, fake: Tensor<2>) -> Tensor<1> {
    activation::softplus(-real, 1.0).mean() + activation::softplus(fake, 1.0).mean()
}

/// `E[−ln d(fake)]`, which does not saturate where the discriminator is sure \[Goodfellow14, section 3\].
pub fn generator_loss(fake: Tensor<2>) -> Tensor<1> {
    activation::softplus(-fake, 1.0).mean()
}

/// The two players.
pub struct Gan<G, D> {
    /// From latents to samples.
    pub generator: Adam<G>,
    /// From samples to one logit: real or not.
    pub discriminator: Adam<D>,
    /// Learning rate of both.
    pub lr: f64,
}

impl<G: Net, D: Net> Gan<G, D> {
    /// Adam with the first decay at 1/2, as both players are usually trained \[Radford16, section 3\].
    pub fn new(generator: G, discriminator: D, lr: f64) -> Self {
        const BETAS: [f64; 2] = [0.5, 0.999];
        Self { generator: Adam::new(generator, BETAS), discriminator: Adam::new(discriminator, BETAS), lr }
    }

    /// One step of each on the real samples and latents of a batch.
    pub fn round(&mut self, real: Tensor<2>, latents: Tensor<2>) {
        let fake = self.generator.module().forward(latents);
        let judge = |x| self.discriminator.module().forward(x);
        let loss = discriminator_loss(judge(real), judge(fake.clone().detach()));
        self.discriminator.descend(loss, self.lr);
        let loss = generator_loss(self.discriminator.module().forward(fake));
        self.generator.descend(loss, self.lr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mlp::{host, rows};

    /// At logit `l` the discriminator believes `sigmoid(l)`; where it can't tell (`l = 0`) the losses are `2 ln 2` and
    /// `ln 2` \[Goodfellow14, Theorem 1\].
    #[test]
    fn losses_at_known_beliefs() {
        let device = undiffuse::device::open("cpu").unwrap();
        let logits = |l: f32| rows(vec![l; 4], 1, &device);
        let value = |loss: Tensor<1>| f64::from(host(loss.reshape([1, 1]))[0]);
        assert!((value(discriminator_loss(logits(0.0), logits(0.0))) - 2.0 * 2f64.ln()).abs() < 1e-6);
        assert!((value(generator_loss(logits(0.0))) - 2f64.ln()).abs() < 1e-6);
        let sure = -(1.0 / (1.0 + (-3f64).exp())).ln();
        assert!((value(discriminator_loss(logits(3.0), logits(-3.0))) - 2.0 * sure).abs() < 1e-6);
    }
}
