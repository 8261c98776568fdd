//! Which training runs there are: folders with a `config.toml`, named for clients by ids that are looked up, never joined to a
//! path.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use undiffuse::model::ModelFolder;
use undiffuse::run::RunFolder;

use crate::folders;

/// Every run under the paths, each of which is a run or a folder of runs, by its id: the folder's name, made unique.
/// Where these folders are links, somebody of this machine has put them there; links within a run count for nothing.
///
/// Folders with a model get their ids first and in the order of the paths, so that a run and its model have the same.
pub fn scan(paths: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut seen = HashSet::new();
    let mut folders: Vec<PathBuf> = paths.iter().flat_map(|path| candidates(path)).collect();
    folders.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    let (with_model, without): (Vec<_>, Vec<_>) = folders.into_iter().partition(|path| ModelFolder::find(path).is_ok());
    let mut taken = BTreeMap::new();
    for path in with_model.into_iter().chain(without) {
        folders::insert(&mut taken, folders::name(&path, "run"), path);
    }
    taken.retain(|_, path| is_run(path));
    taken
}

/// Whether a training has begun in the folder, or at least been started.
fn is_run(path: &Path) -> bool {
    RunFolder::new(path).is_started()
}

/// The path itself, if it is a run or a model, or the folders in it.
fn candidates(path: &Path) -> Vec<PathBuf> {
    if is_run(path) || ModelFolder::find(path).is_ok() {
        // A run's own model folder means the run.
        let run = path.parent().filter(|run| path.ends_with("model") && is_run(run));
        return vec![run.unwrap_or(path).to_owned()];
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inside.retain(|path| path.is_dir() && !folders::is_left(path) && (is_run(path) || ModelFolder::find(path).is_ok()));
    inside.sort();
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::run::CONFIG_FILE;

    #[test]
    fn runs_are_found_in_folders_and_their_ids_are_unique() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(CONFIG_FILE), "").unwrap();
            folder
        };
        let (a, hidden, b) = (make("runs/cats"), make("runs/.odd name"), make("other/cats"));
        make("runs/.cats.undiffuse-new");
        fs::create_dir_all(root.path().join("runs/nothing")).unwrap();
        fs::create_dir_all(root.path().join("runs/started")).unwrap();
        RunFolder::new(root.path().join("runs/started")).open_output().unwrap();
        let runs = scan(&[root.path().join("runs"), b.clone(), a.clone(), root.path().join("missing")]);
        let ids: Vec<&str> = runs.keys().map(String::as_str).collect();
        assert_eq!(ids, ["cats", "cats-2", "odd-name", "started"]);
        assert_eq!((&runs["cats"], &runs["cats-2"], &runs["odd-name"]), (&a, &b, &hidden));
    }
}
