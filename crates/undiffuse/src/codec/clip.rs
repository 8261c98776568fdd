//! The vectors of a CLIP.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError};

/// Of a picture the vector that a CLIP's image encoder projects it to \[Radford21; Ramesh22, section 2.2\], `[D, 1, 1]`, standardised
/// number by number over the pictures that are learned from. There is no way back: a decoder makes pictures of vectors.
///
/// The numbers here are of the CLIP that a training was given; a configuration leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clip {
    /// Numbers of a vector, `D`.
    pub width: usize,
    /// `[C, H, W]` of the pictures.
    pub picture: [usize; 3],
    /// SHA-256 (hexadecimal) of the image encoder.
    pub fingerprint: String,
}

/// Nothing asks for it: models of vectors are refused where pictures are made, by what [`Codec::one_way`] says.
const ONE_WAY: &str = "vectors are made once of all pictures, and no pictures of them";

impl Codec for Clip {
    fn latent_shape(&self, picture: [usize; 3]) -> Result<[usize; 3], CodecError> {
        if picture == self.picture {
            return Ok([self.width, 1, 1]);
        }
        let problem = format!("makes vectors of pictures {:?}, not {picture:?}", self.picture);
        Err(CodecError { codec: "clip", problem })
    }

    fn picture_shape(&self, latent: [usize; 3]) -> Result<[usize; 3], CodecError> {
        if latent == [self.width, 1, 1] {
            return Ok(self.picture);
        }
        let problem = format!("makes vectors of {} numbers, and the network diffuses {latent:?}", self.width);
        Err(CodecError { codec: "clip", problem })
    }

    /// # Panics
    /// Always.
    fn encode(&self, _: Tensor<4>) -> Tensor<4> {
        unreachable!("{ONE_WAY}")
    }

    /// # Panics
    /// Always.
    fn decode(&self, _: Tensor<4>) -> Tensor<4> {
        unreachable!("{ONE_WAY}")
    }

    fn edit(&self, z: Tensor<4>, edit: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        edit(z)
    }

    fn one_way(&self) -> Option<&'static str> {
        Some(
            "it is a prior, which makes the vectors of pictures from words, for a decoder; `undiffuse eval` says how near they are",
        )
    }

    fn is_orthonormal(&self) -> bool {
        false
    }

    /// # Panics
    /// Always: vectors have no pixels.
    fn pixel_variances(&self, _: Vec<f64>, _: [usize; 3]) -> Vec<f64> {
        unreachable!("{ONE_WAY}")
    }

    fn bytes(&self, _: [usize; 3]) -> u64 {
        0
    }
}
