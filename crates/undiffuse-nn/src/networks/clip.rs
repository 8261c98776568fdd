//! The transformer of CLIP's two readers, of words and of pictures \[Radford21\].

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::transformers::Size;
use crate::layers::{LayerNorm, Linear};
use crate::ops::{self, Activation, Mask};

/// Layers of attention and feed-forward maps, each normalised before and added to what came in.
#[derive(Module, Debug)]
pub struct Encoder {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Layer {
    self_attn: Attention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
}

#[derive(Module, Debug)]
struct Attention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    act: Activation,
}

impl Encoder {
    pub fn new(size: Size, device: &Device) -> Self {
        Self { layers: (0..size.layers).map(|_| Layer::new(size, device)).collect() }
    }

    /// `x [B, N, C]` → the states after the last layer, and after the one `skip` before it.
    pub fn forward(&self, x: Tensor<3>, mask: &Mask, skip: usize) -> [Tensor<3>; 2] {
        let (first, last) = self.layers.split_at(self.layers.len() - skip);
        let run = |x, layers: &[Layer]| layers.iter().fold(x, |x, layer| layer.forward(x, mask));
        let early = run(x, first);
        [run(early.clone(), last), early]
    }
}

impl Layer {
    fn new(size: Size, device: &Device) -> Self {
        let linear = |c_in, c_out| Linear::new(c_in, c_out, device);
        let [k_proj, v_proj, q_proj, out_proj] = std::array::from_fn(|_| linear(size.width, size.width));
        Self {
            self_attn: Attention { k_proj, v_proj, q_proj, out_proj, heads: size.heads },
            layer_norm1: LayerNorm::new(size.width, size.eps, device),
            mlp: Mlp { fc1: linear(size.width, size.inner), fc2: linear(size.inner, size.width), act: size.act },
            layer_norm2: LayerNorm::new(size.width, size.eps, device),
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), mask);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let [q, k, v] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|linear| linear.forward(x.clone()));
        self.out_proj.forward(ops::token_attention(q, k, v, self.heads, mask.clone()))
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.activated(self.act, self.fc1.forward(x))
    }
}
