//! From the few choices of `[network]` to the U-Net that fits the pictures.

use serde::{Deserialize, Serialize};
use undiffuse_nn::UNet2DConfig;
use undiffuse_nn::unet::{DownBlockType, SampleSize, TimeScaleShift, UpBlockType};

/// `[network]`: a U-Net in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Channels of the outermost stage.
    pub width: usize,
    /// Channels of each stage as a multiple of `width`, outermost first. Pictures that are too
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

/// Beyond what any network has.
const WIDTH_MAX: usize = 1 << 16;
const LAYERS_MAX: usize = 1000;
const MULTIPLY_MAX: usize = 1000;
const STAGES_MAX: usize = 16;

/// The innermost stage is not made smaller than this.
const SMALLEST_SIDE: usize = 4;

impl NetworkConfig {
    /// What cannot work, each with its key.
    pub fn problems(&self) -> Vec<String> {
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

    /// The U-Net for pictures of `size`×`size` with `channels`; `labels` counts the classes and
    /// the one for "no class".
    pub fn unet(&self, size: usize, channels: usize, labels: Option<usize>) -> UNet2DConfig {
        let stages = (1..self.multiply.len())
            .take_while(|&n| size.is_multiple_of(1 << n) && size >> n >= SMALLEST_SIDE)
            .last()
            .map_or(1, |n| n + 1);
        let attends = |stage: usize| size >> stage <= self.attention;
        let down = |s| if attends(s) { DownBlockType::AttnDownBlock2D } else { DownBlockType::DownBlock2D };
        let up = |s| if attends(s) { UpBlockType::AttnUpBlock2D } else { UpBlockType::UpBlock2D };
        UNet2DConfig {
            sample_size: Some(SampleSize::Square(size)),
            in_channels: channels,
            out_channels: channels,
            block_out_channels: self.multiply[..stages].iter().map(|m| m * self.width).collect(),
            down_block_types: (0..stages).map(down).collect(),
            up_block_types: (0..stages).rev().map(up).collect(),
            layers_per_block: self.layers,
            attention_head_dim: Some(self.head_dim),
            norm_num_groups: self.groups,
            attn_norm_num_groups: Some(self.groups),
            resnet_time_scale_shift: if self.scale_shift {
                TimeScaleShift::ScaleShift
            } else {
                TimeScaleShift::Default
            },
            add_attention: self.attention > 0,
            dropout: self.dropout,
            num_class_embeds: labels,
            ..UNet2DConfig::default()
        }
    }
}
