//! diffusers' `AutoencoderTiny`: the latents of others, encoded and decoded by a small network that was taught to.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::autoencoder::{Autoencode, AutoencoderIo, AutoencoderSpec, Code};
use super::read::{COUNT, check_scaling, fail, keeps_notes, lacking, within};
use super::stages::listed;
use super::{ClassConfig, ConfigError};
use crate::layers::Conv2d;
use crate::ops::{Activation, Added, Map};

/// Latents beyond it are bent back before they are decoded.
const LARGEST: f64 = 3.0;
/// Side of diffusers' tiles.
const TILE: usize = 512;
/// Most stages: each halves the picture.
const STAGES: usize = 16;
/// Most blocks in a stage.
const BLOCKS: usize = 256;
/// Maps that the widest stage holds at a time.
const IN_WORK: u64 = 5;

/// The configuration of [`AutoencoderTiny`]: the fields, names and defaults of diffusers' class of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderTinyConfig {
    /// Channels of pictures.
    pub in_channels: usize,
    /// Channels of decoded pictures.
    pub out_channels: usize,
    /// Channels of the encoder's stages, all the same.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of the decoder's stages, all the same.
    pub decoder_block_out_channels: Vec<usize>,
    /// Non-linearity within blocks.
    pub act_fn: Activation,
    /// How pixels are enlarged: `nearest`.
    pub upsample_fn: String,
    /// Channels of latents.
    pub latent_channels: usize,
    /// How much a stage of the decoder enlarges: 2.
    pub upsampling_scaling_factor: usize,
    /// Blocks of the encoder's stages, outermost first.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of the decoder's stages, innermost first.
    pub num_decoder_blocks: Vec<usize>,
    /// Of no effect here: for latents that are kept in eight bits.
    pub latent_magnitude: f64,
    /// Of no effect here: for latents that are kept in eight bits.
    pub latent_shift: f64,
    /// Of no effect in single precision.
    pub force_upcast: bool,
    /// What latents are multiplied by to be diffused.
    pub scaling_factor: f64,
    /// What is taken from them before that.
    pub shift_factor: f64,
    /// Those of the decoder once more.
    pub block_out_channels: Option<Vec<usize>>,
    /// See [`ClassConfig::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// As in diffusers.
impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: Activation::Relu,
            upsample_fn: "nearest".into(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            block_out_channels: None,
            notes: Vec::new(),
        }
    }
}

impl ClassConfig for AutoencoderTinyConfig {
    fn check(&self) -> Result<(), ConfigError> {
        for (field, count) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
        ] {
            within(field, count, COUNT)?;
        }
        for (side, channels, blocks) in [
            ("encoder", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("decoder", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            if channels.len() != blocks.len() {
                return fail(format!("{side}_block_out_channels and num_{side}_blocks have different lengths"));
            }
            within(&format!("the number of stages in num_{side}_blocks"), blocks.len(), STAGES)?;
            within(&format!("{side}_block_out_channels"), channels[0], COUNT)?;
            if channels.iter().any(|c| *c != channels[0]) {
                return fail(format!("{side}_block_out_channels {channels:?}: all stages must have the same channels"));
            }
            if let Some(blocks) = blocks.iter().find(|&&blocks| blocks > BLOCKS) {
                return fail(format!("num_{side}_blocks is {blocks}; at most {BLOCKS} is read"));
            }
        }
        if self.num_encoder_blocks.len() != self.num_decoder_blocks.len() {
            return fail("num_encoder_blocks and num_decoder_blocks: as many stages must enlarge as make smaller");
        }
        if self.upsample_fn != "nearest" || self.upsampling_scaling_factor != 2 {
            return lacking(format!(
                "upsample_fn \"{}\" by upsampling_scaling_factor = {}: only \"nearest\" by 2",
                self.upsample_fn, self.upsampling_scaling_factor
            ));
        }
        check_scaling(self.scaling_factor)
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let stages = format!(
            "{} channels, {} blocks in; {} channels, {} blocks out",
            self.encoder_block_out_channels[0],
            listed(&self.num_encoder_blocks),
            self.decoder_block_out_channels[0],
            listed(&self.num_decoder_blocks)
        );
        let AutoencoderIo { scale, latent_channels, .. } = self.io();
        vec![("stages", stages), ("latents", format!("{latent_channels} channels, a pixel for {scale}×{scale}"))]
    }

    keeps_notes!();
}

impl AutoencoderSpec for AutoencoderTinyConfig {
    fn io(&self) -> AutoencoderIo {
        AutoencoderIo {
            channels_in: self.in_channels,
            channels_out: self.out_channels,
            latent_channels: self.latent_channels,
            scale: 1 << (self.num_decoder_blocks.len() - 1),
            code: Code::Latents,
            sample_size: TILE,
            scaling: [self.scaling_factor, self.shift_factor],
        }
    }

    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let channels = self.decoder_block_out_channels[0] as u64;
        channels.saturating_mul(height as u64).saturating_mul(width as u64).saturating_mul(4 * IN_WORK)
    }
}

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    encoder: Layers,
    decoder: Layers,
    #[module(skip)]
    pub(super) config: AutoencoderTinyConfig,
}

