//! The tiny pipelines of `xtask/golden/stable_diffusion.py` as folders.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse/tests/fixtures/stable_diffusion")
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => assert!(fs::copy(entry.path(), to).is_ok()),
        }
    }
}

/// The folder of a row of the index: with its U-Net, its scheduler and the name of its pipeline.
pub fn folder(fixture: &Value) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    copy(&root().join("base"), place.path());
    copy(&root().join(fixture["unet"].as_str().unwrap()).join("unet"), &place.path().join("unet"));
    fs::write(place.path().join("scheduler/scheduler_config.json"), fixture["scheduler"].to_string()).unwrap();
    let index = place.path().join("model_index.json");
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&index).unwrap()).unwrap();
    value["_class_name"] = fixture["pipeline"].clone();
    value["scheduler"] = json!(["diffusers", fixture["scheduler"]["_class_name"]]);
    fs::write(&index, value.to_string()).unwrap();
    place
}
