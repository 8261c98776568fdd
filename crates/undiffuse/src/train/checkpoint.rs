//! Checkpoints: all of a run's state in one safetensors file, written atomically.
//!
//! Tensors are named `raw.NAME` (weights), `average.K.NAME`, `adam.m.NAME` and `adam.v.NAME`; the
//! header's entry `state` holds the counters. Nothing else is state: everything random is a
//! function of the counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use undiffuse_math::timing::Importance;
use undiffuse_nn::weights::{self, Named, WeightsError};

use super::config::IMAGES_MAX;
use crate::files::{self, FileError};

/// The counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Optimiser steps done.
    pub step: u64,
    /// Pictures seen.
    pub nimg: u64,
    /// Loss on held-out pictures at the last validation.
    pub validation_loss: Option<f64>,
    /// Pictures at the run's end, once that was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The losses that importance-sampled times go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
}

/// How many checkpoints a run keeps.
const KEEP: usize = 2;

/// The most entries of the folder that are looked at.
const ENTRIES: usize = 100_000;

const ENDING: &str = ".safetensors";

/// Where the checkpoint at `nimg` pictures lies.
pub fn path(folder: &Path, nimg: u64) -> PathBuf {
    folder.join(format!("{nimg:012}{ENDING}"))
}

/// The pictures seen that a checkpoint's name tells; nothing for names that are not of this program's making.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let nimg = name.strip_suffix(ENDING)?.parse().ok()?;
    (self::path(Path::new(""), nimg).as_os_str() == name).then_some(nimg)
}

/// Writes a checkpoint and removes older ones but for the newest; the start of a run is none to go back to once there is
/// a later one.
///
/// # Errors
/// A folder that cannot be written.
pub fn save(folder: &Path, counters: &Counters, tensors: &[Named]) -> Result<PathBuf, FileError> {
    files::create_folder(folder)?;
    let state = serde_json::to_string(counters).expect("counters serialise");
    let path = path(folder, counters.nimg);
    files::write(&path, &weights::to_bytes(tensors, Some(("state", &state))))?;
    // A later one is damaged, or this one would not have been made; it is somebody's to look at.
    let older = numbered(folder).into_iter().filter(|(nimg, _)| *nimg < counters.nimg).rev();
    for (_, (_, old)) in older.enumerate().filter(|(k, (nimg, _))| k + 1 >= KEEP || *nimg == 0) {
        // An old checkpoint that stays costs space and nothing else.
        let _ = files::remove(&old);
    }
    Ok(path)
}

/// Every checkpoint of a run, oldest first. Files of other names are somebody else's.
pub fn all(folder: &Path) -> Vec<PathBuf> {
    numbered(folder).into_iter().map(|(_, path)| path).collect()
}

/// As [`all`], with the pictures seen.
pub(super) fn numbered(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).take(ENTRIES);
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    found
}

/// Reads a checkpoint.
///
/// # Errors
/// A file that cannot be read, is no checkpoint, or holds infinities or what is no number: nothing can go on from there.
pub fn load(path: &Path) -> Result<(Counters, BTreeMap<String, Named>), WeightsError> {
    let shown = path.display().to_string();
    // Nobody's link stands for a state: a run may come from a stranger.
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let file = files::open_inside(folder, path.file_name().unwrap_or_default().as_ref());
    let bytes = file.and_then(|file| files::read_all(file, u64::MAX).map_err(files::at("read", path)));
    let bytes = bytes.map_err(|e| WeightsError::Read { path: shown.clone(), source: e.source })?;
    let tensors = weights::parse(&bytes, &shown)?;
    tensors.iter().try_for_each(|(name, tensor)| weights::check_finite(name, &tensor.values, &shown))?;
    let state = weights::metadata(&bytes, "state").and_then(|text| serde_json::from_str::<Counters>(&text).ok());
    let fail = |reason: String| WeightsError::Format { path: shown.clone(), reason };
    let Some(counters) = state else {
        return Err(fail("its header has no `state`: not a checkpoint of this program".into()));
    };
    if counters.step > counters.nimg || counters.nimg > IMAGES_MAX {
        return Err(fail(format!("its header tells of {} images in {} steps", counters.nimg, counters.step)));
    }
    match number(path) {
        Some(named) if named != counters.nimg => {
            Err(fail(format!("it is the state at {} images under the name of another", counters.nimg)))
        }
        _ => Ok((counters, tensors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_programs_own_or_somebody_elses() {
        let of = |name: &str| number(Path::new(name));
        assert_eq!(of("checkpoints/000000000016.safetensors"), Some(16));
        assert_eq!(of("1234567890123.safetensors"), Some(1_234_567_890_123));
        let foreign = ["best", "16", "000000000016 (copy)", "+00000000016", "0000000000016", ".000000000016", ""];
        assert!(foreign.iter().all(|name| of(&format!("{name}.safetensors")).is_none()));
        assert!(of("000000000016.safetensors.bak").is_none() && of("000000000016").is_none());
    }

    #[test]
    fn the_newest_two_are_kept_and_nothing_else_is_touched() {
        let folder = std::env::temp_dir().join(format!("undiffuse-checkpoints-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let at = |nimg| save(&folder, &Counters { step: nimg, nimg, ..Counters::default() }, &[]).unwrap();
        let foreign = ["best.safetensors", "000000000001 (copy).safetensors", "notes.txt"];
        let names = || {
            let names = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut own: Vec<String> = names.filter(|name| !foreign.contains(&name.as_str())).collect();
            own.sort();
            own.iter().map(|name| name.trim_end_matches(ENDING).parse().unwrap()).collect::<Vec<u64>>()
        };
        at(0);
        foreign.iter().for_each(|name| fs::write(folder.join(name), name).unwrap());
        // A damaged one of a later time must not push out what is saved now.
        fs::write(path(&folder, 70), "damaged").unwrap();
        fs::write(path(&folder, 80), "damaged").unwrap();
        at(5);
        assert_eq!(names(), [5, 70, 80]);
        at(6);
        assert_eq!(names(), [5, 6, 70, 80]);
        at(7);
        assert_eq!(names(), [6, 7, 70, 80]);
        assert!(foreign.iter().all(|name| fs::read_to_string(folder.join(name)).unwrap() == *name));
        fs::rename(path(&folder, 6), path(&folder, 9)).unwrap();
        assert!(load(&path(&folder, 9)).unwrap_err().to_string().contains("under the name of another"));
        assert_eq!(load(&path(&folder, 7)).unwrap().0.nimg, 7);
        fs::remove_dir_all(folder).unwrap();
    }
}
