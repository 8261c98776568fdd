//! diffusers' `UNet2DModel`: the U-shaped network of \[Ho20\] and its descendants.

mod attention;
mod blocks;
mod check;
mod config;
mod embedding;
mod price;
mod resnet;
mod signal;

pub use config::{
    ClassEmbed, ConfigError, DownBlockType, MidBlockType, Resample, SampleSize, TimeEmbedding, TimeScaleShift,
    UNet2DConfig, UpBlockType,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use self::blocks::{DownBlock, MidBlock, UpBlock};
use self::embedding::{ClassEmbedding, TimeProj, TimestepEmbedding, index, time_features};
use self::signal::Signal;
use crate::layers::{Conv2d, Embedding, GroupNorm};
use crate::ops::{Activation, Added, Map, on_threads};

/// The class labels of a batch.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it in a batch
pub enum Labels {
    /// A number per image: its row of the class table, or what is embedded like a timestep.
    Number(Vec<f32>),
    /// The embedding itself `[B, time_embed_dim]`, for `class_embed_type = "identity"`.
    Vector(Tensor<2>),
}

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct UNet2DModel {
    conv_in: Conv2d,
    time_proj: Option<TimeProj>,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<ClassEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNet2DConfig,
}

impl UNet2DModel {
    /// The network that `config` describes, its parameters blank: fill them with
    /// [`crate::init::initialize`] or [`crate::weights::load`].
    pub fn new(config: &UNet2DConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let time_width = config.time_embed_dim();
        let features = match config.time_embedding_type {
            TimeEmbedding::Fourier => 2 * channels[0],
            _ => channels[0],
        };
        let class_embedding = match (config.class_embed_type, config.num_class_embeds) {
            (None, Some(classes)) => Some(ClassEmbedding::Table(Embedding::new(classes, time_width, device))),
            (Some(ClassEmbed::Timestep), _) => {
                Some(ClassEmbedding::Timestep(TimestepEmbedding::new(features, time_width, device)))
            }
            _ => None,
        };
        let down = |(i, &kind)| {
            let c_in = if i == 0 { channels[0] } else { channels[i - 1] };
            DownBlock::new(kind, c_in, channels[i], i == last, config, device)
        };
        let up = |(i, &kind): (usize, &UpBlockType)| {
            let c_out = channels[last - i];
            let previous = if i == 0 { c_out } else { channels[last - i + 1] };
            let skip = channels[(last - i).saturating_sub(1)];
            UpBlock::new(kind, previous, c_out, skip, i == last, config, device)
        };
        Ok(Self {
            conv_in: Conv2d::new(config.in_channels, channels[0], 3, device),
            time_proj: TimeProj::new(config, device),
            time_embedding: TimestepEmbedding::new(features, time_width, device),
            class_embedding,
            down_blocks: config.down_block_types.iter().enumerate().map(down).collect(),
            mid_block: config.mid_block_type.map(|MidBlockType::UNetMidBlock2D| MidBlock::new(config, device)),
            up_blocks: config.up_block_types.iter().enumerate().map(up).collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, channels[0], config.norm_eps, device),
            conv_out: Conv2d::new(channels[0], config.out_channels, 3, device),
            config: config.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &UNet2DConfig {
        &self.config
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.conv_in.weight.val().device()
    }

    /// `x [B, C, H, W]`, `timestep [B]`, labels when the network has classes → `[B, C', H, W]`.
    ///
    /// # Panics
    /// When `timestep` or `labels` do not match the batch; [`UNet2DModel::check_input`] finds out first.
    pub fn forward(&self, x: Tensor<4>, timestep: &[f32], labels: Option<&Labels>) -> Tensor<4> {
        on_threads(|| self.run(x, timestep, labels, None))
    }

    /// The same while training: `seed` decides what drops out.
    ///
    /// # Panics
    /// As [`UNet2DModel::forward`].
    pub fn forward_training(&self, x: Tensor<4>, timestep: &[f32], labels: Option<&Labels>, seed: u64) -> Tensor<4> {
        on_threads(|| self.run(x, timestep, labels, Some(seed)))
    }

    fn run(&self, x: Tensor<4>, timestep: &[f32], labels: Option<&Labels>, dropout: Option<u64>) -> Tensor<4> {
        let device = x.device();
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let features = |t: &[f32]| time_features(self.time_proj.as_ref(), &self.config, t, &device);
        let mut temb = self.time_embedding.forward(features(timestep));
        match (&self.class_embedding, labels) {
            (Some(ClassEmbedding::Table(table)), Some(Labels::Number(labels))) => {
                temb = temb + table.forward(index(labels, &device));
            }
            (Some(ClassEmbedding::Timestep(embedding)), Some(Labels::Number(labels))) => {
                temb = temb + embedding.forward(features(labels));
            }
            (None, Some(Labels::Vector(embedding))) => temb = temb + embedding.clone(),
            _ => {}
        }

        let signal = Signal::new(self.config.act_fn.apply(temb), dropout);
        let mut x = self.conv_in.forward(Map::from(x));
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &signal, &mut skips);
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(x, &signal);
        }
        for block in &self.up_blocks {
            x = block.forward(x, &signal, &mut skips);
        }
        // diffusers activates the output with SiLU whatever `act_fn` says.
        let norm = self.conv_norm_out.then(Some(Activation::Silu), None);
        let x = self.conv_out.fused(x, Some(norm), Added::default()).into_tensor();
        if self.config.time_embedding_type == TimeEmbedding::Fourier {
            let t = Tensor::<1>::from_data(TensorData::new(timestep.to_vec(), [timestep.len()]), &device);
            return x / t.reshape([timestep.len(), 1, 1, 1]);
        }
        x
    }

    /// Whether the network can take pictures of this size.
    ///
    /// # Errors
    /// It can't.
    pub fn check_size(&self, height: usize, width: usize) -> Result<(), InputError> {
        self.config.check_size(height, width)
    }

    /// Finds what [`UNet2DModel::forward`] would panic on.
    pub fn check_input(&self, shape: [usize; 4], timesteps: usize, labels: Option<&Labels>) -> Result<(), InputError> {
        let [b, c, h, w] = shape;
        let config = &self.config;
        if c != config.in_channels {
            return Err(InputError::Channels { got: c, expected: config.in_channels });
        }
        self.check_size(h, w)?;
        if timesteps != b {
            return Err(InputError::Batch { what: "timestep", got: timesteps, expected: b });
        }
        let classes = match (config.class_embed_type, config.num_class_embeds) {
            (None, None) => return labels.map_or(Ok(()), |_| Err(InputError::NoClasses)),
            (None, Some(classes)) => Some(classes),
            _ => None,
        };
        match labels {
            None => Err(InputError::LabelsMissing),
            Some(Labels::Number(labels)) if labels.len() != b => {
                Err(InputError::Batch { what: "class_labels", got: labels.len(), expected: b })
            }
            Some(Labels::Number(labels)) => match (classes, config.class_embed_type) {
                (_, Some(ClassEmbed::Identity)) => Err(InputError::Vector(config.time_embed_dim())),
                (Some(n), _) => match labels.iter().find(|&&l| l < 0.0 || l >= n as f32 || l.fract() != 0.0) {
                    Some(&label) => Err(InputError::Label { label, classes: n }),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
            Some(Labels::Vector(v)) => {
                let fits =
                    config.class_embed_type == Some(ClassEmbed::Identity) && v.dims() == [b, config.time_embed_dim()];
                if fits { Ok(()) } else { Err(InputError::Vector(config.time_embed_dim())) }
            }
        }
    }
}

/// An input that does not fit the network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InputError {
    #[error("the input has {got} channels, the network takes {expected}")]
    Channels { got: usize, expected: usize },
    #[error("the input is {width}×{height} pixels; this network needs sides that are multiples of {stride}")]
    Size { height: usize, width: usize, stride: usize },
    #[error("`{what}` has {got} entries, the batch has {expected}")]
    Batch { what: &'static str, got: usize, expected: usize },
    #[error("the network has no classes, so it takes no class labels")]
    NoClasses,
    #[error("the network was trained with classes: give class labels")]
    LabelsMissing,
    #[error("class label {label} is not one of 0..{classes}")]
    Label { label: f32, classes: usize },
    #[error(
        "this network's class labels do not fit: class_embed_type \"identity\" takes vectors [batch, {0}], all others take whole numbers [batch]"
    )]
    Vector(usize),
}
