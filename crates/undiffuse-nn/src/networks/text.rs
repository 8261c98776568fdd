//! Text encoders: the tokens of words in, what they mean out.

use burn::tensor::Tensor;

use super::read::{COUNT, within};
use super::transformers::{self, Size};
use super::{ClassConfig, ConfigError, InputError, TextEncoder, TextEncoderConfig};
use crate::ops::on_threads;

/// The shape of a text encoder, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextIo {
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Most tokens in a text.
    pub longest: usize,
    /// Width of a token's hidden state.
    pub width: usize,
    /// What transformers calls the vector of a whole text, and how many numbers it has.
    pub pooled: (&'static str, usize),
    /// Whether the mean of a text's states says more of it than that vector, which such networks are published untaught
    /// \[Reimers19, section 3\].
    pub mean: bool,
    /// Layers.
    pub layers: usize,
    /// The token that ends a text, where the config says which.
    pub end: Option<usize>,
}

impl TextIo {
    /// Of a transformer that has a vector of a whole text beside its tokens' states.
    pub(super) fn new(size: Size, vocabulary: usize, longest: usize) -> Self {
        let Size { width, layers, .. } = size;
        Self { vocabulary, longest, width, pooled: ("pooler_output", width), mean: false, layers, end: None }
    }

    /// Finds what is out of proportion, by transformers' names of the fields.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within("vocab_size", self.vocabulary, COUNT)?;
        within("max_position_embeddings", self.longest, COUNT)
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        format!("of {} tokens at most, from a vocabulary of {}", self.longest, self.vocabulary)
    }
}

/// What the config of a text encoder says.
pub trait TextSpec: ClassConfig {
    /// What goes in and what comes out.
    fn io(&self) -> TextIo;

    /// What transformers' configs call networks of this kind.
    fn model_type(&self) -> &'static str;
}

/// The tokens of a batch of texts, equally many of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Rows of the vocabulary `[B, N]`, text after text.
    pub ids: Vec<usize>,
    /// Tokens of a text.
    pub length: usize,
    /// Whether the others see a token, `[B, N]`; `None` where they see all.
    pub mask: Option<Vec<bool>>,
}

impl Tokens {
    /// How many texts there are.
    pub fn texts(&self) -> usize {
        self.ids.len() / self.length
    }
}

/// What a text encoder makes of tokens.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// A state a token, `[B, N, C]`.
    pub hidden: Tensor<3>,
    /// A vector a text, `[B, C']`.
    pub pooled: Tensor<2>,
}

/// A text encoder.
pub trait Encode: Send + Sync {
    /// The states after the layer that is `skip` before the last, ready to be read, and the vector of each text.
    fn encode(&self, tokens: &Tokens, skip: usize) -> Encoded;
}

impl TextEncoderConfig {
    /// The `config.json` text, as transformers reads it.
    pub fn to_json(&self) -> String {
        transformers::to_json(self, self.model_type())
    }

    /// Finds what [`TextEncoder::encode`] would panic on.
    ///
    /// # Errors
    /// What does not fit the network, or the batch.
    pub fn check_input(&self, tokens: &Tokens, skip: usize) -> Result<(), InputError> {
        let TextIo { vocabulary, longest, layers, .. } = self.io();
        let (length, all) = (tokens.length, tokens.ids.len());
        if length == 0 || length > longest {
            return Err(InputError::Length { got: length, longest });
        }
        if let Some(&id) = tokens.ids.iter().find(|&&id| id >= vocabulary) {
            return Err(InputError::Token { id, vocabulary });
        }
        if skip >= layers {
            return Err(InputError::Skip { skip, layers });
        }
        if let Some(mask) = &tokens.mask {
            if mask.len() != all {
                return Err(InputError::Batch { what: "attention_mask", got: mask.len(), expected: all });
            }
            if let Some(text) = mask.chunks(length).position(|mask| !mask.contains(&true)) {
                return Err(InputError::Masked { text });
            }
        }
        Ok(())
    }
}

impl TextEncoder {
    /// What the network makes of tokens; the hidden states are those after the layer that is `skip` before the last one
    /// (Stable Diffusion's `clip_skip`), normalised as the last one's are.
    ///
    /// # Panics
    /// When the tokens do not fit; [`TextEncoderConfig::check_input`] finds out first.
    pub fn encode(&self, tokens: &Tokens, skip: usize) -> Encoded {
        on_threads(|| self.inner().encode(tokens, skip))
    }
}
