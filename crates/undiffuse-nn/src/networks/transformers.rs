//! What transformers' classes share.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::read::{COUNT, fail, within};
use super::{ConfigError, Tokens};
use crate::ops::Activation;

/// Most layers.
const LAYERS: usize = 1000;

/// transformers' names of what is between the two maps of a feed-forward layer (`hidden_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// [`Activation::QuickGelu`].
    QuickGelu,
    /// [`Activation::Gelu`].
    Gelu,
    /// [`Activation::GeluTanh`].
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// [`Activation::Relu`].
    Relu,
    /// [`Activation::Silu`].
    #[serde(alias = "swish")]
    Silu,
}

impl From<HiddenAct> for Activation {
    fn from(act: HiddenAct) -> Self {
        match act {
            HiddenAct::QuickGelu => Self::QuickGelu,
            HiddenAct::Gelu => Self::Gelu,
            HiddenAct::GeluNew => Self::GeluTanh,
            HiddenAct::Relu => Self::Relu,
            HiddenAct::Silu => Self::Silu,
        }
    }
}

/// The sizes of a transformer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Width of a token.
    pub width: usize,
    /// Inner width of a feed-forward layer.
    pub inner: usize,
    pub heads: usize,
    pub layers: usize,
    /// Added to a layer normalisation's variance.
    pub eps: f64,
    pub act: Activation,
}

/// The [`Size`] that a config says: transformers' classes name its fields alike.
macro_rules! size {
    ($config:expr) => {
        Size {
            width: $config.hidden_size,
            inner: $config.intermediate_size,
            heads: $config.num_attention_heads,
            layers: $config.num_hidden_layers,
            eps: $config.layer_norm_eps,
            act: $config.hidden_act.into(),
        }
    };
}
pub(super) use size;

impl Size {
    /// Finds what is out of proportion, by transformers' names of the fields.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(self) -> Result<(), ConfigError> {
        within("hidden_size", self.width, COUNT)?;
        within("intermediate_size", self.inner, COUNT)?;
        within("num_attention_heads", self.heads, COUNT)?;
        within("num_hidden_layers", self.layers, LAYERS)?;
        if !self.width.is_multiple_of(self.heads) {
            return fail(format!("num_attention_heads {} does not divide hidden_size {}", self.heads, self.width));
        }
        if !(self.eps > 0.0 && self.eps < 1.0) {
            return fail(format!("layer_norm_eps must be between 0 and 1, not {}", self.eps));
        }
        Ok(())
    }

    /// In words.
    pub fn describe(self) -> String {
        let Self { width, heads, layers, .. } = self;
        format!("{layers} of tokens {width} wide, {heads} attention heads {} wide", width / heads)
    }
}

/// The `config.json` text of a network, as transformers reads it.
pub(super) fn to_json(config: &impl Serialize, model_type: &str) -> String {
    let mut config = serde_json::to_value(config).expect("a config of numbers and names serialises");
    let fields = config.as_object_mut().expect("a config is an object");
    let class = fields.remove("_class_name").expect("a config names its class");
    fields.insert("architectures".into(), vec![class].into());
    fields.insert("model_type".into(), model_type.into());
    format!("{config:#}\n")
}

/// What is added to the scores of tokens that don't count, as [`Mask`](crate::ops::Mask) reads it.
pub(super) fn uncounted(tokens: &Tokens, device: &Device) -> Option<Tensor<2>> {
    let values: Vec<f32> = tokens.mask.as_ref()?.iter().map(|&counts| if counts { 0.0 } else { f32::MIN }).collect();
    Some(Tensor::from_data(TensorData::new(values, [tokens.texts(), tokens.length]), device))
}
