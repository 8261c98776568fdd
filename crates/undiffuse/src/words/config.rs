//! `[condition.words]`: how a training reads captions.

use serde::{Deserialize, Serialize};
use undiffuse_nn::networks::TextEncoderConfig;
use undiffuse_nn::networks::clip_text::{CLIPTextConfig, CLIPTextProjectionConfig};

use super::vocabulary::LEAST;
use super::{Tokenizer, Words};

/// Beyond what any text encoder has.
const MOST: usize = 1 << 20;
/// Layers, at most.
const LAYERS: usize = 256;
/// Where a class's name goes in a [`template`](WordsConfig::template).
const NAME: &str = "{}";

/// A text encoder that stays as it is, or one that learns with the network it reads for: CLIP's, small, with a vocabulary of the
/// captions' own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WordsConfig {
    /// The folder of a text encoder that stays as it is; none where one learns, which the options below make, but for `length`.
    pub encoder: String,
    /// Most tokens of the vocabulary.
    pub vocabulary: usize,
    /// Most tokens that are read of a caption; fewer where nearly all captions have fewer.
    pub length: usize,
    /// Width of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// The caption of pictures that have a class and no captions, `{}` being the name of the class.
    pub template: String,
}

/// Those of the preset `quick`.
impl Default for WordsConfig {
    fn default() -> Self {
        Self {
            encoder: String::new(),
            vocabulary: 4096,
            length: 77,
            width: 128,
            layers: 2,
            heads: 4,
            template: "a {}".into(),
        }
    }
}

/// The caption of a class by a [`template`](WordsConfig::template).
pub fn of_class(template: &str, class: &str) -> String {
    template.replace(NAME, class)
}

impl WordsConfig {
    /// What cannot work, each with its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let counts = [
            ("vocabulary", self.vocabulary, LEAST, MOST),
            ("length", self.length, 3, MOST),
            ("width", self.width, 1, MOST),
            ("layers", self.layers, 1, LAYERS),
        ];
        for (key, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                problems.push(format!("condition.words.{key} = {value} must be between {least} and {most}"));
            }
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let (heads, width) = (self.heads, self.width);
            problems.push(format!("condition.words.heads = {heads} must divide condition.words.width = {width}"));
        }
        if !self.template.contains(NAME) {
            problems.push(format!("condition.words.template = {:?} has no {NAME} for a class's name", self.template));
        }
        problems
    }

    /// A vocabulary of these texts' words, and an encoder of it that has not learned yet.
    ///
    /// # Errors
    /// Texts that make no tokens.
    pub fn reader(&self, texts: &[&str]) -> Result<Words, String> {
        let (tokenizer, config) = self.learned(texts)?;
        Words::unlearned(tokenizer, &TextEncoderConfig::from(config))
    }

    /// The same, its texts projected to vectors of `projection_dim` numbers.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn projected(&self, texts: &[&str], projection_dim: usize) -> Result<Words, String> {
        let (tokenizer, config) = self.learned(texts)?;
        let config = CLIPTextProjectionConfig(CLIPTextConfig { projection_dim, ..config });
        Words::unlearned(tokenizer, &TextEncoderConfig::from(config))
    }

    fn learned(&self, texts: &[&str]) -> Result<(Tokenizer, CLIPTextConfig), String> {
        let tokenizer = Tokenizer::learn(texts, self.vocabulary, self.length)?;
        let config = CLIPTextConfig {
            vocab_size: tokenizer.vocabulary(),
            hidden_size: self.width,
            intermediate_size: 4 * self.width,
            projection_dim: self.width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            max_position_embeddings: tokenizer.length().unwrap_or(self.length),
            eos_token_id: tokenizer.end().unwrap_or_default(),
            ..CLIPTextConfig::default()
        };
        Ok((tokenizer, config))
    }
}
