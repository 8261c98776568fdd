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
    /// The losses that importance-sampled times go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
}

/// How many checkpoints a run keeps.
const KEEP: usize = 2;

/// Where the checkpoint at `nimg` pictures lies.
pub fn path(folder: &Path, nimg: u64) -> PathBuf {
    folder.join(format!("{nimg:012}.safetensors"))
}

/// Writes a checkpoint and removes all but the newest few.
pub fn save(folder: &Path, counters: &Counters, tensors: &[Named]) -> Result<PathBuf, FileError> {
    fs::create_dir_all(folder).map_err(files::at("create", folder))?;
    let state = serde_json::to_string(counters).expect("counters serialise");
    let path = path(folder, counters.nimg);
    files::write(&path, &weights::to_bytes(tensors, Some(("state", &state))))?;
    for old in all(folder).into_iter().rev().skip(KEEP) {
        // An old checkpoint that stays costs space and nothing else.
        let _ = fs::remove_file(old);
    }
    Ok(path)
}

/// Every checkpoint of a run, oldest first.
pub fn all(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    found.sort();
    found
}

/// Reads a checkpoint.
///
/// # Errors
/// A file that cannot be read, is no checkpoint, or holds infinities or what is no number: nothing can go on from there.
pub fn load(path: &Path) -> Result<(Counters, BTreeMap<String, Named>), WeightsError> {
    let bytes = fs::read(path).map_err(|source| WeightsError::Read { path: path.display().to_string(), source })?;
    let shown = path.display().to_string();
    let tensors = weights::parse(&bytes, &shown)?;
    tensors.iter().try_for_each(|(name, tensor)| weights::check_finite(name, &tensor.values, &shown))?;
    let state = weights::metadata(&bytes, "state").and_then(|text| serde_json::from_str(&text).ok());
    let counters = state.ok_or_else(|| WeightsError::Format {
        path: shown,
        reason: "its header has no `state`: not a checkpoint of this program".into(),
    })?;
    Ok((counters, tensors))
}
