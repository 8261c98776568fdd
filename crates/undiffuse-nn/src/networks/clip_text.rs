//! transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`: CLIP's reader of words \[Radford21\].

use std::ops::Deref;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::clip::Encoder;
use super::read::{COUNT, within};
use super::transformers::{HiddenAct, Size, size, uncounted};
use super::{ClassConfig, ConfigError, Encode, Encoded, TextIo, TextSpec, Tokens};
use crate::init::Init;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::ops::{self, Mask};

/// What files before transformers 4.31 say of every model's last token, whichever it is.
const WRONG_END: usize = 2;
/// Tokens of the vocabulary that all published models share; the last one is the end of a text.
const VOCABULARY: usize = 49408;

/// The configuration of [`CLIPTextModel`]: the fields, names and defaults of transformers' class of that name, as far as they
/// say anything of a network that is not being trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CLIPTextConfig {
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Inner width of a feed-forward layer.
    pub intermediate_size: usize,
    /// Width of a projected text.
    pub projection_dim: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Most tokens in a text.
    pub max_position_embeddings: usize,
    /// Non-linearity of the feed-forward layers.
    pub hidden_act: HiddenAct,
    /// Added to a layer normalisation's variance.
    pub layer_norm_eps: f64,
    /// The token that ends a text. 2 stands for the highest of a text's, as in transformers, where that can be meant.
    pub eos_token_id: usize,
}

/// As in transformers.
impl Default for CLIPTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: VOCABULARY,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: VOCABULARY - 1,
        }
    }
}

impl CLIPTextConfig {
    fn size(&self) -> Size {
        size!(self)
    }

    /// The place of a text's end among its tokens: the first of that id, and of the highest where the file says 2. A vocabulary
    /// that was added to has higher ids than the end's, which transformers would then miss.
    fn end(&self, ids: &[usize]) -> usize {
        let end = match self.eos_token_id {
            WRONG_END if self.vocab_size > VOCABULARY => VOCABULARY - 1,
            WRONG_END => ids.iter().copied().max().unwrap_or_default(),
            end => end,
        };
        ids.iter().position(|&id| id == end).unwrap_or_default()
    }
}

impl ClassConfig for CLIPTextConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.size().check()?;
        self.io().check()
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        vec![("layers", self.size().describe()), ("texts", self.io().describe())]
    }
}

impl TextSpec for CLIPTextConfig {
    fn io(&self) -> TextIo {
        let end = match self.eos_token_id {
            WRONG_END => (self.vocab_size >= VOCABULARY).then_some(VOCABULARY - 1),
            end => (end < self.vocab_size).then_some(end),
        };
        TextIo { end, ..TextIo::new(self.size(), self.vocab_size, self.max_position_embeddings) }
    }

    fn model_type(&self) -> &'static str {
        "clip_text_model"
    }
}

/// The configuration of [`CLIPTextModelWithProjection`]: the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CLIPTextProjectionConfig(pub CLIPTextConfig);

impl Deref for CLIPTextProjectionConfig {
    type Target = CLIPTextConfig;
    fn deref(&self) -> &CLIPTextConfig {
        &self.0
    }
}

impl ClassConfig for CLIPTextProjectionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.0.check()?;
        within("projection_dim", self.projection_dim, COUNT)
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let projected = format!("to {} numbers", self.projection_dim);
        [self.0.describe(), vec![("projected", projected)]].concat()
    }
}

impl TextSpec for CLIPTextProjectionConfig {
    fn io(&self) -> TextIo {
        TextIo { pooled: ("text_embeds", self.projection_dim), ..self.0.io() }
    }

    fn model_type(&self) -> &'static str {
        self.0.model_type()
    }
}

/// The network. Field names are the tensor names of transformers' files.
#[derive(Module, Debug)]
pub struct CLIPTextModel {
    text_model: TextTransformer,
    #[module(skip)]
    pub(super) config: CLIPTextConfig,
}

/// The same network, and a map of a text's end.
#[derive(Module, Debug)]
pub struct CLIPTextModelWithProjection {
    text_model: TextTransformer,
    text_projection: Linear,
    #[module(skip)]
    pub(super) config: CLIPTextProjectionConfig,
}

