//! Prompts as what a text encoder makes of them.

use std::str::FromStr;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use undiffuse_nn::networks::{Encoded, TextEncoder, TextEncoderConfig, TextIo, Tokens};
use undiffuse_nn::weights::WeightsError;

use super::{Tokenized, Tokenizer, prompt};
use crate::part::{Part, lock};

/// Most chunks of a prompt; what is beyond is cut, and told.
const MOST: usize = 32;
/// Most bytes of prompts that are remembered, beside the last one.
const REMEMBERED: usize = 64 << 20;

/// What is made of words that are to count more or less than others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emphasis {
    /// Their tokens' states are multiplied, and all of a chunk then scaled back to the mean that it had: AUTOMATIC1111's
    /// "Original".
    #[default]
    Original,
    /// Multiplied alone: AUTOMATIC1111's "No norm".
    NoNorm,
    /// Brackets are words like others, as in diffusers: AUTOMATIC1111's "None".
    None,
}

impl Emphasis {
    /// All, each with its word.
    pub const ALL: [(&str, Self); 3] = [("original", Self::Original), ("no-norm", Self::NoNorm), ("none", Self::None)];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, emphasis)| *emphasis == self).map_or("", |(word, _)| word)
    }
}

impl FromStr for Emphasis {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        let known = || Self::ALL.map(|(known, _)| known).join(", ");
        found.map(|(_, emphasis)| *emphasis).ok_or_else(|| format!("`{word}` is none of {}", known()))
    }
}

/// How prompts are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Layers of the text encoder that are left out at its end, as diffusers counts them.
    pub clip_skip: usize,
    /// What is made of weights.
    pub emphasis: Emphasis,
}

/// What a text encoder makes of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// Tokens, all chunks together.
    pub length: usize,
    /// Their states `[length, width]`.
    pub values: Arc<[f32]>,
    /// The vector of the whole text, of the first chunk where there are several.
    pub pooled: Arc<[f32]>,
}

/// A tokenizer and the text encoder that reads its tokens.
#[derive(Debug)]
pub struct Words {
    tokenizer: Arc<Tokenizer>,
    config: TextEncoderConfig,
    /// `None` where it learns with the network that it reads for.
    encoder: Option<Part<TextEncoder>>,
    io: TextIo,
    length: usize,
    remembered: Mutex<Vec<(String, Reading, Encoding)>>,
}

impl Words {
    /// A tokenizer with its encoder, of this config.
    ///
    /// # Errors
    /// A tokenizer of another vocabulary, or texts without room for a word.
    pub fn new(tokenizer: Tokenizer, encoder: Part<TextEncoder>, config: &TextEncoderConfig) -> Result<Self, String> {
        Self::of(Arc::new(tokenizer), Some(encoder), config)
    }

