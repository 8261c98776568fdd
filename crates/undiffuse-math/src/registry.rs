//! One registry for every kind of part: a line in a table gives the config tag, the command-line word, the
//! documentation list and a place in every test loop.
//!
//! Each kind of part ([schedule](crate::schedule), [solver](crate::solver), …) is an enum made by one macro. Its
//! values are written three ways that mean the same:
//!
//! | where | form |
//! |---|---|
//! | TOML, JSON | a table: `kind = "ddim"`, `eta = 0.5` |
//! | TOML, JSON | one string: `"ddim:eta=0.5"` |
//! | command line | `ddim:eta=0.5`, several options as `karras:rho=5,sigma_min=0.01`, lists as `betas=0.1;0.2` |
//!
//! Options left out have their defaults, and unknown words are refused with the known ones.

use serde_json::{Map, Value};

/// One line of a registry.
pub struct Entry<T> {
    /// The word in configs and on the command line.
    pub tag: &'static str,
    /// One line on what it is, with its source.
    pub doc: &'static str,
    /// Options that are tested and listed beside the defaults, as they are written after the word.
    pub also: &'static [&'static str],
    /// The part with every option at its default.
    pub default: fn() -> T,
}

impl<T: std::str::FromStr> Entry<T> {
    /// The part at its defaults, then with the options of [`Entry::also`].
    ///
    /// # Errors
    /// Options that the part does not have.
    pub fn all(&self) -> Result<Vec<T>, T::Err> {
        let also = self.also.iter().map(|options| format!("{}:{options}", self.tag).parse());
        [Ok((self.default)())].into_iter().chain(also).collect()
    }
}

/// Why a part could not be made from what a person wrote.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KindError {
    /// The tag is not in the registry.
    #[error("unknown {what} `{word}`{hint}; known: {known}")]
    Unknown {
        /// Which kind of part was asked for.
        what: &'static str,
        /// The word that was not known.
        word: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// Every word that is known.
        known: String,
    },
    /// The tag is known, one of its options is not.
    #[error("{what} `{tag}` has no option `{word}`{hint}; its options: {known}")]
    UnknownOption {
        /// Which kind of part was asked for.
        what: &'static str,
        /// The part.
        tag: &'static str,
        /// The option that was not known.
        word: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// Every option that is known.
        known: String,
    },
    /// A value has the wrong type or lies outside its range.
    #[error("{what} `{tag}`: {problem}")]
    Value {
        /// Which kind of part was asked for.
        what: &'static str,
        /// The part.
        tag: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The text or table is not of the form that a part is written in.
    #[error("{what}: {problem}")]
    Form {
        /// Which kind of part was asked for.
        what: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// `, did you mean …?` when a known word is near enough to be a slip of the finger.
pub fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known)
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .map_or_else(String::new, |(_, k)| format!(", did you mean `{k}`?"))
}

/// The known word that takes the fewest changes of letters to become, and how many.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    known.map(|k| (strsim::damerau_levenshtein(word, k), k)).min()
}

/// Splits a part into its tag and its options, whichever of the written forms it has.
///
/// # Errors
/// [`KindError::Form`]: none of the written forms.
pub fn split(what: &'static str, value: Value) -> Result<(String, Map<String, Value>), KindError> {
    let form = |problem: String| KindError::Form { what, problem };
    match value {
        Value::String(text) => {
            let (tag, options) = text.split_once(':').unwrap_or((&text, ""));
            let options = options.split(',').map(str::trim).filter(|o| !o.is_empty()).map(|option| {
                let (key, value) = option
                    .split_once('=')
                    .ok_or_else(|| form(format!("`{option}` in `{text}` is not of the form `option=value`")))?;
                Ok((key.trim().to_owned(), scalar(value.trim())))
            });
            Ok((tag.trim().to_owned(), options.collect::<Result<_, KindError>>()?))
        }
        Value::Object(mut map) => match map.remove("kind") {
            Some(Value::String(tag)) => Ok((tag, map)),
            Some(other) => Err(form(format!("`kind` must be a string, not {other}"))),
            None => Err(form("`kind` is missing: it names which one is meant".to_owned())),
        },
        other => Err(form(format!("expected a name or a table with `kind`, not {other}"))),
    }
}

/// A command-line value: number, truth value, `;`-separated list, or text.
fn scalar(text: &str) -> Value {
    if text.contains(';') {
        return text.split(';').map(str::trim).filter(|item| !item.is_empty()).map(scalar).collect();
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => {
            let float = || text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
            text.parse::<i64>().ok().map(Value::from).or_else(float).unwrap_or_else(|| Value::from(text))
        }
    }
}

/// Refuses options that the default value does not have.
///
/// # Errors
/// [`KindError::UnknownOption`], with the options that there are.
pub fn check_options(
    what: &'static str,
    tag: &'static str,
    options: &Map<String, Value>,
    defaults: &Map<String, Value>,
) -> Result<(), KindError> {
    match options.keys().find(|key| !defaults.contains_key(*key)) {
        None => Ok(()),
        Some(word) => {
            let names = || defaults.keys().map(String::as_str);
            let known = names().collect::<Vec<_>>().join(", ");
            Err(KindError::UnknownOption {
                what,
                tag,
                word: word.clone(),
                hint: did_you_mean(word, names()),
                known: if known.is_empty() { "none".to_owned() } else { known },
            })
        }
    }
}

