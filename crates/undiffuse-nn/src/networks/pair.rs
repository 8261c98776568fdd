//! The two readers of a CLIP, which learn from each other.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::{ConfigError, ImageEncoder, ImageEncoderConfig, TextEncoder, TextEncoderConfig};
use crate::init::Init;
use crate::layers::blank;

/// A text encoder, an image encoder, and how sharply they are told apart: what transformers' `CLIPModel` is made of.
#[derive(Module, Debug)]
pub struct ClipPair {
    /// The reader of words.
    pub text_encoder: TextEncoder,
    /// The reader of pictures.
    pub image_encoder: ImageEncoder,
    /// The logarithm of what cosines are multiplied by, `[1]`.
    pub logit_scale: Param<Tensor<1>>,
}

impl ClipPair {
    /// The networks that these configs describe, their parameters blank.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn new(
        text: &TextEncoderConfig,
        picture: &ImageEncoderConfig,
        logit_scale: f64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            text_encoder: text.network(device)?,
            image_encoder: picture.network(device)?,
            logit_scale: blank([1], Init::Constant(logit_scale as f32), device),
        })
    }
}
