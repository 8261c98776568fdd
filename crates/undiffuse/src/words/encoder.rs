//! Prompts as what a text encoder makes of them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use burn::tensor::Tensor;

use serde::{Deserialize, Serialize};
use undiffuse_nn::networks::{Encoded, TextEncoder, TextEncoderConfig, TextIo, Tokens};
use undiffuse_nn::weights::WeightsError;

use super::known::Known;
use super::{Chunk, Tokenized, Tokenizer, prompt};
use crate::part::{Part, lock};

/// Most chunks of a prompt; what is beyond is cut, and told.
const MOST: usize = 32;
/// Most bytes of prompts that are remembered, beside the last one.
const REMEMBERED: usize = 64 << 20;
/// Chunks that are encoded at once: what is made of them does not depend on it.
const AT_ONCE: usize = 32;

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
    /// 1 for tokens that count, 0 for those that fill up `[length]`; `None` where all count.
    pub mask: Option<Arc<[f32]>>,
}

/// What a text encoder makes of a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct States {
    /// The vector of the text.
    pub pooled: Vec<f32>,
    /// The states of those tokens that were read.
    pub hidden: Vec<f32>,
}

/// A tokenizer and the text encoder that reads its tokens.
#[derive(Debug)]
pub struct Words {
    tokenizer: Arc<Tokenizer>,
    config: TextEncoderConfig,
    /// `None` where it learns with the network that it reads for.
    encoder: Option<Arc<Part<TextEncoder>>>,
    io: TextIo,
    length: usize,
    /// Whether texts are read as long as they are: what fills them up is masked.
    masked: bool,
    known: Option<Arc<Known>>,
    remembered: Mutex<Vec<(String, Reading, Encoding)>>,
}

impl Words {
    /// A tokenizer with its encoder, of this config.
    ///
    /// # Errors
    /// A tokenizer of another vocabulary, or texts without room for a word.
    pub fn new(tokenizer: Tokenizer, encoder: Part<TextEncoder>, config: &TextEncoderConfig) -> Result<Self, String> {
        Self::of(Arc::new(tokenizer), Some(Arc::new(encoder)), config)
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
        Self { encoder: Some(Arc::new(Arc::new(encoder).into())), known: None, ..self.again() }
    }

    /// The same of texts of `length` tokens, what is beyond being cut off: each is read as long as it is, and what fills it up is
    /// masked. So nothing that a network is told of a text depends on others, whatever their lengths are.
    ///
    /// # Errors
    /// A length without room for words, or beyond what the encoder reads.
    pub fn masked(&self, length: usize) -> Result<Self, String> {
        let (least, most) = (self.tokenizer.marks() + 1, self.io.longest);
        match (least..=most).contains(&length) {
            true => Ok(Self { length, masked: true, known: None, ..self.again() }),
            false => Err(format!("texts of {length} tokens: this text encoder reads {least} to {most}")),
        }
    }

    /// The same that knows what its encoder makes of some texts.
    pub(super) fn knowing(&self, known: Known) -> Self {
        Self { known: Some(Arc::new(known)), ..self.again() }
    }

    fn again(&self) -> Self {
        Self {
            tokenizer: Arc::clone(&self.tokenizer),
            config: self.config.clone(),
            encoder: self.encoder.clone(),
            io: self.io.clone(),
            length: self.length,
            masked: self.masked,
            known: self.known.clone(),
            remembered: Mutex::default(),
        }
    }

    fn of(
        tokenizer: Arc<Tokenizer>,
        encoder: Option<Arc<Part<TextEncoder>>>,
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
        if length <= tokenizer.marks() {
            return Err(format!("texts of {length} tokens have no room for words"));
        }
        let (config, remembered) = (config.clone(), Mutex::default());
        Ok(Self { tokenizer, config, encoder, io, length, masked: false, known: None, remembered })
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
        self.tokenizer.tokenize_pieces(pieces, self.length, if self.masked { 1 } else { MOST })
    }