    /// A tokenizer for an encoder of this config that is still to learn: nothing is encoded without [`with`](Self::with).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn unlearned(tokenizer: Tokenizer, config: &TextEncoderConfig) -> Result<Self, String> {
        Self::of(Arc::new(tokenizer), None, config)
    }

    /// The same tokens, read by this encoder of the same config.
    pub fn with(&self, encoder: TextEncoder) -> Self {
        let (tokenizer, config) = (Arc::clone(&self.tokenizer), self.config.clone());
        let Self { io, length, .. } = self;
        let (io, length, encoder) = (io.clone(), *length, Some(Arc::new(encoder).into()));
        Self { tokenizer, config, encoder, io, length, remembered: Mutex::default() }
    }

    fn of(
        tokenizer: Arc<Tokenizer>,
        encoder: Option<Part<TextEncoder>>,
        config: &TextEncoderConfig,
    ) -> Result<Self, String> {
        let io = config.io();
        let (tokens, known) = (tokenizer.vocabulary(), io.vocabulary);
        if tokens > known {
            return Err(format!(
                "the tokenizer has {tokens} tokens and the text encoder knows {known}: they are of different models"
            ));
        }
        if let Some((end, other)) = io.end.zip(tokenizer.end()).filter(|(a, b)| a != b) {
            return Err(format!(
                "the text encoder's token {end} ends a text, the tokenizer's is {other}: they are of different models"
            ));
        }
        let length = tokenizer.length().map_or(io.longest, |length| length.min(io.longest));
        match length > tokenizer.marks() {
            true => Ok(Self { tokenizer, config: config.clone(), encoder, io, length, remembered: Mutex::default() }),
            false => Err(format!("texts of {length} tokens have no room for words")),
        }
    }

    /// Numbers of a token.
    pub fn width(&self) -> usize {
        self.io.width
    }

    /// Numbers of the vector of a whole text.
    pub fn pooled(&self) -> usize {
        self.io.pooled.1
    }

    /// Layers of the encoder.
    pub fn layers(&self) -> usize {
        self.io.layers
    }

    /// The encoder and how it reads, for people.
    pub fn describe(&self) -> String {
        format!("read by its {}, {} tokens at a time", self.config.class(), self.length - self.tokenizer.marks())
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the encoder is.
    pub fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    /// Whether the encoder is still to learn.
    pub fn learns(&self) -> bool {
        self.encoder.is_none()
    }

    /// A prompt as tokens.
    ///
    /// # Errors
    /// Words that the tokenizer fails on.
    pub fn tokenize(&self, prompt: &str, emphasis: Emphasis) -> Result<Tokenized, String> {
        let pieces = match emphasis {
            Emphasis::None => vec![prompt::Piece::Words(prompt.to_owned(), 1.0)],
            Emphasis::Original | Emphasis::NoNorm => prompt::parse(prompt),
        };
        self.tokenizer.tokenize_pieces(pieces, self.length, MOST)
    }

    /// Tokens of a text that are read at once, marks included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// What of a text is read at once, its brackets being words like others.
    ///
    /// # Errors
    /// Words that the tokenizer fails on.
    pub fn first(&self, text: &str) -> Result<Tokenized, String> {
        let piece = vec![prompt::Piece::Words(text.to_owned(), 1.0)];
        self.tokenizer.tokenize_pieces(piece, self.length, 1)
    }

    /// The tokens of texts as an encoder takes them, of each what it reads at once.
    ///
    /// # Panics
    /// On words that the tokenizer fails on.
    pub fn tokens<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Tokens {
        let of = |text: &str| {
            let read = self.first(text).expect("the text was accepted");
            read.chunks.into_iter().flat_map(|chunk| chunk.ids).map(|id| id as usize).collect::<Vec<_>>()
        };
        Tokens { ids: texts.flat_map(of).collect(), length: self.length, mask: None }
    }

    /// The encoder; read if it is not in memory.
    ///
    /// # Errors
    /// Weights that cannot be read.
    ///
    /// # Panics
    /// Where it is still to learn.
    pub fn encoder(&self) -> Result<Arc<TextEncoder>, WeightsError> {
        self.encoder.as_ref().expect("a text encoder that learns is given by who teaches it").get()
    }

    /// What the encoder makes of a prompt, which [`tokenize`](Self::tokenize) has passed; at once where it did so lately.
    ///
    /// # Errors
    /// Weights that cannot be read.
    ///
    /// # Panics
    /// On words that the tokenizer fails on, and when more layers are to be left out than there are.
    pub fn encode(&self, prompt: &str, reading: Reading) -> Result<Encoding, WeightsError> {
        if let Some(encoding) = self.recall(prompt, reading) {
            return Ok(encoding);
        }
        let Tokenized { chunks, .. } = self.tokenize(prompt, reading.emphasis).expect("the prompt was accepted");
        let ids = chunks.iter().flat_map(|chunk| chunk.ids.iter().map(|&id| id as usize)).collect();
        let tokens = Tokens { ids, length: self.length, mask: None };
        let Encoded { hidden, pooled } = self.encoder()?.encode(&tokens, reading.clip_skip);
        let mut values = hidden.into_data().try_into_vec_as::<f32>().expect("states are numbers");
        let pooled = pooled.narrow(0, 0, 1).into_data().try_into_vec_as::<f32>().expect("vectors are numbers");
        for (chunk, values) in chunks.iter().zip(values.chunks_mut(self.length * self.width())) {
            weigh(values, &chunk.weights, self.width(), reading.emphasis);
        }
        let encoding = Encoding { length: chunks.len() * self.length, values: values.into(), pooled: pooled.into() };
        self.remember(prompt, reading, &encoding);
        Ok(encoding)
    }

    /// Reads the encoder's weights if they are not in memory.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn load(&self) -> Result<(), WeightsError> {
        self.encoder().map(drop)
    }

    /// Bytes of the encoder's weights.
    pub fn bytes(&self) -> u64 {
        self.encoder.as_ref().map_or(0, Part::bytes)
    }

    /// Bytes of them that are in memory.
    pub fn held(&self) -> u64 {
        self.encoder.as_ref().map_or(0, Part::held)
    }

    /// Gives the memory of the encoder's weights back, until a prompt is new.
    pub fn release(&self) {
        self.encoder.iter().for_each(Part::release);
    }

    fn recall(&self, prompt: &str, reading: Reading) -> Option<Encoding> {
        let mut remembered = lock(&self.remembered);
        let at = remembered.iter().position(|(text, how, _)| text == prompt && *how == reading)?;
        let last = remembered.len() - 1;
        remembered[at..].rotate_left(1);
        Some(remembered[last].2.clone())
    }

    /// Forgets what was not asked for longest.
    fn remember(&self, prompt: &str, reading: Reading, encoding: &Encoding) {
        let mut remembered = lock(&self.remembered);
        remembered.push((prompt.to_owned(), reading, encoding.clone()));
        let bytes = |of: &(String, Reading, Encoding)| of.0.len() + 4 * (of.2.values.len() + of.2.pooled.len());
        let mut left = remembered.iter().map(bytes).sum::<usize>();
        while left > REMEMBERED && remembered.len() > 1 {
            left -= bytes(&remembered.remove(0));
        }
    }
}

