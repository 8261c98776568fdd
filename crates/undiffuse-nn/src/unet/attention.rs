//! Self-attention over the pixels of one image.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::config::UNet2DConfig;
use super::resnet::scale_down;
use crate::layers::{GroupNorm, Linear};
use crate::ops;

/// diffusers' `Attention` as the U-Net uses it: normalise, attend, project, add.
#[derive(Module, Debug)]
pub struct Attention {
    group_norm: Option<GroupNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// diffusers keeps a list here (projection, dropout); only the projection has weights.
    to_out: Vec<Linear>,
    #[module(skip)]
    head_dim: usize,
    #[module(skip)]
    rescale_output_factor: f64,
}

impl Attention {
    /// Over `channels`, normalised in `groups` groups (not at all for `None`).
    pub fn new(channels: usize, groups: Option<usize>, config: &UNet2DConfig, device: &Device) -> Self {
        let head_dim = config.attention_head_dim.unwrap_or(channels);
        // diffusers makes `channels / head_dim` heads; a head wider than the image's channels
        // would give none, which it refuses to run, so one head is the only reading.
        let inner = (channels / head_dim).max(1) * head_dim;
        let linear = || Linear::new(channels, inner, device);
        Self {
            group_norm: groups.map(|g| GroupNorm::new(g, channels, config.norm_eps, device)),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![Linear::new(inner, channels, device)],
            head_dim,
            rescale_output_factor: 1.0,
        }
    }

    /// The same attention with its output divided by `factor`.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.rescale_output_factor = factor;
        self
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let normal = match &self.group_norm {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let pixels = normal.reshape([b, c, h * w]).swap_dims(1, 2).reshape([b * h * w, c]);
        let heads = |linear: &Linear| {
            let y = linear.forward(pixels.clone());
            let n = y.dims()[1] / self.head_dim;
            y.reshape([b, h * w, n, self.head_dim]).swap_dims(1, 2)
        };
        let y = ops::attention(heads(&self.to_q), heads(&self.to_k), heads(&self.to_v));
        let inner = y.dims()[1] * self.head_dim;
        let y = self.to_out[0].forward(y.swap_dims(1, 2).reshape([b * h * w, inner]));
        let y = y.reshape([b, h * w, c]).swap_dims(1, 2).reshape([b, c, h, w]);
        scale_down(x + y, self.rescale_output_factor)
    }
}
