//! The folder of a model: the only place that knows what lies where in one.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use undiffuse_math::recipe::Recipe;
use undiffuse_nn::networks::{
    AutoencoderConfig, ComponentConfig, ConfigError, FOLDERS, ImageEncoderConfig, NetworkConfig, TextEncoderConfig,
};
use undiffuse_nn::weights::Hold;

use super::pipeline::{self, Told};
use super::weights::{self, ENDING, Weights};
use super::{Card, ModelError};
use crate::clip::PictureReading;
use crate::codec::CodecKind;
use crate::files::{self, FileError};
use crate::words::Tokenizer;

const INDEX: &str = "model_index.json";
const CARD: &str = "undiffuse.json";
const SCHEDULER: &str = "scheduler";
const SCHEDULER_FILE: &str = "scheduler_config.json";
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// The folder of a run's model.
const MODEL: &str = "model";

/// Most bytes of a configuration, a scheduler's file or a card: they are a few thousand long, and what they hold takes many
/// times as much once it is read.
const LIMIT: u64 = 4 << 20;

/// The folder of a model.
///
/// ```text
/// my-model/
///   model_index.json
///   unet/config.json               or the folder that diffusers has for the network's class
///   unet/diffusion_pytorch_model.safetensors   or parts with an index, or a variant
///   scheduler/scheduler_config.json
///   undiffuse.json                 what diffusers has no word for: see `Card`
///   text_encoder/ tokenizer/       of a model that is told words, each as transformers has it
///   vae/                           of a pipeline of latents
///   image_encoder/ feature_extractor/   of a CLIP, with the two of words and without a network that diffuses
/// ```
///
/// A folder may hold nothing but a network: then `config.json` and the weights lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder {
    path: PathBuf,
    /// How its weights come into memory.
    hold: Hold,
}

impl ModelFolder {
    /// The model folder that a path means: itself, or `model/` inside a run.
    ///
    /// # Errors
    /// There is none.
    pub fn find(path: &Path) -> Result<Self, ModelError> {
        place(path).map(|folder| Self::at(files::current(&folder)))
    }

    /// The folder of a CLIP that a path means: itself, or `model/` inside a run.
    ///
    /// # Errors
    /// There is none.
    pub fn find_clip(path: &Path) -> Result<Self, ModelError> {
        clip(path).map(|folder| Self::at(files::current(&folder)))
    }

    /// Reads the folder of a CLIP that a path means, itself or `model/` inside a run; once more when it was replaced meanwhile.
    pub(super) fn read_clip<T>(
        path: &Path,
        mut read: impl FnMut(&Self) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        files::steady(&clip(path)?, |folder| read(&Self::at(folder)))
    }

    /// Reads the text encoder that a path means, from the folder that it lies in and that of its tokenizer; once more when they were
    /// replaced meanwhile.
    pub(super) fn read_words<T>(
        path: &Path,
        mut read: impl FnMut(&Self, &Path) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let holds = |folder: &Path| folder.join(pipeline::TEXT_ENCODER).join(CONFIG).is_file();
        let place = itself_or_inside(path, holds).unwrap_or_else(|| path.to_owned());
        files::steady(&place, |folder| {
            let encoder = if holds(folder) { folder.join(pipeline::TEXT_ENCODER) } else { folder.to_owned() };
            if !encoder.join(CONFIG).is_file() {
                return Err(ModelError::NoTextEncoder(path.to_owned()));
            }
            let beside = encoder.parent().unwrap_or(folder).join(pipeline::TOKENIZER);
            let inside = Tokenizer::FILES.iter().any(|file| encoder.join(file).is_file());
            let tokenizer = if inside || !beside.is_dir() { encoder.clone() } else { beside };
            read(&Self::at(encoder), &tokenizer)
        })
    }

    fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), hold: Hold::default() }
    }

    /// Reads the model folder that a path means; once more when it was replaced meanwhile.
    pub(super) fn read<T>(path: &Path, mut read: impl FnMut(&Self) -> Result<T, ModelError>) -> Result<T, ModelError> {
        files::steady(&place(path)?, |folder| read(&Self::at(folder)))
    }

    /// The same folder, whose weights come into memory like this.
    pub(super) fn held(&self, hold: Hold) -> Self {
        Self { hold, ..self.clone() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds a network and nothing that says how pictures are made with it.
    pub fn is_bare(&self) -> bool {
        !self.is_pipeline() && !self.path.join(SCHEDULER).is_dir() && !self.path.join(CARD).is_file()
    }

    /// Whether diffusers opens it as a pipeline.
    pub fn is_pipeline(&self) -> bool {
        self.path.join(INDEX).is_file()
    }

    /// The files that decide what the model is, in a fixed order: those that are read, and those that would be read in their
    /// place if they were there. Who keeps something that depends on a model goes by this list.
    pub fn files(&self, variant: Option<&str>) -> Vec<PathBuf> {
        let folder = Self::at(files::current(&self.path));
        let mut all = [INDEX, CARD, CONFIG].map(|file| folder.path.join(file)).to_vec();
        all.push(folder.path.join(SCHEDULER).join(SCHEDULER_FILE));
        all.extend(FOLDERS.iter().map(|name| folder.path.join(name).join(CONFIG)));
        all.extend(weights::files_of(&folder.network(), weights::STEM, variant));
        for (part, stem) in [
            (pipeline::VAE, AutoencoderConfig::STEM),
            (pipeline::TEXT_ENCODER, TextEncoderConfig::STEM),
            (pipeline::IMAGE_ENCODER, ImageEncoderConfig::STEM),
        ] {
            let part = folder.path.join(part);
            if part.is_dir() {
                all.push(part.join(CONFIG));
                // Of parts that do not have the variant, the usual weights are read.
                let variants = [variant, None].into_iter().skip(usize::from(variant.is_none()));
                all.extend(variants.flat_map(|variant| weights::files_of(&part, stem, variant)));
            }
        }
        if folder.path.join(pipeline::IMAGE_ENCODER).is_dir() {
            all.push(folder.preprocessor());
        }
        let tokenizer = folder.path.join(pipeline::TOKENIZER);
        if tokenizer.is_dir() {
            all.extend(Tokenizer::FILES.iter().map(|file| tokenizer.join(file)));
        }
        all
    }

    /// The folder of the network.
    fn network(&self) -> PathBuf {
        network(&self.path)
    }

    /// A problem with the network's configuration.
    pub(super) fn contradiction(&self, problem: impl ToString) -> ModelError {
        self.misconfigured(ConfigError::Contradiction(problem.to_string()))
    }

    /// The same, as the network tells it.
    pub(super) fn misconfigured(&self, source: ConfigError) -> ModelError {
        ModelError::Config { path: self.network().join(CONFIG), source }
    }

    /// A card that says what cannot be.
    pub(super) fn bad_card(&self, problem: impl ToString) -> ModelError {
        ModelError::Card { path: self.path.join(CARD), problem: problem.to_string() }
    }

    /// What the folder's index says of it; nothing where there is none.
    ///
    /// # Errors
    /// A pipeline whose pictures need what is not here.
    pub(super) fn pipeline(&self) -> Result<Told, ModelError> {
        if !self.is_pipeline() {
            return Ok(Told::default());
        }
        let index: Map<String, Value> =
            serde_json::from_str(&files::read_text(&self.path.join(INDEX))?).map_err(|e| {
                let way_out = "restore it, or delete it to go by the other files alone";
                self.unfit(format!("it is damaged ({e}); {way_out}"))
            })?;
        pipeline::read(&index).map_err(|problem| self.unfit(problem))
    }

    /// A pipeline that can't be used.
    pub(super) fn unfit(&self, problem: impl ToString) -> ModelError {
        ModelError::Pipeline { path: self.path.join(INDEX), problem: problem.to_string() }
    }

    /// The config and the weights of a pipeline's part beside its network; the usual weights where there are none of the
    /// variant.
    pub(super) fn part(&self, name: &str, variant: Option<&str>) -> Result<(ComponentConfig, Weights), ModelError> {
        let folder = self.path.join(name);
        let of_variant = variant.and_then(|_| component(&folder, variant).ok());
        let (config, weights) = of_variant.map_or_else(|| component(&folder, None), Ok)?;
        Ok((config, weights.held(self.hold)))
    }

    /// The folder of a pipeline's tokenizer.
    pub(super) fn tokenizer(&self) -> PathBuf {
        self.path.join(pipeline::TOKENIZER)
    }

    /// The file that says how pictures enter its image encoder.
    fn preprocessor(&self) -> PathBuf {
        self.path.join(pipeline::FEATURE_EXTRACTOR).join(PREPROCESSOR)
    }

    /// How pictures enter its image encoder; as of CLIP's own where the folder does not say.
    pub(super) fn picture_reading(&self) -> Result<PictureReading, ModelError> {
        let path = self.preprocessor();
        if !path.is_file() {
            return Ok(PictureReading::default());
        }
        let read = PictureReading::from_json(&read_text(&path)?);
        read.map_err(|problem| ModelError::Clip { path, problem })
    }

    pub(super) fn config(&self) -> Result<NetworkConfig, ModelError> {
        let text = read_text(&self.network().join(CONFIG))?;
        NetworkConfig::from_json(&text).map_err(|source| self.misconfigured(source))
    }

    /// The same of a network of any kind, and where its weights are.
    pub(super) fn component(&self, variant: Option<&str>) -> Result<(ComponentConfig, Weights), ModelError> {
        component(&self.network(), variant)
    }

    pub(super) fn card(&self) -> Result<Card, ModelError> {
        let path = self.path.join(CARD);
        if !path.is_file() {
            return Ok(Card::default());
        }
        let mut card: Value = serde_json::from_str(&read_text(&path)?).map_err(|e| self.bad_card(e))?;
        // A codec apart: without the card its latents would pass for pixels.
        let codec = card.as_object_mut().and_then(|card| card.remove("codec")).filter(|codec| !codec.is_null());
        let codec = codec.map(CodecKind::from_value).transpose();
        let codec = codec.map_err(|e| ModelError::Codec { path, source: Box::new(e) })?.unwrap_or_default();
        let card = serde_json::from_value(card).map_err(|e| self.bad_card(e))?;
        Ok(Card { codec, ..card })
    }

    pub(super) fn recipe(&self) -> Result<Recipe, ModelError> {
        let path = self.path.join(SCHEDULER).join(SCHEDULER_FILE);
        Recipe::from_json(&read_text(&path)?).map_err(|e| ModelError::Scheduler { path, problem: e.to_string() })
    }

    pub(super) fn weights(&self, variant: Option<&str>) -> Result<Weights, ModelError> {
        Ok(Weights::find(&self.network(), weights::STEM, variant)?.held(self.hold))
    }

    /// Whether a model may be written at `path`: there is nothing there, or a model and nothing else.
    ///
    /// # Errors
    /// Anything else there, which would be lost.
    pub fn replaceable(path: &Path) -> Result<(), FileError> {
        files::replaceable(path, &parts())
    }

    /// Puts a folder at `path`, filled by `fill`; an interruption leaves the old one or the new one.
    pub(super) fn write(path: &Path, fill: impl FnOnce(&Self) -> Result<(), ModelError>) -> Result<(), ModelError> {
        files::write_folder(path, &parts(), |folder| fill(&Self::at(folder)))
    }

    pub(super) fn write_index(&self, index: &Value) -> Result<(), ModelError> {
        self.write_file("", INDEX, pretty(index).as_bytes())
    }

    pub(super) fn write_card(&self, card: &Card) -> Result<(), ModelError> {
        let card = serde_json::to_value(card).expect("a card of numbers and names serialises");
        self.write_file("", CARD, pretty(&card).as_bytes())
    }

    pub(super) fn write_scheduler(&self, scheduler: &Value) -> Result<(), ModelError> {
        self.write_file(SCHEDULER, SCHEDULER_FILE, pretty(scheduler).as_bytes())
    }

    pub(super) fn write_network(&self, config: &NetworkConfig, weights: &[u8]) -> Result<(), ModelError> {
        self.write_file(config.folder(), CONFIG, config.to_json().as_bytes())?;
        self.write_file(config.folder(), weights::NAME, weights)
    }

    pub(super) fn write_text_encoder(&self, config: &TextEncoderConfig, weights: &[u8]) -> Result<(), ModelError> {
        self.write_file(config.folder(), CONFIG, config.to_json().as_bytes())?;
        self.write_file(config.folder(), &format!("{}{ENDING}", TextEncoderConfig::STEM), weights)
    }

    pub(super) fn write_image_encoder(
        &self,
        config: &ImageEncoderConfig,
        weights: &[u8],
        reading: &PictureReading,
    ) -> Result<(), ModelError> {
        self.write_file(config.folder(), CONFIG, config.to_json().as_bytes())?;
        self.write_file(config.folder(), &format!("{}{ENDING}", ImageEncoderConfig::STEM), weights)?;
        self.write_file(pipeline::FEATURE_EXTRACTOR, PREPROCESSOR, reading.to_json().as_bytes())
    }

    pub(super) fn write_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), ModelError> {
        tokenizer.files().try_for_each(|(name, bytes)| self.write_file(pipeline::TOKENIZER, name, bytes))
    }

    fn write_file(&self, part: &str, file: &str, bytes: &[u8]) -> Result<(), ModelError> {
        let folder = self.path.join(part);
        files::create_folder(&folder)?;
        Ok(files::write(&folder.join(file), bytes)?)
    }
}

