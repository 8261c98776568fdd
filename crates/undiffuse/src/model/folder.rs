//! Where a model lies, and which files it is made of.

use std::path::{Path, PathBuf};

use undiffuse_nn::networks::FOLDERS;

use super::{ModelError, weights};
use crate::files;

/// The model folder that `path` means: itself, or `model/` inside a run.
///
/// # Errors
/// There is none.
pub fn locate(path: &Path) -> Result<PathBuf, ModelError> {
    place(path).map(|folder| files::current(&folder))
}

/// As [`locate`], by the name under which a model is replaced.
fn place(path: &Path) -> Result<PathBuf, ModelError> {
    let holds = |folder: &Path| files::steady(folder, |folder| network(folder).join("config.json").is_file());
    if holds(path) {
        return Ok(path.to_owned());
    }
    let inside = path.join("model");
    if holds(&inside) {
        return Ok(inside);
    }
    match path.join(crate::run::CONFIG_FILE).is_file() {
        true => Err(ModelError::Unfinished(path.to_owned())),
        false => Err(ModelError::NotFound(path.to_owned())),
    }
}

/// Reads the model folder that `path` means; once more when it was replaced meanwhile.
pub(super) fn steady<T>(path: &Path, read: impl FnMut(&Path) -> Result<T, ModelError>) -> Result<T, ModelError> {
    files::steady(&place(path)?, read)
}

/// The folder of the network inside a model folder, which may hold nothing but a network.
pub(super) fn network(folder: &Path) -> PathBuf {
    let inside = FOLDERS.iter().map(|name| folder.join(name)).find(|inside| inside.is_dir());
    inside.unwrap_or_else(|| folder.to_owned())
}

/// The files that decide what the model in `folder` is, in a fixed order: those that are read, and those that would be read
/// in their place if they were there. Who keeps something that depends on a model goes by this list.
pub fn files_of(folder: &Path, variant: Option<&str>) -> Vec<PathBuf> {
    const FILES: [&str; 4] = ["model_index.json", "undiffuse.json", "scheduler/scheduler_config.json", "config.json"];
    let folder = files::current(folder);
    let mut all: Vec<PathBuf> = FILES.iter().map(|file| folder.join(file)).collect();
    all.extend(FOLDERS.iter().map(|name| folder.join(name).join("config.json")));
    all.extend(weights::files_of(&network(&folder), variant));
    all
}
