//! A U-Net in a few numbers.

use serde::{Deserialize, Serialize};

use super::config::{ClassEmbed, DownBlockType, SampleSize, TimeScaleShift, UNet2DConfig, UpBlockType};
use crate::networks::unet2d_condition::{
    ConditionClassEmbed, ConditionDownBlockType, ConditionUpBlockType, Each, UNet2DConditionConfig,
};
use crate::networks::{Architecture, Attends, NetworkConfig, Reads};

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

    /// A `UNet2DModel`, or a `UNet2DConditionModel` where there are tokens to attend to.
    fn config(
        &self,
        shape: [usize; 3],
        channels_out: usize,
        reads: Reads,
        tokens: Option<Attends>,
    ) -> Result<NetworkConfig, String> {
        let u = self.fitted(shape);
        match (tokens, reads) {
            (None, _) => Ok(self.alone(&u, channels_out, reads).into()),
            (Some(Attends { width, .. }), Reads::Nothing) => Ok(self.attending(&u, channels_out, width, None).into()),
            (Some(Attends { width, .. }), Reads::Vector(vector)) => {
                Ok(self.attending(&u, channels_out, width, Some(vector)).into())
            }
            (Some(_), Reads::Labels(_)) => Err("network.kind = \"unet\" reads words or classes, not both".into()),
        }
    }
}

/// The stages that fit images, outermost first.
struct Stages {
    channels_in: usize,
    sample_size: SampleSize,
    channels: Vec<usize>,
    /// Which of them attend.
    attends: Vec<bool>,
}

impl UNet {
    fn fitted(&self, [channels_in, height, width]: [usize; 3]) -> Stages {
        let side = height.min(width);
        let halves =
            |n: usize| [height, width].iter().all(|side| side.is_multiple_of(1 << n)) && side >> n >= SMALLEST_SIDE;
        let stages = (1..self.multiply.len()).take_while(|&n| halves(n)).last().map_or(1, |n| n + 1);
        Stages {
            channels_in,
            sample_size: match height == width {
                true => SampleSize::Square(side),
                false => SampleSize::Rectangle(height, width),
            },
            channels: self.multiply[..stages].iter().map(|m| m * self.width).collect(),
            attends: (0..stages).map(|stage| side >> stage <= self.attention).collect(),
        }
    }

    fn time_scale_shift(&self) -> TimeScaleShift {
        if self.scale_shift { TimeScaleShift::ScaleShift } else { TimeScaleShift::Default }
    }

    /// With attention among an image's own pixels.
    fn alone(&self, u: &Stages, out_channels: usize, reads: Reads) -> UNet2DConfig {
        let down = |&attends| if attends { DownBlockType::AttnDownBlock2D } else { DownBlockType::DownBlock2D };
        let up = |&attends| if attends { UpBlockType::AttnUpBlock2D } else { UpBlockType::UpBlock2D };
        UNet2DConfig {
            sample_size: Some(u.sample_size),
            in_channels: u.channels_in,
            out_channels,
            block_out_channels: u.channels.clone(),
            down_block_types: u.attends.iter().map(down).collect(),
            up_block_types: u.attends.iter().rev().map(up).collect(),
            layers_per_block: self.layers,
            attention_head_dim: Some(self.head_dim),
            norm_num_groups: self.groups,
            attn_norm_num_groups: Some(self.groups),
            resnet_time_scale_shift: self.time_scale_shift(),
            add_attention: self.attention > 0,
            dropout: self.dropout,
            num_class_embeds: Some(reads.classes()).filter(|&classes| classes > 0),
            class_embed_type: match reads {
                Reads::Vector(_) => Some(ClassEmbed::Identity),
                Reads::Labels(0) => Some(ClassEmbed::Timestep),
                _ => None,
            },
            ..UNet2DConfig::default()
        }
    }

    /// With attention to tokens, too, in the middle at least; a vector is added to the embedding of the time.
    fn attending(
        &self,
        u: &Stages,
        out_channels: usize,
        tokens: usize,
        vector: Option<usize>,
    ) -> UNet2DConditionConfig {
        use ConditionDownBlockType::{CrossAttnDownBlock2D, DownBlock2D};
        use ConditionUpBlockType::{CrossAttnUpBlock2D, UpBlock2D};
        UNet2DConditionConfig {
            sample_size: Some(u.sample_size),
            in_channels: u.channels_in,
            out_channels,
            block_out_channels: u.channels.clone(),
            down_block_types: u.attends.iter().map(|&at| if at { CrossAttnDownBlock2D } else { DownBlock2D }).collect(),
            up_block_types: u.attends.iter().rev().map(|&at| if at { CrossAttnUpBlock2D } else { UpBlock2D }).collect(),
            layers_per_block: Each::All(self.layers),
            attention_head_dim: Each::List(u.channels.iter().map(|channels| channels / self.head_dim).collect()),
            cross_attention_dim: Each::All(tokens),
            use_linear_projection: true,
            norm_num_groups: self.groups,
            resnet_time_scale_shift: self.time_scale_shift(),
            dropout: self.dropout,
            class_embed_type: vector.map(|_| ConditionClassEmbed::Projection),
            projection_class_embeddings_input_dim: vector,
            ..UNet2DConditionConfig::default()
        }
    }
}
