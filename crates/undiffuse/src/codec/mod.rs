//! Codecs: between pictures and what is diffused.
//!
//! A model diffuses *latents* `z = encode(x)`; a picture is `x = decode(z)`. Schedules, solvers and samplers know latents
//! only. What is said of pictures (their size, a mask, what is known of one, the range that they are clipped to, their
//! probability) goes through the codec, and so does everything that is shown.
//!
//! A codec is a file here and a line in the table; [`Latents`], which is made of a network, is no word of a configuration and so
//! in no table: a model has [any](AnyCodec). Pictures are `[B, C, H, W]` in the model's pixel range, see
//! [`Recipe::pixels`](undiffuse_math::recipe::Recipe::pixels).

mod autoencoder;

pub use autoencoder::Latents;

use std::fmt::{self, Debug};
use std::ops::Deref;

use burn::tensor::Tensor;
use undiffuse_math::kind;
use undiffuse_nn::weights::WeightsError;

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

    /// What [`decode`](Self::decode) gives, as well as somebody needs it who watches a walk: it may be smaller.
    fn preview(&self, z: Tensor<4>) -> Tensor<4> {
        self.decode(z)
    }

    /// The shape `[C, H, W]` of previews of latents of `[C, H, W]`.
    ///
    /// # Errors
    /// As [`picture_shape`](Self::picture_shape).
    fn preview_shape(&self, latent: [usize; 3]) -> Result<[usize; 3], CodecError> {
        self.picture_shape(latent)
    }

    /// Latents after an edit of their pictures: a mask, an observation, clipping. Where a codec loses something, the edit is of
    /// latents themselves, as in diffusers.
    fn edit(&self, z: Tensor<4>, edit: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        self.encode(edit(self.decode(z)))
    }

    /// A picture `[1, C, H, W]` of which a part is known, and the mask `[1, 1, H, W]` that is 1 where it is painted and 0 where
    /// it is known, as [`keep`](Self::keep) needs them.
    fn known(&self, picture: Tensor<4>, mask: Tensor<4>) -> [Tensor<4>; 2] {
        [picture, mask]
    }

    /// Latents whose known part is that of the picture of [`known`](Self::known).
    fn keep(&self, z: Tensor<4>, [picture, mask]: &[Tensor<4>; 2]) -> Tensor<4> {
        self.edit(z, &|x| x * mask.clone() + picture.clone() * (1.0 - mask.clone()))
    }

    /// Reads what [`encode`](Self::encode) needs and [`decode`](Self::decode) does not, where that is still to be read.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn prepare_encoding(&self) -> Result<(), WeightsError> {
        Ok(())
    }

    /// Whether `encode` is an orthonormal map. Then isotropic noise on latents is isotropic noise on pixels, the density of a
    /// latent is that of its picture (`ln |det| = 0`), and a model has likelihoods in pixels; otherwise it has none.
    fn is_orthonormal(&self) -> bool;

    /// Channels of latents; `None` where these follow from a picture's.
    fn channels(&self) -> Option<usize> {
        None
    }

    /// For orthonormal codecs: the variances of a picture's pixels `[C, H, W]`, where the numbers of its latent
    /// `[C, H, W]` have the variances `v` and do not depend on each other.
    fn pixel_variances(&self, v: Vec<f64>, latent: [usize; 3]) -> Vec<f64>;

    /// What a model is whose latents have no pictures, for messages; `None` where [`decode`](Self::decode) makes some. Such latents are
    /// made once of all pictures that a model learns from ([`Kept`](crate::examples::Kept)), by what the codec stands for.
    fn one_way(&self) -> Option<&'static str> {
        None
    }

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
        "clip" in clip => Clip, "the vectors that a CLIP makes of pictures, one way: what a prior diffuses [Ramesh22]";
    }
}

impl Default for CodecKind {
    fn default() -> Self {
        Pixels {}.into()
    }
}

/// The codec of a model: of a kind that configurations name, or a network.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyCodec {
    /// By its word.
    Kind(CodecKind),
    /// A trained autoencoder.
    Latents(Latents),
}

impl AnyCodec {
    /// The codec's word, or what messages call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.tag(),
            Self::Latents(_) => autoencoder::NAME,
        }
    }
}

impl Default for AnyCodec {
    fn default() -> Self {
        CodecKind::default().into()
    }
}

impl From<CodecKind> for AnyCodec {
    fn from(kind: CodecKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<Latents> for AnyCodec {
    fn from(latents: Latents) -> Self {
        Self::Latents(latents)
    }
}

impl Deref for AnyCodec {
    type Target = dyn Codec;

    fn deref(&self) -> &(dyn Codec + 'static) {
        match self {
            Self::Kind(kind) => &**kind,
            Self::Latents(latents) => latents,
        }
    }
}

impl fmt::Display for AnyCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => fmt::Display::fmt(kind, f),
            Self::Latents(latents) => fmt::Display::fmt(latents, f),
        }
    }
}
