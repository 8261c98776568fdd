//! `[condition]` of a training's configuration.

use serde::{Deserialize, Serialize};

use super::{Conditioner, SmallConfig};
use crate::words::WordsConfig;

/// `[condition]`: what a network is told of a picture, so that it can be asked for. Also one word, `KIND` or `KIND:FROM`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConditionConfig {
    /// A kind of [`Conditioner`], `none`, or [`AUTO`].
    pub kind: String,
    /// Where it is said of the pictures; each kind has a place of its own when it is empty.
    #[serde(default)]
    pub from: String,
    /// SHA-256 of what was said there when the run began, where the data's own does not cover it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// How words are read, of kind `text`.
    #[serde(default)]
    pub words: WordsConfig,
    /// How small pictures are spoilt, of kind `small`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub small: SmallConfig,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The kind of condition that is what the data say of their pictures: words where at least half have captions, else classes.
pub const AUTO: &str = "auto";

impl ConditionConfig {
    /// The same of another kind.
    pub(super) fn of(&self, kind: &str) -> Self {
        Self { kind: kind.into(), ..self.clone() }
    }

    /// What cannot work, each with its key.
    pub fn problems(&self) -> Vec<String> {
        let mut kinds = vec![AUTO];
        kinds.extend(Conditioner::KINDS);
        let unknown = (!kinds.contains(&self.kind.as_str()))
            .then(|| format!("condition.kind = {:?}: choose from {}", self.kind, kinds.join(", ")));
        let wordless = (!self.words.encoder.is_empty() && ![AUTO, "text"].contains(&&*self.kind)).then(|| {
            let (encoder, kind) = (&self.words.encoder, &self.kind);
            format!("condition.words.encoder = {encoder:?} reads words, and condition.kind = {kind:?} has none: leave one out")
        });
        unknown.into_iter().chain(wordless).chain(self.words.problems()).chain(self.small.problem()).collect()
    }
}