/// A sequence as PyTorch numbers it: what has no weights has a place, too.
#[derive(Module, Debug)]
struct Layers {
    layers: Vec<Option<Layer>>,
}

/// The variant is no part of a tensor's name.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
enum Layer {
    Conv(Conv2d),
    Block(Block),
}

/// diffusers' `AutoencoderTinyBlock`: three convolutions, added to what they were given.
#[derive(Module, Debug)]
struct Block {
    /// diffusers keeps a list here, with an activation after each but the last.
    conv: (Conv2d, Option<Conv2d>, Conv2d, Option<Conv2d>, Conv2d),
    #[module(skip)]
    activation: Activation,
}

impl Block {
    fn new(channels: usize, activation: Activation, device: &Device) -> Self {
        let conv = || Conv2d::new(channels, channels, 3, device);
        Self { conv: (conv(), None, conv(), None, conv()), activation }
    }

    fn forward(&self, x: Map) -> Map {
        let (first, _, second, _, third) = &self.conv;
        let h = first.forward(x.clone()).activated(self.activation);
        let h = second.forward(h).activated(self.activation);
        // diffusers ends a block with ReLU whatever `act_fn` says.
        third.fused(h, None, Added { shift: None, residual: Some(x) }).activated(Activation::Relu)
    }
}

impl Layers {
    fn encoder(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.encoder_block_out_channels[0];
        let mut layers = Vec::new();
        for (stage, &blocks) in config.num_encoder_blocks.iter().enumerate() {
            layers.push(Some(Layer::Conv(match stage {
                0 => Conv2d::new(config.in_channels, channels, 3, device),
                _ => Conv2d::new(channels, channels, 3, device).strided(2, [1; 4]).unbiased(),
            })));
            layers.extend((0..blocks).map(|_| Some(Layer::Block(Block::new(channels, config.act_fn, device)))));
        }
        layers.push(Some(Layer::Conv(Conv2d::new(channels, config.latent_channels, 3, device))));
        Self { layers }
    }

    fn decoder(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.decoder_block_out_channels[0];
        let last = config.num_decoder_blocks.len() - 1;
        // In the second place is an activation, and before the convolution that ends a stage its enlargement.
        let mut layers = vec![Some(Layer::Conv(Conv2d::new(config.latent_channels, channels, 3, device))), None];
        for (stage, &blocks) in config.num_decoder_blocks.iter().enumerate() {
            layers.extend((0..blocks).map(|_| Some(Layer::Block(Block::new(channels, config.act_fn, device)))));
            if stage < last {
                let conv = Conv2d::new(channels, channels, 3, device).upsampling().unbiased();
                layers.extend([None, Some(Layer::Conv(conv))]);
            }
        }
        layers.push(Some(Layer::Conv(Conv2d::new(channels, config.out_channels, 3, device))));
        Self { layers }
    }

    /// All layers, with an activation after the first if there is one.
    fn forward(&self, x: Map, after_first: Option<Activation>) -> Map {
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            x = match layer {
                Some(Layer::Conv(conv)) => conv.forward(x),
                Some(Layer::Block(block)) => block.forward(x),
                None => x,
            };
            if let Some(activation) = after_first.filter(|_| i == 0) {
                x = x.activated(activation);
            }
        }
        x
    }
}

impl AutoencoderTiny {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        let (encoder, decoder) = (Layers::encoder(config, device), Layers::decoder(config, device));
        Self { encoder, decoder, config: config.clone() }
    }
}

impl Autoencode for AutoencoderTiny {
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        self.encoder.forward(Map::from((x + 1.0) / 2.0), None).into_tensor()
    }

    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let z = (z / LARGEST).tanh() * LARGEST;
        self.decoder.forward(Map::from(z), Some(self.config.act_fn)).into_tensor() * 2.0 - 1.0
    }
}
