//! `[clip]`: what a training makes its image encoder of.

use serde::{Deserialize, Serialize};
use undiffuse_nn::networks::clip_vision::CLIPVisionConfig;

use super::TEMPERATURE;

/// Beyond what any image encoder has.
const MOST: usize = 1 << 16;
/// Layers, at most.
const LAYERS: usize = 256;

/// The image encoder of a CLIP that is trained; its text encoder is that of `[condition.words]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// Width of a patch's token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Numbers of a vector.
    pub embedding: usize,
    /// What cosines are divided by before a softmax over them, at first: it learns.
    pub temperature: f64,
}

/// Those of the preset `clip`.
impl Default for ClipConfig {
    fn default() -> Self {
        Self { width: 192, layers: 4, heads: 6, patch: 8, embedding: 128, temperature: TEMPERATURE }
    }
}

impl ClipConfig {
    /// What cannot work, each with its key.
    pub fn problems(&self) -> Vec<String> {
        let counts = [
            ("width", self.width, MOST),
            ("layers", self.layers, LAYERS),
            ("patch", self.patch, MOST),
            ("embedding", self.embedding, MOST),
        ];
        let wrong = |(key, value, most): (&str, usize, usize)| {
            (!(1..=most).contains(&value)).then(|| format!("clip.{key} = {value} must be between 1 and {most}"))
        };
        let mut problems: Vec<String> = counts.into_iter().filter_map(wrong).collect();
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            problems.push(format!("clip.heads = {} must divide clip.width = {}", self.heads, self.width));
        }
        if !(0.01..=1.0).contains(&self.temperature) {
            problems.push(format!("clip.temperature = {} must be between 0.01 and 1", self.temperature));
        }
        problems
    }

    /// The image encoder for square pictures of so many channels and so many pixels a side.
    ///
    /// # Errors
    /// Patches that do not fill the pictures.
    pub fn pictures(&self, [channels, side]: [usize; 2]) -> Result<CLIPVisionConfig, String> {
        if !side.is_multiple_of(self.patch) {
            let fits = (1..self.patch).rev().find(|patch| side.is_multiple_of(*patch)).unwrap_or(1);
            return Err(format!(
                "clip.patch = {} must divide the side of the pictures, {side}: {fits} does",
                self.patch
            ));
        }
        Ok(CLIPVisionConfig {
            hidden_size: self.width,
            intermediate_size: 4 * self.width,
            projection_dim: self.embedding,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_channels: channels,
            image_size: side,
            patch_size: self.patch,
            ..CLIPVisionConfig::default()
        })
    }
}