/// The shortest text that [`split`] reads back to the same value: options at their default are left out.
pub fn display(tag: &str, options: &Map<String, Value>, defaults: &Map<String, Value>) -> String {
    let changed: Vec<_> = options
        .iter()
        .filter(|(key, value)| defaults.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    if changed.is_empty() { tag.to_owned() } else { format!("{tag}:{}", changed.join(",")) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // The trailing separator keeps a list of one a list.
        Value::Array(items) => items.iter().map(|item| plain(item) + ";").collect(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, |f| f.to_string()),
        other => other.to_string(),
    }
}

/// A part's options as a table; every registered part serializes to one.
pub fn options<T: serde::Serialize>(part: &T) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Makes the enum of one kind of part, in this crate or another: a trait object of the part's trait, whose `check` must be in
/// scope. A line reads `"tag" in module => Type, "one line of documentation";`, which also takes the module in, or
/// `"tag" => Variant(Type), "one line of documentation";`. Where more than the defaults is to be tested and listed,
/// `, also ["option=value", …]` stands before the semicolon.
#[macro_export]
macro_rules! kind {
    (
        $(#[$meta:meta])*
        pub enum $kind:ident: $part:path, $what:literal {
            $($tag:literal in $module:ident => $type:ident, $doc:literal $(, also [$($options:literal),+])?;)+
        }
    ) => {
        $(mod $module;
        pub use $module::$type;)+

        $crate::kind! {
            $(#[$meta])*
            pub enum $kind: $part, $what {
                $($tag => $type($type), $doc $(, also [$($options),+])?;)+
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub enum $kind:ident: $part:path, $what:literal {
            $($tag:literal => $variant:ident($type:ty), $doc:literal $(, also [$($options:literal),+])?;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $kind {
            $(#[doc = concat!("`", $tag, "`: ", $doc)] $variant($type),)+
        }

        impl $kind {
            /// Every entry of the registry, in the order of the documentation.
            pub const ALL: &'static [$crate::registry::Entry<$kind>] = &[
                $($crate::registry::Entry {
                    tag: $tag,
                    doc: $doc,
                    also: &[$($($options),+)?],
                    default: || $kind::$variant(<$type>::default()),
                },)+
            ];

            /// The word for this part in configs and on the command line.
            pub fn tag(&self) -> &'static str {
                match self {
                    $($kind::$variant(_) => $tag,)+
                }
            }

            /// The options of this part, those at their default included.
            pub fn options(&self) -> serde_json::Map<String, serde_json::Value> {
                match self {
                    $($kind::$variant(part) => $crate::registry::options(part),)+
                }
            }

            /// Makes a part from its written form: a string or a table with `kind`.
            ///
            /// # Errors
            /// Unknown tags and options, values of the wrong type and values out of range, each by name.
            pub fn from_value(value: serde_json::Value) -> Result<Self, $crate::registry::KindError> {
                use $crate::registry::{KindError, check_options, did_you_mean, split};
                let (word, options) = split($what, value)?;
                let made = match word.as_str() {
                    $($tag => {
                        check_options($what, $tag, &options, &$crate::registry::options(&<$type>::default()))?;
                        serde_json::from_value(serde_json::Value::Object(options))
                            .map($kind::$variant)
                            .map_err(|e| e.to_string())
                            .and_then(|part| part.check().map(|()| part))
                            .map_err(|problem| KindError::Value { what: $what, tag: $tag, problem })
                    })+
                    _ => {
                        let known = || Self::ALL.iter().map(|entry| entry.tag);
                        Err(KindError::Unknown {
                            what: $what,
                            hint: did_you_mean(&word, known()),
                            word,
                            known: known().collect::<Vec<_>>().join(", "),
                        })
                    }
                };
                made
            }
        }

        impl std::ops::Deref for $kind {
            type Target = dyn $part;
            fn deref(&self) -> &(dyn $part + 'static) {
                match self {
                    $($kind::$variant(part) => part,)+
                }
            }
        }

        $(impl From<$type> for $kind {
            fn from(part: $type) -> Self {
                $kind::$variant(part)
            }
        })+

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let defaults = match self {
                    $($kind::$variant(_) => $crate::registry::options(&<$type>::default()),)+
                };
                f.write_str(&$crate::registry::display(self.tag(), &self.options(), &defaults))
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::registry::KindError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::from_value(serde_json::Value::from(text))
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = self.options();
                map.retain(|_, value| !value.is_null());
                map.insert("kind".to_owned(), self.tag().into());
                map.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_value(serde_json::Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use kind;

/// `Ok` when the condition holds, the message otherwise; for the `check` functions of the parts.
pub(crate) fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}
