//! The configuration of a training run: one TOML file in which everything is written down.
//!
//! A configuration is layered: a preset, then a person's file, then the command line's options and
//! `--set key=value`; each layer is a partial TOML table over the one before, and all of them pass
//! through the same types here. The result is written into the run.

use std::path::Path;

use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};
use undiffuse_data::Options;
use undiffuse_nn::networks::ArchitectureKind;
use undiffuse_nn::ops::optim::OptimizerKind;

use super::layers::{lengths, merge, modern, no_length, parse_setting};
use super::loss::LossKind;
use super::noise::NoiseConfig;
use super::{network, presets};
use crate::clip::ClipConfig;
use crate::codec::CodecKind;
use crate::condition::{AUTO, ConditionConfig};
use crate::model::SampleDefaults;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Version of this format: 1.
    pub version: u32,
    /// The preset that this configuration started from.
    pub preset: String,
    /// The pictures.
    pub data: DataConfig,
    /// What the network is told of each of them.
    pub condition: ConditionConfig,
    /// Given where what learns is a CLIP, which has none of the sections [`DENOISER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipConfig>,
    /// Between pictures and what is diffused.
    #[serde(default)]
    pub codec: CodecKind,
    /// The network.
    #[serde(deserialize_with = "network::deserialize")]
    pub network: ArchitectureKind,
    /// The diffusion process and what the network learns of it.
    pub noise: NoiseConfig,
    /// What the network learns by.
    #[serde(default)]
    pub loss: LossKind,
    /// How the weights move on its gradient.
    #[serde(default, deserialize_with = "optimizer")]
    pub optimizer: OptimizerKind,
    /// The training loop.
    pub train: TrainConfig,
    /// How the model is sampled unless asked otherwise.
    pub sample: SampleDefaults,
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataConfig {
    /// Folder, archive or idx file.
    pub path: String,
    /// Side in pixels; 0 means the pictures' own where that is sensible.
    pub size: usize,
    /// 1 grey, 3 colour; 0 means by the pictures.
    pub channels: usize,
    /// RGB colour behind transparent pixels.
    pub background: [u8; 3],
    /// Mirror half of the pictures.
    pub flip: bool,
    /// Refuse data with pictures that cannot be decoded.
    pub strict: bool,
    /// Share of the pictures kept out of training for the validation loss.
    pub held_out: f64,
}

impl DataConfig {
    /// How the pictures are read.
    pub fn options(&self) -> Options {
        Options {
            size: (self.size > 0).then_some(self.size),
            channels: (self.channels > 0).then_some(self.channels),
            background: self.background,
            flip: self.flip,
            strict: self.strict,
            ..Options::default()
        }
    }
}

/// How the learning rate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// Stays after the warm-up.
    Constant,
    /// Falls to zero along half a cosine.
    Cosine,
    /// Falls to zero along a straight line.
    Linear,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Seed of everything random. TOML ends at 2⁶³ − 1; what is larger is written as a string of digits.
    #[serde(with = "seed")]
    pub seed: u64,
    /// Length: exactly one of `budget`, `images`, `epochs` (empty or 0 means not given).
    pub budget: String,
    /// Length in pictures seen.
    pub images: u64,
    /// Length in passes over the data.
    pub epochs: f64,
    /// Pictures per optimiser step.
    pub batch: usize,
    /// Parts that a batch is computed in, to save memory.
    pub accumulate: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// How the learning rate ends.
    pub lr_schedule: LrSchedule,
    /// Pictures over which the learning rate rises.
    pub warmup_images: u64,
    /// Largest norm of the gradient; 0 is no limit.
    pub clip: f64,
    /// Relative widths of the weights' averages; the first is the model's.
    pub ema: Vec<f64>,
    /// Share of the pictures whose condition is dropped, which guidance needs.
    pub label_dropout: f64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: u64,
    /// Sample grids and validations along the run, the last at its end; fewer where they would take much of a budget.
    pub previews: u32,
}

