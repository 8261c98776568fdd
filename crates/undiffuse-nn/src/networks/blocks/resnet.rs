//! The residual block: normalise, activate, convolve, listen to the time, and again.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::signal::Signal;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::ops::{self, Activation, Added, Joined, Map};

/// How the time embedding enters a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Added before the second normalisation.
    Default,
    /// Scale and shift after the second normalisation (FiLM).
    ScaleShift,
}

/// What the residual blocks of a network have in common.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    /// Groups of the normalisations.
    pub groups: usize,
    /// ε of the normalisations.
    pub eps: f64,
    /// The non-linearity.
    pub activation: Activation,
    /// Width of the time embedding; `None` where blocks listen to none.
    pub time: Option<usize>,
    /// How it enters.
    pub time_scale_shift: TimeScaleShift,
    /// Dropout probability.
    pub dropout: f64,
}

/// What a residual block does to the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Nothing.
    Keep,
    /// Halves it by averaging 2×2 blocks.
    Down,
    /// Doubles it by repeating pixels.
    Up,
}

impl Resize {
    fn apply(self, x: Map) -> Map {
        match self {
            Resize::Keep => x,
            Resize::Down => x.with(average_2x2),
            Resize::Up => x.with(ops::reference::upsample_nearest),
        }
    }
}

/// Means of 2×2 blocks; a last odd row or column is dropped.
fn average_2x2(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let (h, w) = (h / 2, w / 2);
    x.slice([0..b, 0..c, 0..2 * h, 0..2 * w]).reshape([b, c, h, 2, w, 2]).mean_dim(5).mean_dim(3).reshape([b, c, h, w])
}

/// diffusers' `ResnetBlock2D`.
#[derive(Module, Debug)]
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    time_scale_shift: TimeScaleShift,
    #[module(skip)]
    resize: Resize,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    output_scale_factor: f64,
}

impl ResnetBlock2D {
    /// A block from `c_in` to `c_out` channels.
    pub fn new(c_in: usize, c_out: usize, common: &Residual, device: &Device) -> Self {
        let norm = |c| GroupNorm::new(common.groups, c, common.eps, device);
        let time_width = match common.time_scale_shift {
            TimeScaleShift::Default => c_out,
            TimeScaleShift::ScaleShift => 2 * c_out,
        };
        Self {
            norm1: norm(c_in),
            conv1: Conv2d::new(c_in, c_out, 3, device),
            time_emb_proj: common.time.map(|width| Linear::new(width, time_width, device)),
            norm2: norm(c_out),
            conv2: Conv2d::new(c_out, c_out, 3, device).zeroed(),
            conv_shortcut: (c_in != c_out).then(|| Conv2d::new(c_in, c_out, 1, device)),
            activation: common.activation,
            time_scale_shift: common.time_scale_shift,
            resize: Resize::Keep,
            dropout: common.dropout,
            output_scale_factor: 1.0,
        }
    }

    /// `count` blocks in a row, from `c_in` to `c_out` channels.
    pub fn chain(count: usize, [c_in, c_out]: [usize; 2], common: &Residual, device: &Device) -> Vec<Self> {
        (0..count).map(|i| Self::new(if i == 0 { c_in } else { c_out }, c_out, common, device)).collect()
    }

    /// The same block with a change of resolution after the first activation.
    pub fn resizing(mut self, resize: Resize) -> Self {
        self.resize = resize;
        self
    }

    /// The same block with its output divided by `factor`.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.output_scale_factor = factor;
        self
    }

    /// `x [B, C, H, W]` → `[B, C', H', W']`.
    pub fn forward(&self, x: impl Into<Joined>, signal: &Signal) -> Map {
        let x: Joined = x.into();
        let time = self.time_emb_proj.as_ref().zip(signal.activated.clone());
        let time = time.map(|(linear, activated)| linear.forward(activated));
        let (shift, modulation) = match self.time_scale_shift {
            TimeScaleShift::Default => (time, None),
            TimeScaleShift::ScaleShift => (None, time),
        };
        let norm1 = self.norm1.then(Some(self.activation), None);
        let norm2 = self.norm2.then(Some(self.activation), modulation);
        let added = Added { shift, residual: None };
        let (x, h) = match self.resize {
            Resize::Keep => (x.clone(), self.conv1.fused(x, Some(norm1), added)),
            resize => {
                let x = x.into_map();
                let h = resize.apply(ops::normalize(x.clone(), norm1));
                (resize.apply(x).into(), self.conv1.fused(h, None, added))
            }
        };
        let x = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x.into_map(),
        };
        let added = Added { shift: None, residual: Some(x) };
        let y = if signal.dropout.drops(self.dropout) {
            let h = ops::normalize(h, norm2).with(|h| signal.dropout.drop(h, self.dropout));
            self.conv2.fused(h, None, added)
        } else {
            self.conv2.fused(h, Some(norm2), added)
        };
        y.divided(self.output_scale_factor)
    }
}
