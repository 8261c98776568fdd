//! transformers' `CLIPVisionModelWithProjection`: CLIP's reader of pictures \[Radford21\].

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::clip::Encoder;
use super::read::{COUNT, fail, within};
use super::transformers::{HiddenAct, Size, size};
use super::{ClassConfig, ConfigError, Embed, ImageEmbedding, ImageIo, ImageSpec};
use crate::init::Init;
use crate::layers::{Conv2d, Embedding, LayerNorm, Linear, blank};
use crate::ops::{self, Map, Mask};

/// The configuration of [`CLIPVisionModelWithProjection`]: the fields, names and defaults of transformers'
/// `CLIPVisionConfig`, as far as they say anything of a network that is not being trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CLIPVisionConfig {
    /// Width of a patch's token.
    pub hidden_size: usize,
    /// Inner width of a feed-forward layer.
    pub intermediate_size: usize,
    /// Width of a picture's embedding.
    pub projection_dim: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Channels of a picture.
    pub num_channels: usize,
    /// Side of a picture.
    pub image_size: usize,
    /// Side of a patch.
    pub patch_size: usize,
    /// Non-linearity of the feed-forward layers.
    pub hidden_act: HiddenAct,
    /// Added to a layer normalisation's variance.
    pub layer_norm_eps: f64,
}

/// As in transformers.
impl Default for CLIPVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl CLIPVisionConfig {
    fn size(&self) -> Size {
        size!(self)
    }

    /// What is left of a picture that its patches don't fill is not looked at.
    fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}

impl ClassConfig for CLIPVisionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.size().check()?;
        within("projection_dim", self.projection_dim, COUNT)?;
        within("num_channels", self.num_channels, COUNT)?;
        within("image_size", self.image_size, 1 << 16)?;
        within("patch_size", self.patch_size, 1 << 10)?;
        match self.patch_size <= self.image_size {
            true => Ok(()),
            false => fail(format!("patch_size {} is larger than image_size {}", self.patch_size, self.image_size)),
        }
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let Self { image_size: side, patch_size: patch, projection_dim, .. } = self;
        let pictures = format!("{side}×{side}, a token for {patch}×{patch} pixels and one for the whole");
        vec![
            ("layers", self.size().describe()),
            ("pictures", pictures),
            ("projected", format!("to {projection_dim} numbers")),
        ]
    }
}

impl ImageSpec for CLIPVisionConfig {
    fn io(&self) -> ImageIo {
        ImageIo {
            picture: [self.num_channels, self.image_size, self.image_size],
            width: self.hidden_size,
            embedding: self.projection_dim,
        }
    }

    fn model_type(&self) -> &'static str {
        "clip_vision_model"
    }
}

/// The network. Field names are transformers' tensor names.
#[derive(Module, Debug)]
pub struct CLIPVisionModelWithProjection {
    vision_model: VisionTransformer,
    visual_projection: Linear,
    #[module(skip)]
    pub(super) config: CLIPVisionConfig,
}

#[derive(Module, Debug)]
struct VisionTransformer {
    embeddings: Embeddings,
    /// transformers' spelling.
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Embedding,
}

impl CLIPVisionModelWithProjection {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &CLIPVisionConfig, device: &Device) -> Self {
        let (size, patch) = (config.size(), config.patch_size);
        let norm = || LayerNorm::new(size.width, size.eps, device);
        let patches = Conv2d::new(config.num_channels, size.width, patch, device).strided(patch, [0; 4]).unbiased();
        Self {
            vision_model: VisionTransformer {
                embeddings: Embeddings {
                    class_embedding: blank([size.width], Init::Normal((size.width as f32).powf(-0.5)), device),
                    patch_embedding: patches,
                    position_embedding: Embedding::begun(config.patches() + 1, size.width, Init::Normal(0.02), device),
                },
                pre_layrnorm: norm(),
                encoder: Encoder::new(size, device),
                post_layernorm: norm(),
            },
            visual_projection: Linear::new(size.width, config.projection_dim, device).unbiased(),
            config: config.clone(),
        }
    }
}

impl Embed for CLIPVisionModelWithProjection {
    fn embed(&self, pixels: Tensor<4>) -> ImageEmbedding {
        let VisionTransformer { embeddings, pre_layrnorm, encoder, post_layernorm } = &self.vision_model;
        let (b, width, patches) = (pixels.dims()[0], self.config.hidden_size, self.config.patches());
        let side = self.config.image_size / self.config.patch_size * self.config.patch_size;
        let pixels = pixels.narrow(2, 0, side).narrow(3, 0, side);
        let seen = embeddings.patch_embedding.forward(Map::from(pixels)).into_tensor();
        let seen = seen.reshape([b, width, patches]).swap_dims(1, 2);
        let whole = ops::repeated(embeddings.class_embedding.val().reshape([1, 1, width]), b);
        let x = Tensor::cat(vec![whole, seen], 1) + embeddings.position_embedding.first(patches + 1, b);
        let [hidden, _] = encoder.forward(pre_layrnorm.forward(x), &Mask::default(), 0);
        let pooled = post_layernorm.forward(hidden.clone().narrow(1, 0, 1)).reshape([b, width]);
        ImageEmbedding { hidden, embedding: self.visual_projection.forward(pooled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::ImageEncoderConfig;

    /// The image encoder of CLIP ViT-L/14, 303,966,208 parameters with its projection.
    #[test]
    fn published_networks_are_counted() {
        let large = CLIPVisionConfig {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            patch_size: 14,
            projection_dim: 768,
            ..CLIPVisionConfig::default()
        };
        assert_eq!(ImageEncoderConfig::from(large).parameters().unwrap(), 303_966_208);
    }
}
