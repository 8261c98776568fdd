//! Codecs: between pictures and what is diffused.
//!
//! A model diffuses *latents* `z = encode(x)`; a picture is `x = decode(z)`. Schedules, solvers and samplers know latents
//! only. What is said of pictures (their size, a mask, what is known of one, the range that they are clipped to, their
//! probability) goes through the codec, and so does everything that is shown.
//!
//! A codec is a file here and a line in the table; [`Latents`], which is made of a network, is no word of a configuration and so
//! in no table. Pictures are `[B, C, H, W]` in the model's pixel range, see
//! [`Recipe::pixels`](undiffuse_math::recipe::Recipe::pixels).

mod autoencoder;

pub use autoencoder::Latents;

use std::fmt::Debug;

use burn::tensor::Tensor;
use undiffuse_math::kind;

/// A way from pictures to what is diffused, and back.
pub trait Codec: Debug + Send + Sync {
    /// The shape `[C, H, W]` of the latents of pictures of `[C, H, W]`.
    ///
    /// # Errors
    /// Pictures that cannot be encoded, and those that could.
    fn latent_shape(&self, picture: [usize; 3]) -> Result<[usize; 3], CodecError>;

    /// The shape `[C, H, W]` of the pictures in latents of `[C, H, W]`: what a network of so many channels makes.
    ///
    /// # Errors
    /// Latents that no picture has, and those that some have.
    fn picture_shape(&self, latent: [usize; 3]) -> Result<[usize; 3], CodecError>;

    /// Pictures → latents.
    fn encode(&self, x: Tensor<4>) -> Tensor<4>;

    /// Latents → pictures.
    fn decode(&self, z: Tensor<4>) -> Tensor<4>;

    /// What [`decode`](Self::decode) gives, as well as somebody needs it who watches a walk.
    fn preview(&self, z: Tensor<4>) -> Tensor<4> {
        self.decode(z)
    }

    /// Latents after an edit of their pictures: a mask, an observation, clipping.
    fn edit(&self, z: Tensor<4>, edit: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        self.encode(edit(self.decode(z)))
    }

    /// Whether `encode` is an orthonormal map. Then isotropic noise on latents is isotropic noise on pixels, the density of a
    /// latent is that of its picture (`ln |det| = 0`), and a model has likelihoods in pixels; otherwise it has none.
    fn is_orthonormal(&self) -> bool;

    /// For orthonormal codecs: the variances of a picture's pixels `[C, H, W]`, where the numbers of its latent
    /// `[C, H, W]` have the variances `v` and do not depend on each other.
    fn pixel_variances(&self, v: Vec<f64>, latent: [usize; 3]) -> Vec<f64>;

    /// Whether latents are the pixels themselves, so that programs that know no codec sample the model.
    fn is_identity(&self) -> bool {
        false
    }

    /// Bytes that encoding or decoding a picture of `[C, H, W]` takes beside the picture and its latent.
    fn bytes(&self, picture: [usize; 3]) -> u64;

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A shape that a codec cannot work on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the codec `{codec}` {problem}")]
pub struct CodecError {
    /// The codec's word.
    pub codec: &'static str,
    /// What it does, what it was given, and what would be right.
    pub problem: String,
}

kind! {
    /// Every codec by name.
    pub enum CodecKind: Codec, "codec" {
        "pixels" in pixels => Pixels, "pixels themselves";
        "haar" in haar => Haar, "the Haar wavelets of every 2x2 pixels, as four channels of half the sides [Haar10]";
    }
}

impl Default for CodecKind {
    fn default() -> Self {
        Pixels {}.into()
    }
}