/// The most pictures that a run may see, one trillion: months at a hundred thousand a second.
pub const IMAGES_MAX: u64 = 1_000_000_000_000;
/// The most passes over the data, as many over a single picture.
pub const EPOCHS_MAX: f64 = IMAGES_MAX as f64;
/// The most pictures per optimiser step.
const BATCH_MAX: usize = 1 << 20;
/// The most grids of samples along a run.
const PREVIEWS_MAX: u32 = 100_000;
/// The most steps that pictures along a run are sampled with.
const STEPS_MAX: usize = 100_000;
/// The most seconds between checkpoints, about three years.
const CHECKPOINT_SECONDS_MAX: u64 = 100_000_000;

/// A configuration that cannot be used: every problem at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Sections that a denoiser has and a CLIP does not.
pub const DENOISER: [&str; 5] = ["codec", "network", "noise", "loss", "sample"];

impl ConfigError {
    fn one(message: impl Into<String>) -> Self {
        Self(vec![message.into()])
    }
}

impl Config {
    /// The resolved TOML text.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(&self.to_table()).expect("a config of numbers and names serialises")
    }

    /// The same as a table.
    pub fn to_table(&self) -> Table {
        let mut table = Table::try_from(self).expect("a config of numbers and names serialises");
        if self.clip.is_some() {
            DENOISER.iter().for_each(|section| drop(table.remove(*section)));
        }
        table
    }

    /// Parses a resolved configuration.
    ///
    /// # Errors
    /// Text that is no configuration, by the key that is wrong.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|e| ConfigError::one(e.to_string()))?;
        resolve(modern(table).map_err(ConfigError)?)
    }

    /// Starts from `preset`, then lays over it a file and `key=value` settings.
    ///
    /// # Errors
    /// An unknown preset, a file that cannot be read, keys and values that are wrong, each by name.
    pub fn layered(preset: &str, file: Option<&Path>, settings: &[String]) -> Result<Self, ConfigError> {
        let (mut layers, mut problems) = (Vec::new(), Vec::new());
        let mut preset = preset.to_owned();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|e| ConfigError::one(format!("cannot read the config `{}`: {e}", path.display())))?;
            let table: Table =
                text.parse().map_err(|e| ConfigError::one(format!("`{}` is not TOML: {e}", path.display())))?;
            if let Some(Value::String(name)) = table.get("preset") {
                preset = name.clone();
            }
            layers.push(table);
        }
        for setting in settings {
            match parse_setting(setting) {
                Ok(table) => layers.push(table),
                Err(problem) => problems.push(problem),
            }
        }
        let layers: Vec<Table> =
            layers.into_iter().filter_map(|layer| modern(layer).map_err(|e| problems.extend(e)).ok()).collect();
        problems.extend(layers.iter().map(lengths).rfind(|given| !given.is_empty()).and_then(no_length));
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let mut table = presets::table(&preset).map_err(ConfigError::one)?;
        for layer in layers {
            merge(&mut table, layer);
        }
        table.insert("preset".into(), Value::String(preset));
        resolve(table)
    }

    /// `[C, H, W]` of what is diffused, once the size of the pictures is known.
    ///
    /// # Errors
    /// Pictures that the codec cannot encode.
    pub fn latent_shape(&self) -> Result<[usize; 3], ConfigError> {
        let DataConfig { size, channels, .. } = self.data;
        let shape = self.codec.latent_shape([channels, size, size]);
        shape.map_err(|e| ConfigError::one(format!("data.size = {size}: {e}")))
    }

    /// Finds every value that cannot work.
    ///
    /// # Errors
    /// Every key that cannot work, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, message: String| {
            if !holds {
                problems.push(message);
            }
        };
        let t = &self.train;
        require(self.version == 1, format!("version = {}: this program reads version 1", self.version));
        require(
            (1..=BATCH_MAX).contains(&t.batch),
            format!("train.batch = {} must be between 1 and {BATCH_MAX}", t.batch),
        );
        require(
            t.accumulate >= 1 && t.batch.is_multiple_of(t.accumulate),
            format!("train.accumulate = {} must divide train.batch = {}", t.accumulate, t.batch),
        );
        require(t.lr > 0.0 && t.lr.is_finite(), format!("train.lr = {} must be a positive number", t.lr));
        let in_unit = |x: f64| (0.0..1.0).contains(&x);
        require(t.clip >= 0.0, format!("train.clip = {} must not be negative", t.clip));
        require(
            !t.ema.is_empty() && t.ema.iter().all(|&w| w > 0.0 && w < 0.28),
            format!("train.ema = {:?} needs at least one relative width, each between 0 and 0.28", t.ema),
        );
        require(in_unit(t.label_dropout), format!("train.label_dropout = {} must be in [0, 1)", t.label_dropout));
        require(
            (0.0..=0.5).contains(&self.data.held_out),
            format!("data.held_out = {} must be in [0, 0.5]", self.data.held_out),
        );
        let steps = self.sample.steps;
        require(
            (1..=STEPS_MAX).contains(&steps),
            format!("sample.steps = {steps} must be at least 1 and at most {STEPS_MAX}"),
        );
        require(
            self.sample.guidance.is_finite(),
            format!("sample.guidance = {} must be a number", self.sample.guidance),
        );
        for (key, value, most) in [
            ("images", t.images, IMAGES_MAX),
            ("warmup_images", t.warmup_images, IMAGES_MAX),
            ("previews", t.previews.into(), PREVIEWS_MAX.into()),
            ("checkpoint_seconds", t.checkpoint_seconds, CHECKPOINT_SECONDS_MAX),
        ] {
            require(value <= most, format!("train.{key} = {value} is too much: at most {most}"));
        }
        require(
            (0.0..=EPOCHS_MAX).contains(&t.epochs),
            format!("train.epochs = {} must be a number above 0 and at most {EPOCHS_MAX:e}", t.epochs),
        );
        problems.extend(t.length_problem());
        problems.extend(self.noise.problem());
        problems.extend(self.loss.problem(&self.noise));
        problems.extend(self.network.problems());
        problems.extend(self.condition.problems());
        problems.extend(self.clip_problems());
        if self.condition.kind == "small" && !self.codec.is_identity() {
            problems.push(
                "condition = \"small\" shows the network small pictures as pixels: it needs codec = \"pixels\"".into(),
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }
}