/// What lies in a model folder, and is replaced with it.
fn parts() -> Vec<&'static str> {
    let beside = [pipeline::TEXT_ENCODER, pipeline::TOKENIZER, pipeline::IMAGE_ENCODER, pipeline::FEATURE_EXTRACTOR];
    [&[INDEX, SCHEDULER, CARD], &beside[..], &FOLDERS[..]].concat()
}

/// The model folder that a path means, by the name under which it is replaced.
fn place(path: &Path) -> Result<PathBuf, ModelError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).filter(|_| path.is_file());
    match ending {
        Some("ckpt" | "pt" | "pth" | "bin") => {
            return Err(ModelError::SingleFile(path.to_owned(), "and a pickle, which can run code when read"));
        }
        Some("safetensors" | "gguf") => {
            return Err(ModelError::SingleFile(path.to_owned(), "which is not read yet"));
        }
        _ => {}
    }
    let holds = |folder: &Path| network(folder).join(CONFIG).is_file();
    itself_or_inside(path, holds).ok_or_else(|| match path.join(crate::run::CONFIG_FILE).is_file() {
        _ if clip(path).is_ok() => ModelError::IsClip(path.to_owned()),
        true => ModelError::Unfinished(path.to_owned()),
        false => ModelError::NotFound(path.to_owned()),
    })
}

