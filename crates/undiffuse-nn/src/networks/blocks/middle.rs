//! The middle stage of a U: no change of resolution.

use burn::module::Module;
use burn::tensor::Device;

use super::attention::Attention;
use super::resnet::{Residual, ResnetBlock2D};
use super::signal::Signal;
use crate::ops::Map;

/// diffusers' `UNetMidBlock2D` with two residual blocks.
#[derive(Module, Debug)]
pub struct MidBlock {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock2D>,
}

impl MidBlock {
    /// On `channels`, with an attention or none between the residual blocks, all divided by `factor`.
    pub fn new(channels: usize, common: &Residual, attention: Option<Attention>, factor: f64, device: &Device) -> Self {
        let resnet = || ResnetBlock2D::new(channels, channels, common, device).scaled(factor);
        let attentions = attention.map(|attention| attention.scaled(factor)).into_iter().collect();
        Self { attentions, resnets: vec![resnet(), resnet()] }
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        let x = self.resnets[0].forward(x, signal);
        let x = self.attentions.iter().fold(x, |x, attention| attention.forward(x));
        self.resnets[1].forward(x, signal)
    }
}
