//! The middle stage of a U: no change of resolution.

use burn::module::Module;

use super::attention::AnyAttention;
use super::resnet::ResnetBlock2D;
use super::signal::Signal;
use crate::ops::Map;

/// diffusers' `UNetMidBlock2D` and `UNetMidBlock2DCrossAttn`: a residual block, and others after an attention each, or none.
#[derive(Module, Debug)]
pub struct MidBlock {
    pub attentions: Vec<AnyAttention>,
    pub resnets: Vec<ResnetBlock2D>,
}

impl MidBlock {
    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        let mut x = self.resnets[0].forward(x, signal);
        for (i, resnet) in self.resnets[1..].iter().enumerate() {
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, signal);
            }
            x = resnet.forward(x, signal);
        }
        x
    }
}
