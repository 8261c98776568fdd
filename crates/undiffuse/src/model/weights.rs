//! Which files a network's weights are in: the names of diffusers, in the order in which it looks for them, and those of
//! transformers, which begin with `model` instead.
//!
//! | variant | an index of several files | one file |
//! |---|---|---|
//! | none | `diffusion_pytorch_model.safetensors.index.json` | `diffusion_pytorch_model.safetensors` |
//! | `fp16` | `diffusion_pytorch_model.safetensors.index.fp16.json`, formerly `….safetensors.fp16.index.json` | `diffusion_pytorch_model.fp16.safetensors` |
//!
//! A variant is only taken when it is asked for, and nothing depends on the order in which a folder lists its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use undiffuse_nn::weights::{Hold, Stored};

use super::ModelError;
use crate::files;

/// The usual file of a denoiser.
pub(super) const NAME: &str = "diffusion_pytorch_model.safetensors";
/// How its name begins.
pub(super) const STEM: &str = "diffusion_pytorch_model";
pub(super) const ENDING: &str = ".safetensors";

/// Where weights are.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Which part each tensor is in, where there are several.
    index: Option<Index>,
    /// The safetensors files.
    pub parts: Vec<PathBuf>,
    hold: Hold,
}

#[derive(Clone, Debug, PartialEq)]
struct Index {
    path: PathBuf,
    /// From tensors to names of files.
    map: BTreeMap<String, String>,
}

/// The name of the single file of a variant, and the names that an index of several may have.
fn names(stem: &str, variant: Option<&str>) -> (String, Vec<String>) {
    let usual = format!("{stem}{ENDING}");
    match variant {
        None => (usual.clone(), vec![format!("{usual}.index.json")]),
        Some(variant) => (
            format!("{stem}.{variant}{ENDING}"),
            vec![format!("{usual}.index.{variant}.json"), format!("{usual}.{variant}.index.json")],
        ),
    }
}

impl Weights {
    /// Finds the weights in a network's folder, in files whose names begin with `stem`.
    ///
    /// # Errors
    /// None of the variant that was asked for; a broken index.
    pub fn find(folder: &Path, stem: &str, variant: Option<&str>) -> Result<Self, ModelError> {
        if let Some(wrong) =
            variant.filter(|v| v.is_empty() || !v.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)))
        {
            return Err(ModelError::Variant(wrong.into()));
        }
        let (single, indices) = names(stem, variant);
        if let Some(path) = indices.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
            let index = Index::read(path)?;
            let parts: BTreeSet<&String> = index.map.values().collect();
            let parts = parts.into_iter().map(|part| folder.join(part)).collect();
            return Ok(Self { parts, index: Some(index), hold: Hold::default() });
        }
        match folder.join(&single) {
            path if path.is_file() => Ok(Self { index: None, parts: vec![path], hold: Hold::default() }),
            path => Err(missing(folder, stem, &path)),
        }
    }

    /// The same, which come into memory like this.
    pub(super) fn held(self, hold: Hold) -> Self {
        Self { hold, ..self }
    }

    /// Opens the files and reads what is in them, but no values.
    ///
    /// # Errors
    /// Files that cannot be read or are not whole; parts that are not as the index says.
    pub fn open(&self) -> Result<Stored<File>, ModelError> {
        let open = |path: &PathBuf| Ok((path.display().to_string(), files::open(path)?));
        let parts = self.parts.iter().map(open).collect::<Result<Vec<_>, ModelError>>()?;
        let stored = Stored::read(parts)?;
        self.index.iter().try_for_each(|index| index.check(&stored, &self.parts))?;
        Ok(stored.held(self.hold))
    }
}