/// The folder of a CLIP that a path means, by the name under which it is replaced.
fn clip(path: &Path) -> Result<PathBuf, ModelError> {
    let parts = [pipeline::TEXT_ENCODER, pipeline::IMAGE_ENCODER];
    let lacks = |folder: &Path| parts.into_iter().find(|part| !folder.join(part).join(CONFIG).is_file());
    itself_or_inside(path, |folder| lacks(folder).is_none()).ok_or_else(|| {
        match path.join(crate::run::CONFIG_FILE).is_file() && !path.join(MODEL).is_dir() {
            true => ModelError::Unfinished(path.to_owned()),
            false => ModelError::NoClip(path.to_owned(), lacks(path).unwrap_or_default()),
        }
    })
}

/// A path, or `model/` inside it, whichever first is a folder that holds what is looked for.
fn itself_or_inside(path: &Path, holds: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    [path.to_owned(), path.join(MODEL)].into_iter().find(|folder| files::steady(folder, &holds))
}

/// The folder of the network inside a model folder, which may hold nothing but a network.
fn network(folder: &Path) -> PathBuf {
    let inside = FOLDERS.iter().map(|name| folder.join(name)).find(|inside| inside.is_dir());
    inside.unwrap_or_else(|| folder.to_owned())
}

/// The config of the network in a folder, of any kind, and where its weights are.
fn component(folder: &Path, variant: Option<&str>) -> Result<(ComponentConfig, Weights), ModelError> {
    let path = folder.join(CONFIG);
    let config =
        ComponentConfig::from_json(&read_text(&path)?).map_err(|source| ModelError::Config { path, source })?;
    let weights = Weights::find(folder, config.stem(), variant)?;
    Ok((config, weights))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn read_text(path: &Path) -> Result<String, ModelError> {
    let text = String::from_utf8(files::read(path, LIMIT)?);
    let wrong = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text");
    Ok(text.map_err(wrong).map_err(files::at("read", path))?)
}