impl Config {
    /// What a CLIP cannot be trained with.
    fn clip_problems(&self) -> Vec<String> {
        let Some(clip) = &self.clip else { return Vec::new() };
        let TrainConfig { batch, accumulate, label_dropout, .. } = self.train;
        let mut problems = clip.problems();
        if accumulate > 1 {
            problems.push(format!(
                "train.accumulate = {accumulate}: a CLIP tells each picture of a batch from all others, so a batch can't be \
                 computed in parts; lower train.batch to save memory"
            ));
        }
        if batch < 2 {
            problems.push(format!("train.batch = {batch}: a picture alone has nothing to be told apart from"));
        }
        if label_dropout > 0.0 {
            problems.push(format!("train.label_dropout = {label_dropout}: a CLIP always reads its captions; give 0"));
        }
        if ![AUTO, "text"].contains(&self.condition.kind.as_str()) {
            problems.push(format!("condition.kind = {:?}: a CLIP learns from text", self.condition.kind));
        }
        problems
    }
}

impl TrainConfig {
    /// What is wrong with the length of the training, which is given once.
    fn length_problem(&self) -> Option<String> {
        let (budget, images, epochs) = (&self.budget, self.images, self.epochs);
        let given = [
            (!budget.is_empty()).then(|| format!("train.budget = {budget:?}")),
            (images > 0).then(|| format!("train.images = {images}")),
            (epochs != 0.0).then(|| format!("train.epochs = {epochs}")),
        ];
        let given: Vec<String> = given.into_iter().flatten().collect();
        match given.len() {
            0 => Some("how long is the training? Give one of train.budget, train.images and train.epochs".into()),
            1 if budget.is_empty() => None,
            1 => super::length::parse_duration(budget).err().map(|problem| format!("train.budget: {problem}")),
            _ => Some(format!("give the length of the training once, not {}", given.join(" and "))),
        }
    }
}

