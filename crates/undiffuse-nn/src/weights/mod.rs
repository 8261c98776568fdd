//! Weights in and out: safetensors with diffusers' tensor names, in f32.

mod mapped;
mod stored;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use burn::module::Module;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::params;

pub use stored::Stored;

/// A named tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Dotted name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// How weights in f32 come into memory; those of other types are read, and made f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// They stay in the file's pages, which are mapped: nothing is copied until somebody writes to a tensor. The file may be
    /// deleted or replaced meanwhile, but nobody may write into it or make it shorter, which would change what is held, or end
    /// the process.
    #[default]
    Mapped,
    /// They are copied: for whoever holds them longer than a command takes, whatever others do to the files.
    Copied,
}

/// A weights file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a broken one.
    #[error("`{path}` is not a complete safetensors file ({reason}); download or save it again")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor of a number type that has no f32 reading.
    #[error("`{path}`: tensor `{name}` has type {dtype:?}; F32, F16, BF16, F64 and integers are read")]
    Dtype {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A weight is infinite or not a number.
    #[error(
        "`{path}`: tensor `{name}` holds {value} at {at}, and weights are finite numbers: \
         the file is damaged, or the training that made it broke down; take another"
    )]
    NotFinite {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// What is there.
        value: f32,
        /// Where, in row-major order.
        at: usize,
    },
    /// The file does not hold this network's tensors.
    #[error("`{path}` does not fit the network's config: {problems}")]
    Mismatch {
        /// The file.
        path: String,
        /// Which tensors, and how.
        problems: String,
    },
    /// The parts of a file that was saved in several do not make a whole.
    #[error("`{path}`: {problem}")]
    Parts {
        /// The index, or a part.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// Every parameter of `module` with its values.
pub fn export<M: Module>(module: &M) -> Vec<Named> {
    let mut all = Vec::new();
    params::for_each(module, |p| {
        all.push(Named { name: p.name, shape: p.shape, values: params::to_host(p.value.inner()) })
    });
    all
}

/// The bytes of a safetensors file holding `tensors`, with an entry in its header or none; the same tensors give the same
/// bytes. (Of several entries the format's writer would choose the order by chance.)
pub fn to_bytes(tensors: &[Named], entry: Option<(&str, &str)>) -> Vec<u8> {
    let views = tensors.iter().map(|t| {
        let bytes: &[u8] = bytemuck::cast_slice(&t.values);
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes).expect("shape and values agree");
        (t.name.as_str(), view)
    });
    let metadata = entry.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
    safetensors::serialize(views, metadata).expect("tensors in memory serialise")
}

/// All tensors of a safetensors file, as f32, by name.
///
/// # Errors
/// A file that cannot be read, or is no safetensors file of numbers.
pub fn read(path: &Path) -> Result<BTreeMap<String, Named>, WeightsError> {
    open(path)?.tensors()
}

/// All tensors of a safetensors file's bytes; `shown` is the name that messages use.
///
/// # Errors
/// Bytes that are no safetensors file of numbers.
pub fn parse(bytes: &[u8], shown: &str) -> Result<BTreeMap<String, Named>, WeightsError> {
    Stored::read([(shown.to_owned(), Cursor::new(bytes))])?.tensors()
}

/// Reads `path` into `module`, [mapped](Hold::Mapped): every parameter must be there with its shape, and nothing else.
///
/// # Errors
/// A file that cannot be read, that fits another network, or that holds infinities or what is no number.
pub fn load<M: Module>(module: M, path: &Path) -> Result<M, WeightsError> {
    open(path)?.held(Hold::Mapped).fill(module)
}

pub(crate) fn open(path: &Path) -> Result<Stored<File>, WeightsError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|source| WeightsError::Read { path: shown.clone(), source })?;
    Stored::read([(shown, file)])
}

/// Finds the first value of a tensor that is infinite or not a number.
///
/// # Errors
/// There is one.
pub fn check_finite(name: &str, values: &[f32], shown: &str) -> Result<(), WeightsError> {
    // All bits of the exponent are set in what is not finite. Without a branch this runs as fast as memory is read.
    const EXPONENT: u32 = 0x7f80_0000;
    let special = values.iter().fold(false, |found, v| found | (v.to_bits() & EXPONENT == EXPONENT));
    let Some(at) = special.then(|| values.iter().position(|v| !v.is_finite())).flatten() else { return Ok(()) };
    Err(WeightsError::NotFinite { path: shown.to_owned(), name: name.to_owned(), value: values[at], at })
}

/// An entry of a safetensors file's header.
pub fn metadata(bytes: &[u8], key: &str) -> Option<String> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    header.metadata().as_ref()?.get(key).cloned()
}
