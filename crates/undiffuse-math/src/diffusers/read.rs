//! From a scheduler config to a recipe.

use super::fields::Fields;
use crate::{recipe::Recipe, registry::KindError};
use serde_json::Value;

/// Why a scheduler config could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The class is not one of those that can be read.
    #[error("scheduler class `{class}` is not supported{hint}; supported: {known}")]
    Class {
        /// The class asked for.
        class: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// The classes that are known.
        known: String,
    },
    /// A field's value is of the wrong type, or not supported.
    #[error("{class}: `{field}` = {value} is not supported; supported: {expected}")]
    Value {
        /// The class.
        class: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The values make no valid part.
    #[error("{class}: {source}")]
    Part {
        /// The class.
        class: &'static str,
        /// What is wrong.
        source: KindError,
    },
    /// Not a scheduler config at all.
    #[error("scheduler_config.json: {0}")]
    Json(String),
}

impl Recipe {
    /// Reads the text of a `scheduler_config.json`; the `Infinity` and `NaN` that Python writes are understood.
    ///
    /// # Errors
    /// Text that is not JSON, classes and values that are not supported, each by name.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        Self::from_value(&serde_json::from_str(&quote_infinities(text)).map_err(|e| ReadError::Json(e.to_string()))?)
    }

    /// Reads a scheduler config.
    ///
    /// # Errors
    /// Classes and values that are not supported, each by name.
    pub fn from_value(config: &Value) -> Result<Self, ReadError> {
        let fields = Fields::new(config)?;
        let mut recipe = (fields.class.read)(&fields)?;
        if !fields.unknown.is_empty() {
            recipe.notes.push(format!("{} has no field {}: ignored", fields.class.name, fields.unknown.join(", ")));
        }
        Ok(recipe)
    }
}

/// Puts quotes around the bare `Infinity`, `-Infinity` and `NaN` of Python's JSON, outside of strings.
fn quote_infinities(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for (i, part) in split_strings(text).enumerate() {
        if i % 2 == 1 {
            quoted.push_str(part);
        } else {
            let part = part.replace("-Infinity", "\u{1}").replace("Infinity", "\"Infinity\"");
            quoted.push_str(&part.replace('\u{1}', "\"-Infinity\"").replace("NaN", "\"NaN\""));
        }
    }
    quoted
}

/// Splits at string literals: even items are between them, odd ones are the literals with their quotes.
fn split_strings(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut inside = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if inside {
            let mut escaped = false;
            let close = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find('"').unwrap_or(rest.len())
        };
        inside = !inside;
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}
