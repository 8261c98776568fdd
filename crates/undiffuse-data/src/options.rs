//! How a dataset is read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// How a dataset is read. `Options::default()` is right for most folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Side of the square that every picture becomes, in pixels. Pictures are centre-cropped to a square
    /// and resized with an antialiased Lanczos3 filter.
    ///
    /// `None`: the pictures' own size when they all share one that is square, at most
    /// [`NATIVE_MAX`](Self::NATIVE_MAX) and a multiple of 4 (so that a U-Net can halve it twice);
    /// otherwise [`FALLBACK_SIZE`](Self::FALLBACK_SIZE), which a plain CPU trains in minutes.
    pub size: Option<usize>,
    /// 1 (grey) or 3 (RGB). `None`: 1 when every picture is grey, 3 otherwise.
    pub channels: Option<usize>,
    /// The RGB colour that shows through transparent pixels. Default: white.
    pub background: [u8; 3],
    /// Whether training may mirror pictures left to right. Off unless asked for: it doubles the data
    /// for faces and landscapes, and is wrong for text, digits, and classes that differ by their direction.
    /// Mirroring happens when a batch is made, never in the cache; see [`Dataset::batch`](crate::Dataset::batch).
    pub flip: bool,
    /// Refuse the dataset when any picture cannot be decoded, instead of skipping it.
    pub strict: bool,
    /// Where the decoded pictures are kept.
    pub cache: Cache,
    /// Guards against pictures that would fill the memory.
    pub limits: Limits,
}

impl Options {
    /// Largest side that pictures keep by default.
    pub const NATIVE_MAX: usize = 64;
    /// Side that pictures get by default when they cannot keep their own.
    pub const FALLBACK_SIZE: usize = 32;
    /// Largest value that `size` may have.
    pub const SIZE_MAX: usize = 4096;

    /// Refuses values that cannot work, by name.
    ///
    /// # Errors
    /// [`DataError::Option`] with the name of the first one that cannot.
    pub fn check(&self) -> Result<(), DataError> {
        if let Some(size) = self.size
            && !(2..=Self::SIZE_MAX).contains(&size)
        {
            let expected = "a side of 2 to 4096 pixels is needed; 28, 32 and 64 are usual";
            return Err(DataError::Option { name: "size", value: size.to_string(), expected });
        }
        if let Some(channels) = self.channels
            && channels != 1
            && channels != 3
        {
            let expected = "use 1 for grey or 3 for colour (transparency is flattened on `background`)";
            return Err(DataError::Option { name: "channels", value: channels.to_string(), expected });
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            size: None,
            channels: None,
            background: [255; 3],
            flip: false,
            strict: false,
            cache: Cache::Default,
            limits: Limits::default(),
        }
    }
}

/// A colour by name (`white`, `black`, `grey`) or by value (`#rrggbb`, `#rgb`, `r,g,b`), as `--background` takes it.
///
/// # Errors
/// [`DataError::Option`] for anything else.
pub fn parse_color(text: &str) -> Result<[u8; 3], DataError> {
    const NAMES: &[(&str, [u8; 3])] = &[("white", [255; 3]), ("black", [0; 3]), ("grey", [128; 3]), ("gray", [128; 3])];
    let text = text.trim().to_lowercase();
    // `from_str_radix` alone would take a sign.
    let is_hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok().filter(|_| is_hex(digits));
    let bytes = |value: u32| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
    let named = NAMES.iter().find(|(name, _)| *name == text).map(|(_, color)| *color);
    let by_value = || match text.strip_prefix('#') {
        Some(digits) if digits.len() == 6 => hex(digits).map(bytes),
        Some(digits) if digits.len() == 3 => hex(digits).map(|v| [v >> 8, v >> 4 & 15, v & 15].map(|d| d as u8 * 17)),
        Some(_) => None,
        None => {
            let parts: Option<Vec<u8>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
            parts.and_then(|parts| parts.try_into().ok())
        }
    };
    named.or_else(by_value).ok_or_else(|| DataError::Option {
        name: "background",
        value: text.clone(),
        expected: "a colour is white, black, grey, #rrggbb, #rgb or three numbers from 0 to 255 such as 255,128,0",
    })
}

/// Where the decoded pictures are kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// `$UNDIFFUSE_CACHE`, or the platform's cache folder + `undiffuse` (`~/.cache/undiffuse` on Linux).
    #[default]
    Default,
    /// This folder; it is made when missing.
    Dir(PathBuf),
    /// Nowhere: decode at every start and keep the pixels in memory.
    Off,
}

impl Cache {
    /// The folder, if there is to be one.
    pub fn dir(&self) -> Option<PathBuf> {
        match self {
            Cache::Off => None,
            Cache::Dir(dir) => Some(dir.clone()),
            Cache::Default => match std::env::var_os("UNDIFFUSE_CACHE") {
                Some(dir) if !dir.is_empty() => Some(PathBuf::from(dir)),
                _ => dirs::cache_dir().map(|dir| dir.join("undiffuse")),
            },
        }
    }
}

/// What one picture may cost. A file of a few kilobytes can claim to hold billions of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest width × height. Default: 128 million, above any phone camera.
    pub pixels: u64,
    /// Most memory that a decoder may take for one picture, in bytes. Default: 1 GiB.
    pub memory: u64,
    /// Largest encoded picture, in bytes (inside an archive: after unpacking). Default: 256 MiB.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { pixels: 128_000_000, memory: 1 << 30, file: 256 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours() {
        let good =
            [("white", [255, 255, 255]), ("#ff8000", [255, 128, 0]), ("#F80", [255, 136, 0]), ("1, 2,3", [1, 2, 3])];
        good.iter().for_each(|(text, color)| assert_eq!(parse_color(text).unwrap(), *color));
        for text in ["", "#", "#12345", "#+12345", "#gggggg", "1,2", "1,2,256", "1,2,3,4", "purple", "#é0"] {
            assert!(parse_color(text).unwrap_err().to_string().contains("`background`"), "{text}");
        }
    }
}
