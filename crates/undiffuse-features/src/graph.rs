//! Networks as data: what a feature network does to a picture, as a list of layers that JSON can hold.
//!
//! The built-in networks are functions that return a [`Graph`]. A network of your own is the same thing as JSON, kept in the
//! metadata of a `.safetensors` file under the key [`METADATA_KEY`], beside its weights under PyTorch's names:
//!
//! ```
//! let text = r#"{
//!   "name": "tiny",
//!   "input": { "size": 32, "channels": 3, "resize": "clean-bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] },
//!   "layers": [
//!     { "layer": "conv", "name": "conv1", "out": 32, "kernel": 3, "padding": 1, "bias": false,
//!       "norm": { "name": "bn1" }, "activation": "relu" },
//!     { "layer": "max-pool", "kernel": 2, "stride": 2 },
//!     { "layer": "residual", "layers": [
//!       { "layer": "conv", "name": "conv2", "out": 32, "kernel": 3, "padding": 1 } ] },
//!     { "layer": "global-pool" },
//!     { "layer": "linear", "name": "fc", "out": 64 }
//!   ]
//! }"#;
//! let graph: undiffuse_features::graph::Graph = serde_json::from_str(text)?;
//! assert_eq!(graph.layers.len(), 5);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! The last layer has to leave one vector a picture: `global-pool`, `flatten` or `linear`.

use serde::{Deserialize, Serialize};

use super::resize::Resize;

/// Where a `.safetensors` file keeps the [`Graph`] of its network, as JSON.
pub const METADATA_KEY: &str = "undiffuse.features";

/// A network, and how pictures enter it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Its name in reports.
    pub name: String,
    /// How pictures enter it.
    pub input: Input,
    /// What is done, in order.
    pub layers: Vec<Layer>,
}

/// How pictures enter a network: resized without regard to proportions, then `(x / 255 − mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Height and width.
    pub size: Pair,
    /// 1 (luma) or 3 (grey is repeated).
    pub channels: u16,
    /// The filter.
    pub resize: Resize,
    /// Of each channel, on the scale of 0 to 1.
    pub mean: Vec<f32>,
    /// Of each channel, on the scale of 0 to 1.
    pub std: Vec<f32>,
}

/// Down and across: `3`, or `[1, 7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pair {
    /// The same both ways.
    Both(u16),
    /// Down, across.
    Each([u16; 2]),
}

impl Pair {
    /// Down, across.
    pub fn get(self) -> (usize, usize) {
        match self {
            Pair::Both(n) => (n.into(), n.into()),
            Pair::Each([down, across]) => (down.into(), across.into()),
        }
    }
}

/// A non-linearity after a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `y`.
    #[default]
    None,
    /// `max(y, 0)`.
    Relu,
    /// `min(max(y, 0), 6)`.
    Relu6,
    /// `y · σ(y)`.
    Silu,
    /// `y · Φ(y)`.
    Gelu,
}

/// Batch normalisation with the running statistics: the tensors `NAME.weight`, `NAME.bias`, `NAME.running_mean` and
/// `NAME.running_var`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Of its tensors.
    pub name: String,
    /// Added to the variance.
    #[serde(default = "default_eps")]
    pub eps: f64,
}

fn default_eps() -> f64 {
    1e-5
}

/// A convolution: `NAME.weight` `[out, in, kh, kw]`, or `[out, 1, kh, kw]` for a depthwise one, and `NAME.bias` `[out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Of its tensors.
    pub name: String,
    /// Channels that come out.
    pub out: u16,
    /// Size of the filter.
    pub kernel: Pair,
    /// Step of the filter.
    #[serde(default = "one")]
    pub stride: u16,
    /// Zeros on both sides.
    #[serde(default = "zero_pair")]
    pub padding: Pair,
    /// Whether each channel has one filter of its own (`groups` = channels in = channels out).
    #[serde(default)]
    pub depthwise: bool,
    /// Whether there is a bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Batch normalisation after it.
    #[serde(default)]
    pub norm: Option<Norm>,
    /// What comes last.
    #[serde(default)]
    pub activation: Activation,
}

/// A linear map: `NAME.weight` `[out, in]` and `NAME.bias` `[out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Of its tensors.
    pub name: String,
    /// Numbers that come out.
    pub out: u16,
    /// Whether there is a bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// What comes last.
    #[serde(default)]
    pub activation: Activation,
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// A convolution, with what is usual after it.
    Conv(Conv),
    /// The largest pixel of each window; sizes are rounded down as in PyTorch.
    MaxPool {
        /// Size of the window.
        kernel: Pair,
        /// Its step.
        #[serde(default = "one")]
        stride: u16,
        /// Pixels on both sides that are never the largest.
        #[serde(default = "zero_pair")]
        padding: Pair,
    },
    /// The mean of each window.
    AvgPool {
        /// Size of the window.
        kernel: Pair,
        /// Its step.
        #[serde(default = "one")]
        stride: u16,
        /// Zeros on both sides.
        #[serde(default = "zero_pair")]
        padding: Pair,
        /// Whether the padding counts as pixels of a window (PyTorch's default).
        #[serde(default = "yes")]
        count_include_pad: bool,
    },
    /// The mean of all pixels: leaves a vector.
    GlobalPool {},
    /// All numbers as one vector, channel by channel.
    Flatten {},
    /// A linear map of a vector.
    Linear(Linear),
    /// A non-linearity by itself.
    Activation {
        /// Which.
        activation: Activation,
    },
    /// `x + layers(x)`, then an activation.
    Residual {
        /// What is added; leaves the shape as it is.
        layers: Vec<Layer>,
        /// What is added instead of `x` itself, such as a convolution of size 1.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortcut: Vec<Layer>,
        /// What comes last.
        #[serde(default)]
        activation: Activation,
    },
    /// Several ways from the same input, their channels joined in order.
    Branches {
        /// The ways; an empty one passes its input on.
        branches: Vec<Vec<Layer>>,
    },
}

fn one() -> u16 {
    1
}

fn yes() -> bool {
    true
}

fn zero_pair() -> Pair {
    Pair::Both(0)
}