#[derive(Module, Debug)]
struct TextTransformer {
    embeddings: Embeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Embeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

impl CLIPTextModel {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &CLIPTextConfig, device: &Device) -> Self {
        Self { text_model: TextTransformer::new(config, device), config: config.clone() }
    }
}

impl CLIPTextModelWithProjection {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &CLIPTextProjectionConfig, device: &Device) -> Self {
        Self {
            text_model: TextTransformer::new(config, device),
            text_projection: Linear::new(config.hidden_size, config.projection_dim, device).unbiased(),
            config: config.clone(),
        }
    }
}

impl Encode for CLIPTextModel {
    fn encode(&self, tokens: &Tokens, skip: usize) -> Encoded {
        self.text_model.forward(tokens, skip, &self.config)
    }
}

impl Encode for CLIPTextModelWithProjection {
    fn encode(&self, tokens: &Tokens, skip: usize) -> Encoded {
        let Encoded { hidden, pooled } = self.text_model.forward(tokens, skip, &self.config);
        Encoded { hidden, pooled: self.text_projection.forward(pooled) }
    }
}

impl TextTransformer {
    fn new(config: &CLIPTextConfig, device: &Device) -> Self {
        let (size, table) =
            (config.size(), |rows| Embedding::begun(rows, config.hidden_size, Init::Normal(0.02), device));
        Self {
            embeddings: Embeddings {
                token_embedding: table(config.vocab_size),
                position_embedding: table(config.max_position_embeddings),
            },
            encoder: Encoder::new(size, device),
            final_layer_norm: LayerNorm::new(size.width, size.eps, device),
        }
    }

    /// Every token sees those before it.
    fn forward(&self, tokens: &Tokens, skip: usize, config: &CLIPTextConfig) -> Encoded {
        let n = tokens.length;
        let words = self.embeddings.token_embedding.tokens(&tokens.ids, n);
        let places = self.embeddings.position_embedding.first(n, tokens.texts());
        let mask = Mask { causal: true, bias: uncounted(tokens, &words.device()) };
        let [last, early] = self.encoder.forward(words + places, &mask, skip);
        let last = self.final_layer_norm.forward(last);
        Encoded {
            pooled: at_the_end(&last, tokens, config),
            hidden: if skip == 0 { last } else { self.final_layer_norm.forward(early) },
        }
    }
}

/// The state of each text's end, `[B, N, C]` → `[B, C]`.
fn at_the_end(states: &Tensor<3>, tokens: &Tokens, config: &CLIPTextConfig) -> Tensor<2> {
    let [texts, n, width] = states.dims();
    let ends: Vec<usize> = tokens.ids.chunks(n).enumerate().map(|(text, ids)| text * n + config.end(ids)).collect();
    ops::embedding(states.clone().reshape([texts * n, width]), &ends, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::TextEncoderConfig;

    /// SD 1.5's text encoder has 123,060,480 parameters, and SD 2.1's 340,387,840.
    #[test]
    fn published_networks_are_counted() {
        let large = CLIPTextConfig {
            hidden_size: 768,
            intermediate_size: 3072,
            num_attention_heads: 12,
            ..CLIPTextConfig::default()
        };
        assert_eq!(TextEncoderConfig::from(large).parameters().unwrap(), 123_060_480);
        let huge = CLIPTextConfig {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_attention_heads: 16,
            num_hidden_layers: 23,
            ..CLIPTextConfig::default()
        };
        assert_eq!(TextEncoderConfig::from(huge).parameters().unwrap(), 340_387_840);
    }

    /// Words that were taught to a model have higher ids than the end.
    #[test]
    fn the_end_of_a_text_is_found_by_its_id() {
        let legacy = CLIPTextConfig { eos_token_id: 2, ..CLIPTextConfig::default() };
        let ids = [49406, 320, 49407, 49407];
        assert_eq!(legacy.end(&ids), 2);
        let taught = CLIPTextConfig { vocab_size: 49409, ..legacy.clone() };
        assert_eq!(taught.end(&[49406, 49408, 320, 49407]), 3);
        let small = CLIPTextConfig { vocab_size: 100, ..legacy };
        assert_eq!(small.end(&[98, 4, 99, 1, 99]), 2);
    }
}
