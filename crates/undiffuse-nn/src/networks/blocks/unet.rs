//! The U of a U-Net: stages down, a middle, and stages up, which read what each block on the way down made.

use burn::module::Module;
use burn::tensor::Device;

use super::attention::AnyAttention;
use super::middle::MidBlock;
use super::resnet::{Residual, ResnetBlock2D};
use super::sampler::Sampler;
use super::signal::Signal;
use crate::ops::{Joined, Map};

/// A stage down: residual blocks, each followed by an attention where there are any, and what halves the sides.
#[derive(Module, Debug)]
pub struct DownBlock {
    pub resnets: Vec<ResnetBlock2D>,
    pub attentions: Vec<AnyAttention>,
    pub downsamplers: Vec<Sampler>,
}

/// A stage up: the same with what doubles the sides.
#[derive(Module, Debug)]
pub struct UpBlock {
    pub resnets: Vec<ResnetBlock2D>,
    pub attentions: Vec<AnyAttention>,
    pub upsamplers: Vec<Sampler>,
}

impl DownBlock {
    /// Appends to `skips` what the way up will need.
    fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, signal);
            }
            skips.push(x.clone());
        }
        for sampler in &self.downsamplers {
            x = sampler.forward(x, signal);
            skips.push(x.clone());
        }
        x
    }
}

impl UpBlock {
    /// The residual blocks of stage `stage`, outermost first, of a network with these channels.
    pub fn resnets(
        channels: &[usize],
        stage: usize,
        layers: usize,
        common: &Residual,
        device: &Device,
    ) -> Vec<ResnetBlock2D> {
        let c_out = channels[stage];
        let (below, outer) = (channels[(stage + 1).min(channels.len() - 1)], channels[stage.saturating_sub(1)]);
        let inputs = |i| {
            let from_below = if i == 0 { below } else { c_out };
            let from_aside = if i == layers - 1 { outer } else { c_out };
            from_below + from_aside
        };
        (0..layers).map(|i| ResnetBlock2D::new(inputs(i), c_out, common, device)).collect()
    }

    /// Takes from the end of `skips` what the way down left there.
    fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down leaves one map for each block on the way up");
            x = resnet.forward(Joined::new(x, skip), signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, signal);
            }
        }
        // A side that was odd was halved to the next whole number.
        let sides = skips.last().map(|skip| [skip.dims()[2], skip.dims()[3]]);
        self.upsamplers.iter().zip(sides).fold(x, |x, (sampler, sides)| sampler.forward_to(x, sides, signal))
    }
}

/// `x [B, C, H, W]` down, through the middle if there is one, and up again to the same shape.
pub fn walk(x: Map, down: &[DownBlock], middle: Option<&MidBlock>, up: &[UpBlock], signal: &Signal) -> Map {
    let mut skips = vec![x.clone()];
    let x = down.iter().fold(x, |x, block| block.forward(x, signal, &mut skips));
    let x = middle.into_iter().fold(x, |x, block| block.forward(x, signal));
    up.iter().fold(x, |x, block| block.forward(x, signal, &mut skips))
}