impl Index {
    fn read(path: PathBuf) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct File {
            weight_map: BTreeMap<String, String>,
        }
        let broken = |problem| ModelError::Index { path: path.clone(), problem };
        let File { weight_map: map } = serde_json::from_str(&files::read_text(&path)?)
            .map_err(|e| broken(format!("it is no index of weights: {e}; download it again")))?;
        if map.is_empty() {
            return Err(broken("`weight_map` names no tensors; download it again".into()));
        }
        if let Some(part) = map.values().find(|part| !is_part(part)) {
            return Err(broken(format!("`weight_map` names `{part}`: a .safetensors file beside it was expected")));
        }
        Ok(Self { map, path })
    }

    /// Every tensor of the index is in its part, and the parts hold no others.
    fn check(&self, stored: &Stored<File>, parts: &[PathBuf]) -> Result<(), ModelError> {
        let broken = |problem| Err(ModelError::Index { path: self.path.clone(), problem });
        let mut left: BTreeMap<&str, &str> =
            self.map.iter().map(|(name, part)| (name.as_str(), part.as_str())).collect();
        for (name, part) in stored.names() {
            let found = parts[part].file_name().unwrap_or_default().to_string_lossy();
            match left.remove(name) {
                Some(part) if part == found => {}
                Some(part) => return broken(format!("tensor `{name}` should be in `{part}` and is in `{found}`")),
                None => return broken(format!("`{found}` holds a tensor `{name}` that the index does not name")),
            }
        }
        match left.pop_first() {
            Some((name, part)) => broken(format!("tensor `{name}` is missing in `{part}`; download it again")),
            None => Ok(()),
        }
    }
}

/// Whether a name is that of a safetensors file in the same folder.
fn is_part(name: &str) -> bool {
    let plain = !name.contains(['/', '\\', ':']) && !name.starts_with('.');
    plain && name.ends_with(ENDING)
}

/// The files that decide which weights are read: candidates up to the first one there, and the parts of an index.
pub(super) fn files_of(folder: &Path, stem: &str, variant: Option<&str>) -> Vec<PathBuf> {
    let (single, indices) = names(stem, variant);
    let mut all = Vec::new();
    for path in indices.iter().map(|name| folder.join(name)) {
        all.push(path.clone());
        if path.is_file() {
            all.extend(Weights::find(folder, stem, variant).into_iter().flat_map(|weights| weights.parts));
            return all;
        }
    }
    all.push(folder.join(single));
    all
}

/// Why there are no weights at `wanted`, by what is there instead.
fn missing(folder: &Path, stem: &str, wanted: &Path) -> ModelError {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let mut variants: Vec<String> = names.iter().filter_map(|name| variant_of(name, stem)).map(str::to_owned).collect();
    variants.dedup();
    let others: Vec<String> = names.iter().filter(|name| name.ends_with(ENDING)).cloned().collect();
    let pickle = names.iter().find(|name| name.ends_with(".bin"));
    match (variants.is_empty() && others.is_empty(), pickle) {
        (true, Some(pickle)) => ModelError::Pickle(folder.join(pickle)),
        (true, None) => {
            let nothing = std::io::Error::from(std::io::ErrorKind::NotFound);
            files::at("read", wanted)(nothing).into()
        }
        (false, _) => ModelError::NoWeights {
            folder: folder.to_owned(),
            wanted: wanted.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            variants,
            others,
        },
    }
}

/// The variant that a file of weights, or an index, belongs to; the empty word for none.
fn variant_of<'a>(name: &'a str, stem: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(stem)?;
    let usual = rest.strip_prefix(ENDING);
    if let Some("" | ".index.json") = usual {
        return Some("");
    }
    let index = usual.and_then(|rest| {
        let new = rest.strip_prefix(".index.").and_then(|rest| rest.strip_suffix(".json"));
        new.or_else(|| rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(".index.json")))
    });
    let single = || rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(ENDING));
    // The parts of an index are called `….VARIANT-00001-of-00002.safetensors`.
    index.or_else(single).filter(|variant| !variant.contains("-of-") && !variant.is_empty())
}
