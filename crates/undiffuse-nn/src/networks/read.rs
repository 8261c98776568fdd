//! From the text of a `config.json` to a checked config.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use undiffuse_math::registry::nearest;

use super::ClassConfig;

/// What diffusers' `EMAModel` notes in the config of the weights that it averaged: how, and how far it had come. No part of
/// the network.
const AVERAGING: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];
/// Fields that every class has: its name, the release that wrote the file, where the weights were once loaded from.
const COMMON: [&str; 3] = ["_class_name", "_diffusers_version", "_name_or_path"];

/// Most channels, rows, groups, and pixels in a side. No product of two of them, and of the nine taps of a filter,
/// leaves 64 bits.
pub(super) const COUNT: usize = 1 << 24;

/// Why a configuration describes no network.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no JSON.
    #[error("the network's config is no JSON ({0}); download or save it again")]
    Text(serde_json::Error),
    /// The JSON does not fit the fields: an unknown field, block or option, by name.
    #[error("the network's config is not one this program can build: {field}{problem}")]
    Field {
        /// The field and a colon; nothing where the problem names it.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A class that is not in the registry.
    #[error("this program has no network of the class `{class}` (the nearest it has is {nearest}); it has: {known}")]
    Class {
        /// The class that was asked for.
        class: String,
        /// The known class whose name is most like it.
        nearest: &'static str,
        /// Every class that is known.
        known: String,
    },
    /// Fields that ask for what no part here does.
    #[error("the network's config asks for what this program does not have: {0}")]
    Lacking(String),
    /// Fields that contradict each other.
    #[error("the network's config contradicts itself: {0}")]
    Contradiction(String),
}

impl ConfigError {
    pub(super) fn class(class: String, known: &[&'static str]) -> Self {
        let nearest = nearest(&class, known.iter().copied()).map_or("", |(_, known)| known);
        Self::Class { class, nearest, known: known.join(", ") }
    }
}

/// A `config.json` that is read.
pub(super) struct File {
    /// The class that it is of.
    pub class: String,
    /// The fields that are the class's own.
    fields: Map<String, Value>,
    /// The others, with their values.
    notes: Vec<String>,
}

/// Reads a text, but nothing of what its class says.
pub(super) fn file(text: &str) -> Result<File, ConfigError> {
    let wrong = |field: &str, problem: &str| {
        let field = if field.is_empty() { String::new() } else { format!("`{field}`: ") };
        ConfigError::Field { field, problem: problem.into() }
    };
    let Value::Object(mut fields) = serde_json::from_str(text).map_err(ConfigError::Text)? else {
        return Err(wrong("", "a JSON object is expected"));
    };
    let class = match fields.get(COMMON[0]).or_else(|| fields.get("architectures").and_then(|classes| classes.get(0))) {
        None => "UNet2DModel".to_owned(),
        Some(Value::String(class)) => class.clone(),
        Some(_) => return Err(wrong(COMMON[0], "the name of a class is expected")),
    };
    COMMON.iter().for_each(|name| drop(fields.remove(*name)));
    let foreign = |name: &String| AVERAGING.contains(&name.as_str()) || name.starts_with('_');
    let names: Vec<String> = fields.keys().filter(|name| foreign(name)).cloned().collect();
    let notes = names.into_iter().filter_map(|name| fields.remove(&name).map(|value| format!("{name} = {value}")));
    let notes = notes.collect();
    Ok(File { class, fields, notes })
}

impl File {
    /// The config of a class, checked.
    ///
    /// # Errors
    /// A field of the wrong type, missing or unknown, and what [`ClassConfig::check`] refuses.
    pub fn config<C: DeserializeOwned + ClassConfig>(self) -> Result<C, ConfigError> {
        let config: C = serde_path_to_error::deserialize(Value::Object(self.fields)).map_err(|e| {
            let field = e.path().to_string();
            let field = if field == "." { String::new() } else { format!("`{field}`: ") };
            ConfigError::Field { field, problem: e.into_inner().to_string() }
        })?;
        config.check()?;
        Ok(config.with_notes(self.notes))
    }
}

/// What a [`ClassConfig`] with a field `notes` says of it.
macro_rules! keeps_notes {
    () => {
        fn notes(&self) -> &[String] {
            &self.notes
        }

        fn with_notes(self, notes: Vec<String>) -> Self {
            Self { notes, ..self }
        }
    };
}
pub(super) use keeps_notes;

pub(super) fn fail(message: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Contradiction(message.into()))
}

pub(super) fn lacking(message: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Lacking(message.into()))
}

/// Whether values can drop out with this probability.
pub(super) fn check_dropout(p: f64) -> Result<(), ConfigError> {
    match (0.0..1.0).contains(&p) {
        true => Ok(()),
        false => fail(format!("dropout must be in [0, 1), not {p}")),
    }
}

/// Whether what latents are multiplied by can be taken back.
pub(super) fn check_scaling(scaling_factor: f64) -> Result<(), ConfigError> {
    match scaling_factor.is_finite() && scaling_factor != 0.0 {
        true => Ok(()),
        false => fail(format!("scaling_factor is {scaling_factor}")),
    }
}

/// Whether a count is at least 1 and at most `most`.
pub(super) fn within(field: &str, count: usize, most: usize) -> Result<(), ConfigError> {
    match count {
        0 => fail(format!("{field} must be at least 1")),
        count if count > most => fail(format!("{field} is {count}; at most {most} is read")),
        _ => Ok(()),
    }
}
