//! A text encoder with its tokenizer, in a folder of their own or of a model.

use std::io;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_nn::networks::ComponentConfig;

use super::outline::unread;
use super::{ModelError, ModelFolder};
use crate::files;
use crate::words::{Frozen, Tokenizer, Words};

impl Frozen {
    /// Reads a text encoder: of a model's folder or a run, where it is in `text_encoder/` and its tokenizer in `tokenizer/`, or of a
    /// folder that both lie in. Nothing is read of its weights yet but for a checksum.
    ///
    /// # Errors
    /// Whatever [`ModelError`] names.
    pub fn read(path: &Path, device: &Device) -> Result<Self, ModelError> {
        ModelFolder::read_words(path, |encoder, tokenizer| {
            let wrong = |problem| ModelError::TextEncoder { path: encoder.path().to_owned(), problem };
            let (config, weights) = match encoder.component(None)? {
                (ComponentConfig::TextEncoder(config), weights) => (config, weights),
                (other, _) => return Err(wrong(format!("its class {} reads no words", other.class()))),
            };
            let mut hash = Sha256::new();
            hash.update(config.to_json());
            for part in &weights.parts {
                io::copy(&mut files::open(part)?, &mut hash).map_err(files::at("read", part))?;
            }
            let tokenizer = Tokenizer::read(tokenizer)?;
            tokenizer.files().for_each(|(_, bytes)| hash.update(bytes));
            let encoder = unread(&config, &weights, device)?;
            let words = Words::new(tokenizer, encoder, &config).map_err(wrong)?;
            Ok(Self { words: Arc::new(words), fingerprint: hex(&hash.finalize()) })
        })
    }
}
