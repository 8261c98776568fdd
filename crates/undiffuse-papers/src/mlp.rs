//! Multilayer perceptrons, and their derivative along a direction.

use std::f64::consts::PI;

use undiffuse::burn;
use undiffuse::burn::module::Module;
use undiffuse::burn::tensor::{Device, Tensor, TensorData, activation};
use undiffuse::nn::layers::Linear;
use undiffuse::nn::{init, ops};

/// What stands between the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `x / 5` elsewhere.
    LeakyRelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `ln(1 + eˣ)`.
    Softplus,
}

impl Activation {
    fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => activation::relu(x),
            Self::LeakyRelu => activation::leaky_relu(x, 0.2),
            Self::Silu => activation::silu(x),
            Self::Softplus => activation::softplus(x, 1.0),
        }
    }

    /// The derivative, for the smooth ones; a step function has none worth training through.
    fn slope(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => x.clone().greater_elem(0.0).float(),
            Self::LeakyRelu => x.clone().greater_elem(0.0).float() * 0.8 + 0.2,
            Self::Silu => {
                let s = activation::sigmoid(x.clone());
                s.clone() * (x * (-s + 1.0) + 1.0)
            }
            Self::Softplus => activation::sigmoid(x),
        }
    }
}

/// Affine maps with a non-linearity between them.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// Layers between the given widths, input first, with weights drawn from `seed` on an autodiff device.
    pub fn new(widths: &[usize], activation: Activation, seed: u64, device: &Device) -> Self {
        let device = device.clone().autodiff();
        let layers = widths.windows(2).map(|w| Linear::new(w[0], w[1], &device)).collect();
        init::initialize(Self { layers, activation }, seed)
    }

    /// The answer at `x [B, in]` and its derivative along `v [B, in]`: `(F(x), J_F(x) v)`, each `[B, out]`.
    ///
    /// Forward-mode differentiation written out, so that the derivative can itself be trained through.
    pub fn tangent(&self, x: Tensor<2>, v: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold((x, v), |(x, v), (i, layer)| {
            let z = layer.forward(x);
            let dz = ops::linear(v, None, layer.weight(), None);
            if i == last { (z, dz) } else { (self.activation.apply(z.clone()), self.activation.slope(z) * dz) }
        })
    }
}

/// Octaves of the waves that [`WaveMlp`] sees a point through.
const OCTAVES: usize = 4;

/// A perceptron that sees the first two numbers of a row, a point of about unit deviation, also through the sines and
/// cosines of `π 2ᵏ` times them: it would be slow to learn what changes quickly along its input \[Tancik20, section 3\].
#[derive(Module, Debug)]
pub struct WaveMlp {
    mlp: Mlp,
}

impl WaveMlp {
    /// See [`Mlp::new`]; the first width is that of a row.
    pub fn new(widths: &[usize], activation: Activation, seed: u64, device: &Device) -> Self {
        let mut widths = widths.to_vec();
        widths[0] += 4 * OCTAVES;
        Self { mlp: Mlp::new(&widths, activation, seed, device) }
    }
}

/// A network from rows to rows.
pub trait Net: Module {
    /// `[B, in]` → `[B, out]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2>;

    /// Where the weights live.
    fn device(&self) -> Device;
}

impl Net for Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(x, |x, (i, layer)| {
            let z = layer.forward(x);
            if i == last { z } else { self.activation.apply(z) }
        })
    }

    fn device(&self) -> Device {
        self.layers[0].weight().device()
    }
}

impl Net for WaveMlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let point = x.clone().narrow(1, 0, 2);
        let angles = (0..OCTAVES).map(|k| point.clone() * (PI * (1 << k) as f64));
        let waves = Tensor::cat(angles.collect(), 1);
        self.mlp.forward(Tensor::cat(vec![x, waves.clone().sin(), waves.cos()], 1))
    }

    fn device(&self) -> Device {
        self.mlp.device()
    }
}

/// Rows of `width` numbers as a tensor `[B, width]`.
pub fn rows(values: Vec<f32>, width: usize, device: &Device) -> Tensor<2> {
    let n = values.len() / width;
    Tensor::from_data(TensorData::new(values, [n, width]), device)
}

/// A tensor `[B, width]` as rows.
pub fn host(x: Tensor<2>) -> Vec<f32> {
    let n = x.dims().iter().product::<usize>();
    undiffuse::nn::params::to_host(x.inner().reshape([n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::device;

    /// The tangent is the limit of a difference quotient, for every activation.
    #[test]
    fn tangents_are_derivatives() {
        let device = device::open("cpu").unwrap();
        for activation in [Activation::Silu, Activation::Softplus] {
            let mlp = Mlp::new(&[2, 16, 16, 3], activation, 1, &device);
            let (x, v) = ([0.3f32, -0.7], [0.6f32, 0.8]);
            let at = |h: f32| host(mlp.forward(rows(vec![x[0] + h * v[0], x[1] + h * v[1]], 2, &mlp.device())));
            let (low, high) = (at(-0.01), at(0.01));
            let (_, tangent) = mlp.tangent(rows(x.to_vec(), 2, &mlp.device()), rows(v.to_vec(), 2, &mlp.device()));
            for (k, d) in host(tangent).into_iter().enumerate() {
                let quotient = (high[k] - low[k]) / 0.02;
                assert!((d - quotient).abs() < 1e-4, "{activation:?}: {d} is not {quotient}");
            }
        }
    }
}
