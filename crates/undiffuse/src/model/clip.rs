//! A CLIP in its folder.

use std::path::Path;

use burn::tensor::Device;
use undiffuse_nn::networks::{ComponentConfig, ImageEncoderConfig};

use super::adapter::Adapters;
use super::outline::{read_words, text_encoder};
use super::pipeline::IMAGE_ENCODER;
use super::weights::Weights;
use super::{ModelError, ModelFolder, weights_of};
use crate::card::Card;
use crate::clip::ClipModel;
use crate::part::Part;

impl ClipModel {
    /// Reads the folder of a CLIP, or of a run that trained one: the names of its tensors, and no values yet.
    ///
    /// # Errors
    /// Whatever [`ModelError`] names.
    pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        ModelFolder::read_clip(path.as_ref(), |folder| read(folder, device))
    }

    /// Writes the folder; one that is there is replaced as a whole.
    ///
    /// # Errors
    /// Whatever the system says, a folder there that holds anything besides a model, and weights that cannot be read.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        ModelFolder::write(path.as_ref(), |folder| {
            write(self, folder)?;
            folder.write_card(&Card { format: 1, ..self.card.clone() })
        })
    }
}

/// The CLIP of a folder, in which there may be more: of its tensors the names, and no values yet.
pub(super) fn read(folder: &ModelFolder, device: &Device) -> Result<ClipModel, ModelError> {
    let words = read_words(folder, text_encoder(folder, None)?, Adapters::default(), device)?;
    let (config, weights) = image_encoder(folder)?;
    let (of, at) = (config.clone(), device.clone());
    let blank = move || of.network(&at).expect("the config was checked");
    let encoder = Part::new(weights.open()?, |_| true, blank)?;
    let parts = ClipModel::new(words, encoder, config, folder.picture_reading()?, folder.card()?, device);
    parts.map_err(|problem| ModelError::Clip { path: folder.path().to_owned(), problem })
}

/// Writes all of a CLIP but its card.
pub(super) fn write(clip: &ClipModel, folder: &ModelFolder) -> Result<(), ModelError> {
    let (text, picture) = clip.networks()?;
    folder.write_text_encoder(clip.words().config(), &weights_of(&*text))?;
    folder.write_tokenizer(clip.words().tokenizer())?;
    folder.write_image_encoder(clip.config(), &weights_of(&*picture), clip.reading())
}

/// The image encoder of a folder, and where its weights are.
fn image_encoder(folder: &ModelFolder) -> Result<(ImageEncoderConfig, Weights), ModelError> {
    match folder.part(IMAGE_ENCODER, None)? {
        (ComponentConfig::ImageEncoder(config), weights) => Ok((config, weights)),
        (config, _) => {
            let problem = format!("its `{IMAGE_ENCODER}` is of class {}, which reads no pictures", config.class());
            Err(ModelError::Clip { path: folder.path().to_owned(), problem })
        }
    }
}
