//! Small convolutional networks for grey 28×28 pictures, on the same kernels as the U-Nets: a generator, and a critic that
//! is a discriminator with one answer and a classifier with several.

use undiffuse::burn;
use undiffuse::burn::module::Module;
use undiffuse::burn::tensor::{Device, Tensor, activation};
use undiffuse::nn::init;
use undiffuse::nn::layers::{Conv2d, GroupNorm, Linear};
use undiffuse::nn::ops::{self, Activation, Added, Map, Norm};

use crate::mlp::Net;

/// Side of the pictures.
pub const SIDE: usize = 28;
/// Numbers that the generator starts from.
pub const LATENT: usize = 64;
const GROUPS: usize = 8;

/// Picks out of a norm layer what a convolution normalises its input with: group norm, then SiLU.
fn then(norm: &GroupNorm) -> Norm {
    norm.then(Some(Activation::Silu), None)
}

/// Latents `[B, 64]` → pictures `[B, 784]` in [−1, 1]: a map of 7×7, doubled twice \[after Radford16, Figure 1\].
#[derive(Module, Debug)]
pub struct Generator {
    start: Linear,
    norms: Vec<GroupNorm>,
    convs: Vec<Conv2d>,
    last: Conv2d,
    #[module(skip)]
    width: usize,
}

impl Generator {
    /// A generator whose middle map has `2 width` channels, a multiple of 8, on an autodiff device.
    pub fn new(width: usize, seed: u64, device: &Device) -> Self {
        let device = &device.clone().autodiff();
        let wide = 4 * width;
        let convs = [(wide, 2 * width), (2 * width, width)];
        let network = Self {
            start: Linear::new(LATENT, wide * 49, device),
            norms: [wide, 2 * width, width].map(|c| GroupNorm::new(GROUPS, c, 1e-5, device)).into(),
            convs: convs.map(|(c_in, c_out)| Conv2d::new(c_in, c_out, 3, device).upsampling()).into(),
            last: Conv2d::new(width, 1, 3, device),
            width,
        };
        init::initialize(network, seed)
    }
}

impl Net for Generator {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let batch = x.dims()[0];
        let start = self.start.forward(x).reshape([batch, 4 * self.width, 7, 7]);
        let layers = self.convs.iter().chain([&self.last]).zip(&self.norms);
        let x = layers.fold(Map::from(start), |x, (conv, norm)| conv.fused(x, Some(then(norm)), Added::default()));
        activation::tanh(x.into_tensor().reshape([batch, SIDE * SIDE]))
    }

    fn device(&self) -> Device {
        self.last.weight().device()
    }
}

/// Pictures `[B, 784]` → `[B, answers]`: halved twice, then one affine map \[after Radford16, section 3\].
#[derive(Module, Debug)]
pub struct Critic {
    convs: Vec<Conv2d>,
    norms: Vec<GroupNorm>,
    last: Linear,
}

impl Critic {
    /// A critic whose first map has `width` channels, a multiple of 8, on an autodiff device.
    pub fn new(width: usize, answers: usize, seed: u64, device: &Device) -> Self {
        let device = &device.clone().autodiff();
        let convs = [(1, width), (width, 2 * width)];
        let network = Self {
            convs: convs.map(|(c_in, c_out)| Conv2d::new(c_in, c_out, 3, device).strided(2, [1; 4])).into(),
            norms: [width, 2 * width].map(|c| GroupNorm::new(GROUPS, c, 1e-5, device)).into(),
            last: Linear::new(2 * width * 49, answers, device),
        };
        init::initialize(network, seed)
    }
}

impl Net for Critic {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let batch = x.dims()[0];
        let picture = Map::from(x.reshape([batch, 1, SIDE, SIDE]));
        let x = self.convs[0].forward(picture);
        let x = self.convs[1].fused(x, Some(then(&self.norms[0])), Added::default());
        let x = ops::normalize(x, then(&self.norms[1])).into_tensor();
        let [_, c, h, w] = x.dims();
        self.last.forward(x.reshape([batch, c * h * w]))
    }

    fn device(&self) -> Device {
        self.last.weight().device()
    }
}

/// Mean of `−ln p(label)` with `p` the softmax of `logits [B, classes]`.
pub fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let mut chosen = vec![0f32; batch * classes];
    labels.iter().enumerate().for_each(|(i, l)| chosen[i * classes + *l as usize] = 1.0);
    let chosen = crate::mlp::rows(chosen, classes, &logits.device());
    (activation::log_softmax(logits, 1) * chosen).sum() / -(batch as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::Adam;
    use crate::mlp::{host, rows};

    /// A batch of latents becomes pictures, and the critic can be taught their labels by heart.
    #[test]
    fn a_critic_learns_a_batch_by_heart() {
        let device = undiffuse::device::open("cpu").unwrap();
        let generator = Generator::new(8, 0, &device);
        let latents = (0..8 * LATENT).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
        let pictures = host(generator.forward(rows(latents, LATENT, &generator.device())));
        assert_eq!(pictures.len(), 8 * SIDE * SIDE);
        assert!(pictures.iter().all(|x| x.abs() <= 1.0));
        let labels = [0u32, 1, 2, 0, 1, 2, 0, 1];
        let mut adam = Adam::new(Critic::new(8, 3, 1, &device), [0.9, 0.99]);
        let pictures = rows(pictures, SIDE * SIDE, &adam.module().device());
        let mut losses = Vec::new();
        for _ in 0..60 {
            let loss = cross_entropy(adam.module().forward(pictures.clone()), &labels);
            losses.push(host(loss.clone().reshape([1, 1]))[0]);
            adam.descend(loss, 3e-3);
        }
        // An ignorant critic answers about ln 3.
        assert!((losses[0] - 3f32.ln()).abs() < 0.5 && losses[59] < 0.05, "{losses:?}");
    }
}
