//! Latents that are made once of all pictures, before a network learns to diffuse them.

use burn::tensor::Device;
use undiffuse_data::{Dataset, Image};

use super::config::Config;
use crate::clip::ClipModel;
use crate::codec::{Clip, CodecKind};
use crate::examples::Kept;
use crate::part::KeepError;

/// Pictures that are read at once.
const AT_ONCE: usize = 256;
/// Hexadecimal digits of a key, as of the vectors that a decoder is told.
const KEY: usize = 16;

impl Config {
    /// The latents of a dataset's pictures, `train` of which are trained on, where the codec is a network that stays as it is: the CLIP
    /// by which the network is told words.
    ///
    /// # Errors
    /// No CLIP, another than the run began with, a disk or memory that is full.
    pub fn kept_for(&self, data: &Dataset, train: &[usize]) -> Result<Option<Kept>, String> {
        let CodecKind::Clip(before) = &self.codec else { return Ok(None) };
        let path = &self.condition.words.encoder;
        if path.is_empty() {
            return Err("codec.kind = \"clip\": which CLIP? Name its folder: --set condition.words.encoder=CLIP".into());
        }
        let wrong = |problem: String| format!("condition.words.encoder = {path:?}: {problem}");
        let clip = ClipModel::read(path, &Device::flex()).map_err(|e| wrong(e.to_string()))?;
        let fingerprint = clip.fingerprint().map_err(|e| wrong(e.to_string()))?;
        if !before.fingerprint.is_empty() && before.fingerprint != fingerprint {
            return Err(wrong(
                "the CLIP there is no longer what the run began with: give it back, or begin a new run".into(),
            ));
        }
        let each = if self.data.flip { 2 } else { 1 };
        let key = format!("{}{}", &fingerprint[..KEY], if each > 1 { "-mirrored" } else { "" });
        let of = |i: &usize| {
            let image = data.image(*i);
            let mirrored = (each > 1).then(|| image.flip());
            [Some(image), mirrored].into_iter().flatten()
        };
        let rows = data.kept(&key, |take| {
            for some in (0..data.len()).collect::<Vec<_>>().chunks(AT_ONCE) {
                let images: Vec<Image> = some.iter().flat_map(of).collect();
                clip.pictures(&images)?.rows().try_for_each(&mut *take)?;
            }
            Ok::<_, KeepError>(())
        });
        let rows = rows.map_err(|e| wrong(e.to_string()))?;
        let picture = [data.channels(), data.height(), data.width()];
        Ok(Some(Kept::new(Clip { width: clip.width(), picture, fingerprint }.into(), rows, each, train)))
    }
}
