//! A text encoder that stays as it is while a network learns: what it makes of each caption is made once.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_data::{Dataset, Rows};

use super::encoder::States;
use super::{Chunk, Words};
use crate::part::KeepError;

/// Texts that are encoded before anything is written of them: of as many lengths, those of one length are read together.
const AT_ONCE: usize = 1024;
/// Hexadecimal digits of a key.
const KEY: usize = 16;

/// A tokenizer and a text encoder as they lie in a folder.
#[derive(Debug)]
pub struct Frozen {
    /// They.
    pub words: Arc<Words>,
    /// SHA-256 (hexadecimal) of their files.
    pub fingerprint: String,
}

/// What an encoder makes of texts, made once.
#[derive(Debug)]
pub(super) struct Known {
    places: HashMap<String, usize>,
    /// Of each text its vector, then the states of its tokens.
    rows: Rows,
}

impl Known {
    /// What is known of a text, its vector having `pooled` numbers.
    pub(super) fn get(&self, text: &str, pooled: usize) -> Option<States> {
        let mut hidden = self.rows.get(*self.places.get(text)?);
        let states = hidden.split_off(pooled);
        Some(States { pooled: hidden, hidden: states })
    }
}

impl Frozen {
    /// The encoder for a training on captions, at most `longest` tokens of each: as long as nearly all of them are. What it makes
    /// of them, and of the empty text, is made now and kept beside the data; its weights are let go again.
    ///
    /// # Errors
    /// Captions that make no tokens, weights that can't be read, a disk or memory that is full.
    pub fn of_captions(&self, texts: &[&str], longest: usize, data: &Dataset) -> Result<Words, String> {
        let words = &self.words;
        let words = words.masked(words.tokenizer().fitting(texts, longest.min(words.length()))?)?;
        let texts: Vec<&str> = [&[""], texts].concat();
        let mut hash = Sha256::new();
        hash.update(format!("{} {}\n", self.fingerprint, words.length()));
        texts.iter().for_each(|text| hash.update(format!("{}\n{text}", text.len())));
        let key = &hex(&hash.finalize())[..KEY];
        let first = |text: &&str| words.first(text).map(|read| read.chunks);
        let chunks: Vec<Chunk> = texts.iter().map(first).collect::<Result<Vec<_>, _>>()?.concat();
        let rows = data.kept(key, |take| {
            for some in chunks.chunks(AT_ONCE) {
                let states = words.states(some, 0)?;
                states.iter().try_for_each(|States { pooled, hidden }| take(&[&pooled[..], hidden].concat()))?;
            }
            Ok::<_, KeepError>(())
        });
        words.release();
        let places = texts.iter().enumerate().map(|(k, text)| ((*text).to_owned(), k)).collect();
        Ok(words.knowing(Known { places, rows: rows.map_err(|e| e.to_string())? }))
    }
}
