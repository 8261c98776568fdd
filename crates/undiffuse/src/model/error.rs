//! What is wrong with models and their folders.

use std::path::PathBuf;

use undiffuse_data::files::FileError;
use undiffuse_math::registry::KindError;
use undiffuse_nn::adapters::LoraError;
use undiffuse_nn::networks::{ConfigError, InputError};
use undiffuse_nn::weights::WeightsError;

use crate::codec::CodecError;
use crate::words::TokenizerError;

/// A model folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Nothing there.
    #[error(
        "there is no model at `{0}`: give a diffusers folder (with `unet/` and `scheduler/`) or a run made by `undiffuse train`"
    )]
    NotFound(PathBuf),
    /// A training run that has not produced a model yet.
    #[error("the run at `{0}` has no model yet: continue it with `undiffuse train --resume {0}`")]
    Unfinished(PathBuf),
    /// No CLIP there, and a folder that it lacks.
    #[error(
        "`{0}` holds no CLIP: there is no `{1}/config.json`; give a run of `undiffuse train --preset clip`, or a folder with transformers' \
         CLIPTextModelWithProjection in `text_encoder/`, CLIPVisionModelWithProjection in `image_encoder/`, and `tokenizer/`"
    )]
    NoClip(PathBuf, &'static str),
    /// A CLIP, where something that makes pictures is needed.
    #[error(
        "`{0}` is a CLIP, which makes no pictures: `undiffuse search` finds some with it, and `undiffuse eval --judge` judges by it"
    )]
    IsClip(PathBuf),
    /// Parts that are of no one CLIP, or read pictures in no way that is known here.
    #[error("`{path}`: {problem}")]
    Clip {
        /// The folder, or the file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No text encoder there.
    #[error(
        "`{0}` holds no text encoder: give a folder with `text_encoder/` and `tokenizer/`, or one in which config.json, weights and tokenizer \
         of a CLIPTextModel, CLIPTextModelWithProjection or BertModel lie"
    )]
    NoTextEncoder(PathBuf),
    /// What is there can't read words.
    #[error("`{path}`: {problem}")]
    TextEncoder {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What it makes are no pictures.
    #[error("`{0}` makes no pictures: {1}")]
    OneWay(PathBuf, &'static str),
    /// A file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// `config.json` describes no network of ours.
    #[error("`{path}`: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The weights do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A LoRA that cannot be added.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The tokenizer of a model of words.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A model that has more than can be written.
    #[error("a model with {0} is not written yet: copy its folder")]
    Unwritten(&'static str),
    /// The weights that were asked for are not there, others are.
    #[error(
        "`{folder}` holds no `{wanted}`; {}", instead(.variants, .others)
    )]
    NoWeights {
        /// The network's folder.
        folder: PathBuf,
        /// The name that the weights would have.
        wanted: String,
        /// Variants that are there; the empty word is none.
        variants: Vec<String>,
        /// Other files of weights.
        others: Vec<String>,
    },
    /// Not a word that a file's name can hold.
    #[error(
        "`{0}` is no variant: it is part of a file's name, such as fp16 in diffusion_pytorch_model.fp16.safetensors"
    )]
    Variant(String),
    /// The index of weights that were saved in several files is broken.
    #[error("`{path}`: {problem}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A pipeline that needs more than a network and a scheduler.
    #[error("`{path}`: {problem}")]
    Pipeline {
        /// `model_index.json`.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A whole model in one file.
    #[error(
        "`{0}` is a model in one file, {1}: make a folder of it in Python, with `diffusers.StableDiffusionPipeline.from_single_file({0:?}).save_pretrained(\"FOLDER\")`"
    )]
    SingleFile(PathBuf, &'static str),
    /// Only pickled weights are there.
    #[error(
        "`{0}` holds pickled weights, which can run code when read: save the model with safe_serialization=True (safetensors)"
    )]
    Pickle(PathBuf),
    /// The scheduler's file describes nothing of ours.
    #[error("`{path}`: {problem}")]
    Scheduler {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `undiffuse.json` names a codec that is not known.
    #[error("`{path}`: {source}; a newer version of this program may know it")]
    Codec {
        /// The card.
        path: PathBuf,
        /// What is wrong.
        source: Box<KindError>,
    },
    /// `undiffuse.json` is broken.
    #[error("`{path}` is damaged: {problem}; restore it, or delete it to go by the diffusers files alone")]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Parts that make no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The network's channels are none of the codec's.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The card contradicts the network.
    #[error("the card does not fit the network: {0}")]
    Card(String),
}

/// A size that a model's pictures cannot have.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    /// To its codec.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// To its network.
    #[error(transparent)]
    Network(#[from] InputError),
    /// To what small pictures are made.
    #[error("the model makes small pictures {}×{} large, and no other size", .0[1], .0[0])]
    Large([usize; 2]),
}

/// What to do about weights that are not there.
fn instead(variants: &[String], others: &[String]) -> String {
    let choices = variants.iter().map(|variant| match variant.as_str() {
        "" => "leave --variant out".to_owned(),
        variant => format!("give --variant {variant}"),
    });
    let choices: Vec<String> = choices.collect();
    match choices.is_empty() {
        false => choices.join(" or "),
        true => format!("there is `{}`: rename it if that is what is meant", others.join("`, `")),
    }
}