/// Multiplies the states of a chunk's tokens by their weights; all of them are then scaled to the mean that was there before.
fn weigh(values: &mut [f32], weights: &[f32], width: usize, emphasis: Emphasis) {
    if weights.iter().all(|&weight| weight == 1.0) {
        return;
    }
    let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
    let before = sum(values);
    for (state, weight) in values.chunks_mut(width).zip(weights) {
        state.iter_mut().for_each(|v| *v *= weight);
    }
    let ratio = (before / sum(values)) as f32;
    if emphasis == Emphasis::Original && ratio.is_finite() {
        values.iter_mut().for_each(|v| *v *= ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, as the web UI's documentation has it: multiplied, then scaled to the mean that was there.
    #[test]
    fn weighted_states_keep_their_mean() {
        let states = [1.0, 3.0, -2.0, 6.0];
        let weighted = |weights: &[f32], emphasis| {
            let mut values = states;
            weigh(&mut values, weights, 2, emphasis);
            values
        };
        assert_eq!(weighted(&[1.0, 1.0], Emphasis::Original), states);
        assert_eq!(weighted(&[1.0, 0.5], Emphasis::NoNorm), [1.0, 3.0, -1.0, 3.0]);
        // The sum falls from 8 to 6.
        let expected = [1.0, 3.0, -1.0, 3.0].map(|v: f32| v * (8.0f64 / 6.0) as f32);
        assert_eq!(weighted(&[1.0, 0.5], Emphasis::Original), expected);
        assert_eq!(weighted(&[0.0, 0.0], Emphasis::Original), [0.0; 4]);
    }
}
