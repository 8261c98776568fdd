//! What can be wrong with a dataset. Every message says what, where, and what to do.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::text::escaped;

/// A picture that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the picture inside its folder or archive.
    pub name: String,
    /// Why it could not be used, as a clause: `"truncated JPEG: …"`.
    pub reason: String,
}

/// Why a dataset cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing exists at the path.
    #[error("no such file or folder: {}. Check the spelling, or pass the full path", shown(.path))]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path exists, but the system refuses to read it.
    #[error("cannot read {}: {source}. Check that you may read the file and enter its folders", shown(.path))]
    Unreadable {
        /// The file or folder that could not be read.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The path is of no kind that any source reads.
    #[error("{} is {found}, which is not a dataset. What works: {supported}", shown(.path))]
    Unsupported {
        /// The path as it was given.
        path: PathBuf,
        /// What the content looks like.
        found: String,
        /// One phrase for each source in the registry.
        supported: String,
    },
    /// An archive, idx file or sidecar contradicts itself or ends early.
    #[error("{} is damaged: {problem}", shown(.path))]
    Corrupt {
        /// The file (or the file inside an archive, after a `!`).
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// Part of it is of a kind that is not read, or cannot be got at.
    #[error("cannot use {}: {problem}", shown(.path))]
    Unusable {
        /// The archive.
        path: PathBuf,
        /// Which part, and why.
        problem: String,
    },
    /// There is more of it than can be held.
    #[error("{} is too large: {problem}", shown(.path))]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
        /// What there is too much of, and how much would do.
        problem: String,
    },
    /// No picture was found.
    #[error("no images in {}: looked for {looked_for}{}", shown(.path), ignored_clause(.ignored))]
    Empty {
        /// The path as it was given.
        path: PathBuf,
        /// What would have counted as a picture.
        looked_for: String,
        /// How many files of another kind were there.
        ignored: usize,
    },
    /// Only one usable picture.
    #[error("only one usable image in {} ({}{}): there is nothing to learn from or to compare in one picture. \
             Add more images; a handful is enough to begin", shown(.path), escaped(.name), skipped_clause(*.skipped))]
    OneImage {
        /// The path as it was given.
        path: PathBuf,
        /// Name of the only picture.
        name: String,
        /// How many others were left out.
        skipped: usize,
    },
    /// All pictures have the same pixels.
    #[error("all {count} images in {} are identical: there is nothing to learn from them but one picture. \
             Add different images", shown(.path))]
    AllIdentical {
        /// The path as it was given.
        path: PathBuf,
        /// How many copies there are.
        count: usize,
    },
    /// Every picture is a single pixel.
    #[error("every image in {} is 1x1 pixel ({count} in all), placeholders rather than pictures. \
             Point at the folder with the full-size images", shown(.path))]
    OnePixel {
        /// The path as it was given.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// No picture could be decoded.
    #[error("no usable image in {}; tried {count}:\n{}", shown(.path), reasons(.first))]
    AllFailed {
        /// The path as it was given.
        path: PathBuf,
        /// How many were tried.
        count: usize,
        /// The first few of them.
        first: Vec<Skipped>,
    },
    /// Some pictures could not be decoded, and `strict` forbids leaving them out.
    #[error("{} in {} cannot be used, and --strict refuses to go on:\n{}\n\
             Repair or remove them, or drop --strict to skip them", images(*.count), shown(.path), reasons(.first))]
    Strict {
        /// The path as it was given.
        path: PathBuf,
        /// How many failed.
        count: usize,
        /// The first few of them.
        first: Vec<Skipped>,
    },
    /// A picture asked for by name cannot be decoded.
    #[error("cannot use the image {}: {reason}", shown(.path))]
    Image {
        /// The picture.
        path: PathBuf,
        /// Why, as a clause.
        reason: String,
    },
    /// An option has a value that cannot work.
    #[error("data option `{name}` = {value}: {expected}")]
    Option {
        /// The option's name.
        name: &'static str,
        /// The value it was given.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An image could not be encoded.
    #[error("cannot encode {what}: {reason}")]
    Encode {
        /// `"PNG"` or `"GIF"`.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl DataError {
    /// The error for a path whose reading failed with `source`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => DataError::NotFound { path },
            std::io::ErrorKind::FileTooLarge => DataError::TooLarge { path, problem: source.to_string() },
            _ => DataError::Unreadable { path, source },
        }
    }

    pub(crate) fn corrupt(path: &Path, problem: impl Into<String>) -> Self {
        DataError::Corrupt { path: path.to_path_buf(), problem: escaped(&problem.into()).into_owned() }
    }
}

fn shown(path: &Path) -> String {
    escaped(&path.display().to_string()).into_owned()
}

/// `"1 image"`, `"2 images"`.
pub(crate) fn images(count: usize) -> String {
    if count == 1 { "1 image".into() } else { format!("{count} images") }
}

fn ignored_clause(ignored: &usize) -> String {
    match ignored {
        0 => String::new(),
        1 => ", and found one file of another kind".into(),
        n => format!(", and found {n} files of other kinds"),
    }
}

fn skipped_clause(skipped: usize) -> String {
    match skipped {
        0 => String::new(),
        n => format!("; {n} could not be decoded"),
    }
}

fn reasons(first: &[Skipped]) -> String {
    let lines: Vec<_> = first.iter().map(|s| format!("  {}: {}", escaped(&s.name), escaped(&s.reason))).collect();
    lines.join("\n")
}
