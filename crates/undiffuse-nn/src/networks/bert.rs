//! transformers' `BertModel` \[Devlin19\], which sentence encoders such as MiniLM are.

#![allow(non_snake_case)] // tensors' names

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::read::{COUNT, fail, within};
use super::transformers::{HiddenAct, Size, size, uncounted};
use super::{ClassConfig, ConfigError, Encode, Encoded, TextIo, TextSpec, Tokens};
use crate::init::Init;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::ops::{self, Activation, Mask};

/// The configuration of [`BertModel`]: the fields, names and defaults of transformers' `BertConfig`, as far as they say
/// anything of a network that is not being trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Inner width of a feed-forward layer.
    pub intermediate_size: usize,
    /// Non-linearity of the feed-forward layers.
    pub hidden_act: HiddenAct,
    /// Most tokens in a text.
    pub max_position_embeddings: usize,
    /// Kinds of token; every token of a text is of the first.
    pub type_vocab_size: usize,
    /// Added to a layer normalisation's variance.
    pub layer_norm_eps: f64,
    /// How positions enter: here by a table.
    pub position_embedding_type: String,
    /// Whether attention is causal: here it is not.
    pub is_decoder: bool,
    /// Whether layers attend to a second sequence: here they do not.
    pub add_cross_attention: bool,
}

/// As in transformers.
impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
            add_cross_attention: false,
        }
    }
}

impl BertConfig {
    fn size(&self) -> Size {
        size!(self)
    }
}

impl ClassConfig for BertConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.size().check()?;
        self.io().check()?;
        within("type_vocab_size", self.type_vocab_size, COUNT)?;
        if self.position_embedding_type != "absolute" || self.is_decoder || self.add_cross_attention {
            return fail(
                "only position_embedding_type = \"absolute\" without is_decoder and add_cross_attention is read",
            );
        }
        Ok(())
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        vec![("layers", self.size().describe()), ("texts", self.io().describe())]
    }
}

impl TextSpec for BertConfig {
    fn io(&self) -> TextIo {
        TextIo { mean: true, ..TextIo::new(self.size(), self.vocab_size, self.max_position_embeddings) }
    }

    fn model_type(&self) -> &'static str {
        "bert"
    }
}

/// The network. Field names are transformers' tensor names.
#[derive(Module, Debug)]
pub struct BertModel {
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Dense,
    #[module(skip)]
    pub(super) config: BertConfig,
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    LayerNorm: LayerNorm,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    intermediate: Dense,
    output: Residual,
    #[module(skip)]
    act: Activation,
}

#[derive(Module, Debug)]
struct Attention {
    /// `self` in transformers; see [`crate::params`].
    self_: Projections,
    output: Residual,
    #[module(skip)]
    heads: usize,
}

#[derive(Module, Debug)]
struct Projections {
    query: Linear,
    key: Linear,
    value: Linear,
}

#[derive(Module, Debug)]
struct Dense {
    dense: Linear,
}

/// A map whose outcome is added to what came in and normalised.
#[derive(Module, Debug)]
struct Residual {
    dense: Linear,
    LayerNorm: LayerNorm,
}

impl BertModel {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let size = config.size();
        let table = |rows| Embedding::begun(rows, size.width, Init::Normal(0.02), device);
        Self {
            embeddings: Embeddings {
                word_embeddings: table(config.vocab_size),
                position_embeddings: table(config.max_position_embeddings),
                token_type_embeddings: table(config.type_vocab_size),
                LayerNorm: LayerNorm::new(size.width, size.eps, device),
            },
            encoder: Encoder { layer: (0..size.layers).map(|_| Layer::new(size, device)).collect() },
            pooler: Dense { dense: Linear::new(size.width, size.width, device) },
            config: config.clone(),
        }
    }
}

impl Encode for BertModel {
    fn encode(&self, tokens: &Tokens, skip: usize) -> Encoded {
        let (n, width) = (tokens.length, self.config.hidden_size);
        let texts = tokens.texts();
        let Embeddings { word_embeddings, position_embeddings, token_type_embeddings, LayerNorm: norm } =
            &self.embeddings;
        let words = word_embeddings.tokens(&tokens.ids, n);
        let places = position_embeddings.first(n, texts);
        let kind = ops::repeated(token_type_embeddings.weight.val().narrow(0, 0, 1).unsqueeze(), texts);
        let mask = Mask { causal: false, bias: uncounted(tokens, &words.device()) };
        let x = norm.forward(words + kind + places);
        let (first, last) = self.encoder.layer.split_at(self.encoder.layer.len() - skip);
        let run = |x, layers: &[Layer]| layers.iter().fold(x, |x, layer| layer.forward(x, &mask));
        let early = run(x, first);
        let start = run(early.clone(), last).narrow(1, 0, 1).reshape([texts, width]);
        Encoded { hidden: early, pooled: activation::tanh(self.pooler.dense.forward(start)) }
    }
}

impl Layer {
    fn new(size: Size, device: &Device) -> Self {
        let linear = |c_in, c_out| Linear::new(c_in, c_out, device);
        let residual = |c_in| Residual {
            dense: linear(c_in, size.width),
            LayerNorm: LayerNorm::new(size.width, size.eps, device),
        };
        let [query, key, value] = std::array::from_fn(|_| linear(size.width, size.width));
        Self {
            attention: Attention {
                self_: Projections { query, key, value },
                output: residual(size.width),
                heads: size.heads,
            },
            intermediate: Dense { dense: linear(size.width, size.inner) },
            output: residual(size.inner),
            act: size.act,
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let Attention { self_: Projections { query, key, value }, output, heads } = &self.attention;
        let [q, k, v] = [query, key, value].map(|linear| linear.forward(x.clone()));
        let y = output.dense.forward(ops::token_attention(q, k, v, *heads, mask.clone()));
        let x = output.LayerNorm.forward(x + y);
        let y = self.output.dense.activated(self.act, self.intermediate.dense.forward(x.clone()));
        self.output.LayerNorm.forward(x + y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::TextEncoderConfig;

    /// all-MiniLM-L6-v2 has 22,713,216 parameters.
    #[test]
    fn published_networks_are_counted() {
        let mini =
            BertConfig { hidden_size: 384, num_hidden_layers: 6, intermediate_size: 1536, ..BertConfig::default() };
        assert_eq!(TextEncoderConfig::from(mini).parameters().unwrap(), 22_713_216);
    }
}
