//! What a model folder knows beyond diffusers' words.

use serde::{Deserialize, Serialize};
use undiffuse_data::names::last_part;
use undiffuse_math::prelude::{ParameterizationKind, ScheduleKind, SolverKind, SpacingKind};
use undiffuse_math::recipe::Clip;

use crate::codec::CodecKind;
use crate::words::{Emphasis, Reading};

/// What a model folder knows beyond diffusers' words; the file `undiffuse.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Version of this file's format.
    pub format: u32,
    /// Names of the classes, in the order of their labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The label that means "no class", for guidance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_class: Option<u32>,
    /// What the model can be asked for, where that is not a class: `kind`, and what the conditioner of this kind keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<serde_json::Value>,
    /// How this model is best sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleDefaults>,
    /// The exact process, only when diffusers' scheduler file says something else or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Between pictures and what the network diffuses, unless that is pixels.
    #[serde(skip_serializing_if = "is_identity")]
    pub codec: CodecKind,
    /// Of a CLIP: what its networks' files have no word for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// Where the model comes from: program, data, run, seed, images seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// How a CLIP tells a picture's own words from others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// The logarithm of what cosines are multiplied by before a softmax over them, transformers' parameter of that name
    /// \[Radford21, section 2.5\].
    pub logit_scale: f64,
}

/// What a network was trained on: the schedule, and what it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// (α, σ)(t).
    pub schedule: ScheduleKind,
    /// How the network is read.
    pub parameterization: ParameterizationKind,
    /// What is done to denoised images, where the scheduler file does not say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clip: Clip,
}

/// Sampling settings that go with a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleDefaults {
    /// How to step.
    pub solver: SolverKind,
    /// Which times.
    pub spacing: SpacingKind,
    /// Number of steps.
    pub steps: usize,
    /// Classifier-free guidance scale; 1 is none.
    pub guidance: f64,
    /// How far guided answers are scaled back to the deviation of those without guidance, from 0 to 1 \[Lin24, section 3.4\].
    #[serde(default, skip_serializing_if = "is_default")]
    pub guidance_rescale: f64,
    /// The noise levels `sigma / alpha` with guidance, above the first and up to the second; all when not given
    /// \[Kynkaanniemi24\].
    #[serde(default, skip_serializing_if = "is_default")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Layers of the text encoder that are left out at its end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clip_skip: usize,
    /// What is made of words in brackets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub emphasis: Emphasis,
}

impl SampleDefaults {
    /// So many steps, and nothing else decided.
    pub fn new(solver: SolverKind, spacing: SpacingKind, steps: usize) -> Self {
        Self {
            solver,
            spacing,
            steps,
            guidance: 1.0,
            guidance_rescale: 0.0,
            guidance_interval: None,
            clip_skip: 0,
            emphasis: Emphasis::default(),
        }
    }

    /// How prompts are read.
    pub fn reading(&self) -> Reading {
        Reading { clip_skip: self.clip_skip, emphasis: self.emphasis }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Program and version.
    pub program: String,
    /// Name of the data: where they lay is nobody's business.
    #[serde(deserialize_with = "name_alone")]
    pub data: String,
    /// SHA-256 of the decoded training pixels and labels.
    pub data_fingerprint: String,
    /// Pictures that the model was trained on.
    pub data_images: usize,
    /// The preset that the training started from.
    pub preset: String,
    /// Seed of the run.
    pub seed: u64,
    /// Pictures seen in training.
    pub images_seen: u64,
    /// Relative width of the weights' average.
    pub ema: f64,
    /// Loss on held-out pictures at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
}

fn is_identity(codec: &CodecKind) -> bool {
    codec.is_identity()
}

/// The last part of a path: cards once held the whole of it.
fn name_alone<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    String::deserialize(reader).map(|path| last_part(&path).to_owned())
}
