//! The vectors of a dataset's pictures by a CLIP, made once and kept beside the data.

use undiffuse_data::{Column, Dataset, Image};

use super::NAME;
use crate::clip::ClipModel;
pub use crate::condition::embedding::vectors::fingerprint;
use crate::part::KeepError;

/// Pictures that are decoded at a time.
const AT_ONCE: usize = 256;
/// Hexadecimal digits of the name under which vectors are kept.
const KEY: usize = 16;

/// The vector of each of a dataset's pictures, as the CLIP of this [fingerprint](ClipModel::fingerprint) projects them.
///
/// # Errors
/// Weights that cannot be read, a disk that is full.
pub(super) fn vectors(data: &Dataset, clip: &ClipModel, of: &str) -> Result<Column, KeepError> {
    data.column(&format!("{NAME}:{of}"), |data| {
        let key = of.get(..KEY).unwrap_or(of);
        let rows = data.kept(key, |take| {
            for from in (0..data.len()).step_by(AT_ONCE) {
                let pictures: Vec<Image> = (from..data.len().min(from + AT_ONCE)).map(|i| data.image(i)).collect();
                clip.pictures(&pictures)?.rows().try_for_each(&mut *take)?;
            }
            Ok::<_, KeepError>(())
        })?;
        Ok((0..rows.len()).map(|i| Some(rows.get(i))).collect())
    })
}
