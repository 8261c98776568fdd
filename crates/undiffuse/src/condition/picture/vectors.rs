//! The vectors of a dataset's pictures by a CLIP, made once and kept beside the data.

use std::io;

use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_data::{Column, Dataset, Image};
use undiffuse_nn::weights::{WeightsError, export, to_bytes};

use super::NAME;
use crate::clip::ClipModel;
pub use crate::condition::embedding::vectors::fingerprint;

/// Pictures that are decoded at a time.
const AT_ONCE: usize = 256;
/// Hexadecimal digits of the name under which vectors are kept.
const KEY: usize = 16;

/// Why there are no vectors.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// The CLIP's weights can't be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The vectors can't be kept.
    #[error("what a CLIP makes of the pictures can't be kept: {0}")]
    Disk(#[from] io::Error),
}

/// SHA-256 (hexadecimal) of all that a CLIP's vectors of pictures depend on: its image encoder, and how pictures enter it.
///
/// # Errors
/// Weights that cannot be read.
pub fn identity(clip: &ClipModel) -> Result<String, WeightsError> {
    let (_, encoder) = clip.networks()?;
    let mut hash = Sha256::new();
    hash.update(format!("{NAME} {:?} {:?}\n", clip.config(), clip.reading()));
    hash.update(to_bytes(&export(&*encoder), None));
    Ok(hex(&hash.finalize()))
}

/// The vector of each of a dataset's pictures, as the CLIP of this [`identity`] projects them.
///
/// # Errors
/// Weights that cannot be read, a disk that is full.
pub fn vectors(data: &Dataset, clip: &ClipModel, identity: &str) -> Result<Column, VectorsError> {
    data.column(&format!("{NAME}:{identity}"), |data| {
        let key = identity.get(..KEY).unwrap_or(identity);
        let rows = data.kept(key, |take| {
            for from in (0..data.len()).step_by(AT_ONCE) {
                let pictures: Vec<Image> = (from..data.len().min(from + AT_ONCE)).map(|i| data.image(i)).collect();
                clip.pictures(&pictures)?.rows().try_for_each(&mut *take)?;
            }
            Ok::<_, VectorsError>(())
        })?;
        Ok((0..rows.len()).map(|i| Some(rows.get(i))).collect())
    })
}
