//! Why features cannot be had. Every message says what, where, and what to do.

use std::path::{Path, PathBuf};

/// Why a feature network cannot be opened or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// No network of this name, and no file either.
    #[error(
        "`{spec}` is no feature network. There are {known}, or the path of a .safetensors file with a network of your own"
    )]
    Unknown {
        /// What was asked for.
        spec: String,
        /// The names of all networks.
        known: String,
    },
    /// The weights are not on this machine.
    #[error(
        "the weights of {network} are missing: no {} in {}. {}",
        .files.join(" or "),
        .looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "),
        .get
    )]
    Missing {
        /// The network.
        network: &'static str,
        /// Names that the file may have.
        files: Vec<String>,
        /// The folders that were looked into.
        looked: Vec<PathBuf>,
        /// How to get it.
        get: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}. Check that the path is right and that you may read and write there", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] undiffuse_data::files::FileError),
    /// A file of weights that is damaged, or holds more than tensors.
    #[error("{} cannot be used as weights: {problem}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Weights that fit no network, or not this one.
    #[error("{} does not fit {network}: {problem}", .path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The network.
        network: String,
        /// Which tensor or layer, what was expected and what was found.
        problem: String,
    },
    /// The principal components of the data could not be found.
    #[error("no principal components of {}: {problem}", .path.display())]
    Components {
        /// The dataset.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl FeatureError {
    /// Wraps the system's reason.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    /// A file that holds no weights.
    pub(crate) fn weights(path: &Path, problem: String) -> Self {
        Self::Weights { path: path.to_path_buf(), problem }
    }

    /// A name that means nothing.
    pub(crate) fn unknown(spec: &str) -> Self {
        let known = super::FEATURES.iter().map(|kind| kind.tag).collect::<Vec<_>>().join(", ");
        Self::Unknown { spec: spec.to_owned(), known }
    }
}
