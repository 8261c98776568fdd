//! The recipes that come with the program, one readable TOML each.

use toml::Table;
use undiffuse_data::Dataset;

use crate::condition::are_captioned;

/// The preset that training starts from unless told otherwise.
pub const DEFAULT: &str = "quick";
/// The same where pictures have captions.
pub const WORDS: &str = "words";

/// The preset that is made for what the data say of their pictures.
pub fn for_data(data: &Dataset) -> &'static str {
    if are_captioned(data, 0..data.len()) { WORDS } else { DEFAULT }
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Every preset: its name and its TOML.
        pub const ALL: &[(&str, &str)] = &[$(($name, include_str!(concat!("../presets/", $name, ".toml")))),+];
    };
}
presets![
    "quick",
    "words",
    "ddpm",
    "improved-ddpm",
    "cosine-v",
    "ncsn",
    "edm",
    "flow",
    "dit",
    "clip",
    "prior",
    "decoder",
    "upsampler"
];

/// The table of a preset, or a message that lists the names there are.
///
/// # Errors
/// An unknown name, with those that are known.
pub fn table(name: &str) -> Result<Table, String> {
    let Some((_, text)) = ALL.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no preset `{name}`: choose from {}", names.join(", ")));
    };
    text.parse().map_err(|e| format!("preset {name}: {e}"))
}
