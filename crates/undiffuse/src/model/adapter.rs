//! LoRA files that are added to a model's weights.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_nn::adapters::{Fitted, Layers, Lora, LoraError};
use undiffuse_nn::weights::WeightsError;

use crate::part::lock;

/// A LoRA file, and how many times it is added.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The file.
    pub path: PathBuf,
    /// Its factor.
    pub scale: f64,
}

/// `FILE:0.8`, or `FILE` for once.
impl FromStr for Adapter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let given = text.rsplit_once(':').and_then(|(path, scale)| Some((path, scale.trim().parse::<f64>().ok()?)));
        match given.unwrap_or((text, 1.0)) {
            ("", _) => Err("write FILE.safetensors:SCALE, such as ink.safetensors:0.8".into()),
            (_, scale) if !scale.is_finite() => Err(format!("{scale} times is no number of times")),
            (path, scale) => Ok(Self { path: path.into(), scale }),
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.scale)
    }
}

impl Adapter {
    /// What a picture says of it: `file`, the beginning of its `sha256`, `scale`.
    ///
    /// # Errors
    /// What the system says.
    pub fn facts(&self) -> io::Result<Value> {
        let sha256 = Self::sha256(&self.path)?;
        Ok(json!({ "file": self.path.display().to_string(), "sha256": sha256, "scale": self.scale }))
    }

    /// How a file's SHA-256 begins, by which it is known again.
    ///
    /// # Errors
    /// What the system says.
    pub fn sha256(path: &Path) -> io::Result<String> {
        let mut digest = Sha256::new();
        io::copy(&mut std::fs::File::open(path)?, &mut digest)?;
        Ok(hex(&digest.finalize()[..6]))
    }
}

/// LoRAs whose layers were found in a model: they are added to each network when it is read, in their order.
#[derive(Clone, Default)]
pub(super) struct Adapters(Arc<Vec<(Mutex<Fitted>, f64)>>);

impl Adapters {
    /// Reads what files adapt, and finds it among the layers of a model's networks.
    ///
    /// # Errors
    /// Files that cannot be read, or are of another model.
    pub fn fit(adapters: &[Adapter], layers: &[Layers]) -> Result<Self, LoraError> {
        let fit = |adapter: &Adapter| Ok((Mutex::new(Lora::read(&adapter.path)?.fit(layers)?), adapter.scale));
        Ok(Self(Arc::new(adapters.iter().map(fit).collect::<Result<_, LoraError>>()?)))
    }

    /// A network of the model, by its folder, with all that is added to it.
    ///
    /// # Errors
    /// Values that cannot be read, or are not finite.
    pub fn add<M: Module>(&self, network: &str, module: M) -> Result<M, WeightsError> {
        self.0.iter().try_fold(module, |module, (fitted, scale)| lock(fitted).add(network, module, *scale))
    }
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} adapters", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_written_with_their_scale() {
        for (text, path, scale) in [
            ("ink.safetensors:0.8", "ink.safetensors", 0.8),
            ("a/b:c.safetensors", "a/b:c.safetensors", 1.0),
            ("a:b:-2", "a:b", -2.0),
            (r"C:\ink.safetensors", r"C:\ink.safetensors", 1.0),
        ] {
            let adapter: Adapter = text.parse().unwrap();
            assert_eq!(adapter, Adapter { path: path.into(), scale }, "{text}");
            assert_eq!(adapter.to_string().parse(), Ok(adapter));
        }
        for text in ["", ":0.8", "x:inf", "x:nan"] {
            assert!(text.parse::<Adapter>().is_err(), "{text}");
        }
    }
}