    /// Tokens of a text that are read at once, marks included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The same where what fills a text up is masked.
    pub fn masked_length(&self) -> Option<usize> {
        self.masked.then_some(self.length)
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
        // What is known was read as it stands, and an empty prompt has no brackets.
        let plain = reading.clip_skip == 0 && (reading.emphasis == Emphasis::None || prompt.is_empty());
        if let Some(states) = self.known.as_ref().filter(|_| plain).and_then(|known| known.get(prompt, self.pooled())) {
            return Ok(self.encoding(vec![states]));
        }
        if let Some(encoding) = self.recall(prompt, reading) {
            return Ok(encoding);
        }
        let Tokenized { chunks, .. } = self.tokenize(prompt, reading.emphasis).expect("the prompt was accepted");
        let mut states = self.states(&chunks, reading.clip_skip)?;
        for (chunk, States { hidden, .. }) in chunks.iter().zip(&mut states) {
            weigh(hidden, &chunk.weights, self.width(), reading.emphasis);
        }
        let encoding = self.encoding(states);
        self.remember(prompt, reading, &encoding);
        Ok(encoding)
    }

    /// What the encoder makes of chunks, those of as many tokens together.
    pub(super) fn states(&self, chunks: &[Chunk], skip: usize) -> Result<Vec<States>, WeightsError> {
        let encoder = self.encoder()?;
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (k, chunk) in chunks.iter().enumerate() {
            by_length.entry(if self.masked { chunk.used } else { self.length }).or_default().push(k);
        }
        let mut all = vec![States::default(); chunks.len()];
        for (length, places) in by_length {
            for some in places.chunks(AT_ONCE) {
                let ids = some.iter().flat_map(|&k| chunks[k].ids[..length].iter().map(|&id| id as usize)).collect();
                let Encoded { hidden, pooled } = encoder.encode(&Tokens { ids, length, mask: None }, skip);
                let (hidden, pooled) = (numbers(hidden), numbers(pooled));
                let each = hidden.chunks(length * self.width()).zip(pooled.chunks(self.pooled()));
                for (&k, (hidden, pooled)) in some.iter().zip(each) {
                    let pooled = if self.masked && self.io.mean { mean(hidden, self.width()) } else { pooled.to_vec() };
                    all[k] = States { pooled, hidden: hidden.to_vec() };
                }
            }
        }
        Ok(all)
    }

    /// What a network is told of chunks.
    fn encoding(&self, states: Vec<States>) -> Encoding {
        let (mut values, mut mask) = (Vec::new(), Vec::new());
        for States { hidden, .. } in &states {
            values.extend_from_slice(hidden);
            mask.resize(values.len() / self.width(), 1.0);
            mask.resize(mask.len().next_multiple_of(self.length), 0.0);
            values.resize(mask.len() * self.width(), 0.0);
        }
        let pooled = states.into_iter().next().map(|first| first.pooled).unwrap_or_default();
        let (length, mask) = (mask.len(), self.masked.then(|| mask.into()));
        Encoding { length, values: values.into(), pooled: pooled.into(), mask }
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
        self.encoder.as_ref().map_or(0, |encoder| encoder.bytes())
    }

    /// Bytes of them that are in memory.
    pub fn held(&self) -> u64 {
        self.encoder.as_ref().map_or(0, |encoder| encoder.held())
    }

    /// Gives the memory of the encoder's weights back, until a prompt is new.
    pub fn release(&self) {
        self.encoder.iter().for_each(|encoder| encoder.release());
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

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec_as::<f32>().expect("states are numbers")
}

/// The mean of the states of tokens, each of `width` numbers.
fn mean(states: &[f32], width: usize) -> Vec<f32> {
    let tokens = (states.len() / width) as f64;
    let of = |i: usize| states.iter().skip(i).step_by(width).map(|&v| f64::from(v)).sum::<f64>() / tokens;
    (0..width).map(|i| of(i) as f32).collect()
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