/// Reads a part of a kind, `kind` where it names none.
pub(super) fn of_kind<'de, D: Deserializer<'de>, T: DeserializeOwned>(reader: D, kind: &str) -> Result<T, D::Error> {
    let mut value = serde_json::Value::deserialize(reader)?;
    if let serde_json::Value::Object(table) = &mut value {
        table.entry("kind").or_insert(kind.into());
    }
    serde_json::from_value(value).map_err(de::Error::custom)
}

/// Reads `[optimizer]`, which is AdamW's where it names no `kind`: its options were keys of `[train]` once.
fn optimizer<'de, D: Deserializer<'de>>(reader: D) -> Result<OptimizerKind, D::Error> {
    of_kind(reader, "adamw")
}

/// Seeds beyond TOML's whole numbers as strings.
mod seed {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(seed) => serializer.serialize_i64(seed),
            Err(_) => serializer.serialize_str(&seed.to_string()),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Seed)
    }

    struct Seed;

    impl de::Visitor<'_> for Seed {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a seed: a whole number from 0 to {}", u64::MAX)
        }

        fn visit_u64<E: de::Error>(self, seed: u64) -> Result<u64, E> {
            Ok(seed)
        }

        fn visit_i64<E: de::Error>(self, seed: i64) -> Result<u64, E> {
            seed.try_into().map_err(|_| E::invalid_value(de::Unexpected::Signed(seed), &self))
        }

        fn visit_str<E: de::Error>(self, seed: &str) -> Result<u64, E> {
            seed.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(seed), &self))
        }
    }
}

/// The preset whose keys those of `[clip]` are.
const CLIP: &str = "clip";

/// The typed configuration, with every unknown key named.
fn resolve(mut table: Table) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    // Whole numbers are numbers: `train.lr=1` is not a type error.
    let numbers = ["epochs", "lr", "clip", "label_dropout"].map(|key| ("train", key));
    for (section, key) in numbers.into_iter().chain([("clip", "temperature")]) {
        if let Some(value) = table.get_mut(section).and_then(|section| section.get_mut(key))
            && let Value::Integer(n) = *value
        {
            *value = Value::Float(n as f64);
        }
    }
    // A place is a word, the side of small pictures, too: `condition.from=32`.
    if let Some(from) = table.get_mut("condition").and_then(|condition| condition.get_mut("from"))
        && let Value::Integer(side) = *from
    {
        *from = Value::String(side.to_string());
    }
    let mut reference = presets::table(presets::DEFAULT).map_err(ConfigError::one)?;
    if table.contains_key("clip") {
        let given = DENOISER.iter().filter(|section| table.contains_key(**section));
        problems.extend(given.map(|section| format!("[{section}] says nothing of a CLIP: leave it out, or [clip]")));
        // What a CLIP does not have is not looked at.
        table.extend(DENOISER.map(|section| (section.to_owned(), reference[section].clone())));
        reference.extend(presets::table(CLIP).map_err(ConfigError::one)?);
    }
    let parsed = serde_ignored::deserialize(Value::Table(table), |path| {
        // An optional section is a step of its own there.
        let path = path.to_string().replace(".?", "");
        let section = path.rsplit_once('.').map_or("", |(section, _)| section);
        let known =
            section.split('.').filter(|s| !s.is_empty()).try_fold(&reference, |t, part| t.get(part)?.as_table());
        let known = known.map(|t| t.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        problems.push(format!("unknown key `{path}` in the config; known there: {known}"));
    });
    match parsed {
        Ok(config) if problems.is_empty() => {
            let config: Config = config;
            config.check().map(|()| config)
        }
        Ok(config) => {
            let config: Config = config;
            problems.extend(config.check().err().into_iter().flat_map(|e| e.0));
            Err(ConfigError(problems))
        }
        Err(e) => {
            problems.push(format!("the config does not fit: {}", e.to_string().trim()));
            Err(ConfigError(problems))
        }
    }
}
