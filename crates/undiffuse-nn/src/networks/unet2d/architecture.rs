//! A U-Net in a few numbers.

use serde::{Deserialize, Serialize};

use super::config::{ClassEmbed, DownBlockType, SampleSize, TimeScaleShift, UNet2DConfig, UpBlockType};
use crate::networks::{Architecture, NetworkConfig, Reads};

/// `[network] kind = "unet"`: a U-Net that is halved as often as the images allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet {
    /// Channels of the outermost stage.
    pub width: usize,
    /// Channels of each stage as a multiple of `width`, outermost first. Images that are too
    /// small to be halved that often get fewer stages.
    pub multiply: Vec<usize>,
    /// Residual blocks in a stage.
    pub layers: usize,
    /// Stages whose side is at most this many pixels attend; 0 is none.
    pub attention: usize,
    /// Width of one attention head.
    pub head_dim: usize,
    /// Groups of the normalisation.
    pub groups: usize,
    /// Time enters as a scale and a shift instead of a sum.
    pub scale_shift: bool,
    /// Dropout in residual blocks.
    pub dropout: f64,
}

/// Those of the preset `quick`.
impl Default for UNet {
    fn default() -> Self {
        Self {
            width: 32,
            multiply: vec![1, 2, 2, 4],
            layers: 1,
            attention: 8,
            head_dim: 32,
            groups: 8,
            scale_shift: false,
            dropout: 0.0,
        }
    }
}

/// Beyond what any network has.
const WIDTH_MAX: usize = 1 << 16;
const LAYERS_MAX: usize = 1000;
const MULTIPLY_MAX: usize = 1000;
const STAGES_MAX: usize = 16;

/// The innermost stage is not made smaller than this.
const SMALLEST_SIDE: usize = 4;

impl Architecture for UNet {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, message: String| {
            if !holds {
                problems.push(message);
            }
        };
        for (key, value, most) in [("width", self.width, WIDTH_MAX), ("layers", self.layers, LAYERS_MAX)] {
            require((1..=most).contains(&value), format!("network.{key} = {value} must be between 1 and {most}"));
        }
        require(
            (1..=STAGES_MAX).contains(&self.multiply.len())
                && self.multiply.iter().all(|m| (1..=MULTIPLY_MAX).contains(m)),
            format!(
                "network.multiply = {:?} needs one number between 1 and {MULTIPLY_MAX} a stage, for at most {STAGES_MAX}",
                self.multiply
            ),
        );
        require(
            self.groups > 0 && self.width.is_multiple_of(self.groups),
            format!("network.groups = {} must divide network.width = {}", self.groups, self.width),
        );
        require(
            self.head_dim > 0
                && self.multiply.iter().all(|m| m.saturating_mul(self.width).is_multiple_of(self.head_dim)),
            format!(
                "network.head_dim = {} must divide the channels of every stage ({} times {:?})",
                self.head_dim, self.width, self.multiply
            ),
        );
        require((0.0..1.0).contains(&self.dropout), format!("network.dropout = {} must be in [0, 1)", self.dropout));
        problems
    }

    fn config(
        &self,
        [channels, height, width]: [usize; 3],
        channels_out: usize,
        reads: Reads,
    ) -> Result<NetworkConfig, String> {
        let side = height.min(width);
        let halves =
            |n: usize| [height, width].iter().all(|side| side.is_multiple_of(1 << n)) && side >> n >= SMALLEST_SIDE;
        let stages = (1..self.multiply.len()).take_while(|&n| halves(n)).last().map_or(1, |n| n + 1);
        let attends = |stage: usize| side >> stage <= self.attention;
        let down = |s| if attends(s) { DownBlockType::AttnDownBlock2D } else { DownBlockType::DownBlock2D };
        let up = |s| if attends(s) { UpBlockType::AttnUpBlock2D } else { UpBlockType::UpBlock2D };
        let config = UNet2DConfig {
            sample_size: Some(match height == width {
                true => SampleSize::Square(side),
                false => SampleSize::Rectangle(height, width),
            }),
            in_channels: channels,
            out_channels: channels_out,
            block_out_channels: self.multiply[..stages].iter().map(|m| m * self.width).collect(),
            down_block_types: (0..stages).map(down).collect(),
            up_block_types: (0..stages).rev().map(up).collect(),
            layers_per_block: self.layers,
            attention_head_dim: Some(self.head_dim),
            norm_num_groups: self.groups,
            attn_norm_num_groups: Some(self.groups),
            resnet_time_scale_shift: match self.scale_shift {
                true => TimeScaleShift::ScaleShift,
                false => TimeScaleShift::Default,
            },
            add_attention: self.attention > 0,
            dropout: self.dropout,
            num_class_embeds: Some(reads.classes()).filter(|&classes| classes > 0),
            class_embed_type: matches!(reads, Reads::Vector(_)).then_some(ClassEmbed::Identity),
            ..UNet2DConfig::default()
        };
        Ok(config.into())
    }
}
