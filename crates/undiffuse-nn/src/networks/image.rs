//! Image encoders: pictures in, a vector of what they show out.

use burn::tensor::Tensor;

use super::{ClassConfig, ImageEncoder, ImageEncoderConfig, InputError, transformers};
use crate::ops::on_threads;

/// The shape of an image encoder, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIo {
    /// `[C, H, W]` of the pictures.
    pub picture: [usize; 3],
    /// Width of a patch's hidden state.
    pub width: usize,
    /// Width of a picture's embedding.
    pub embedding: usize,
}

/// What the config of an image encoder says.
pub trait ImageSpec: ClassConfig {
    /// What goes in and what comes out.
    fn io(&self) -> ImageIo;

    /// What transformers' configs call networks of this kind.
    fn model_type(&self) -> &'static str;
}

/// What an image encoder makes of pictures.
#[derive(Clone, Debug)]
pub struct ImageEmbedding {
    /// A state for the whole picture, then one a patch, `[B, N, C]`.
    pub hidden: Tensor<3>,
    /// A vector a picture, `[B, C']`.
    pub embedding: Tensor<2>,
}

/// An image encoder.
pub trait Embed: Send + Sync {
    /// `pixels [B, C, H, W]`, standardised as the network was trained on them.
    fn embed(&self, pixels: Tensor<4>) -> ImageEmbedding;
}

impl ImageEncoderConfig {
    /// The `config.json` text, as transformers reads it.
    pub fn to_json(&self) -> String {
        transformers::to_json(self, self.model_type())
    }

    /// Finds what [`ImageEncoder::embed`] would panic on.
    ///
    /// # Errors
    /// Pictures `[B, C, H, W]` that the network does not take.
    pub fn check_input(&self, shape: [usize; 4]) -> Result<(), InputError> {
        let ([_, channels, height, width], io) = (shape, self.io());
        if channels != io.picture[0] {
            return Err(InputError::Channels { got: channels, expected: io.picture[0] });
        }
        match io.picture == [channels, height, width] {
            true => Ok(()),
            false => Err(InputError::Sides { got: [height, width], expected: [io.picture[1], io.picture[2]] }),
        }
    }
}

impl ImageEncoder {
    /// `pixels [B, C, H, W]`, standardised as the network was trained on them → a vector a picture.
    ///
    /// # Panics
    /// When the pictures do not fit; [`ImageEncoderConfig::check_input`] finds out first.
    pub fn embed(&self, pixels: Tensor<4>) -> ImageEmbedding {
        on_threads(|| self.inner().embed(pixels))
    }
}
