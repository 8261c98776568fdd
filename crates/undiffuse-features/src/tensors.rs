//! Named tensors, and the files that hold them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{FeatureError, graph, pth};

/// A tensor in single precision, whatever its file keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, the slowest first.
    pub shape: Vec<usize>,
    /// The numbers, the last index fastest.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// What a file of weights holds.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// The tensors.
    pub tensors: Tensors,
    /// The network of a `.safetensors` file that carries one, as JSON.
    pub graph: Option<String>,
}

/// The largest file of weights: more is no feature network.
pub(super) const LARGEST: u64 = 2 << 30;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
}

impl Number {
    /// In bytes.
    pub fn size(self) -> usize {
        match self {
            Number::F64 | Number::I64 => 8,
            Number::F32 | Number::I32 => 4,
            Number::F16 | Number::Bf16 | Number::I16 => 2,
            Number::I8 | Number::U8 => 1,
        }
    }

    /// Numbers from little-endian bytes; a rest that is no whole number is left out.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&b| f(b)).collect()
        }
        match self {
            Number::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Number::F32 => each(bytes, f32::from_le_bytes),
            Number::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Number::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Number::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Number::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Number::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            Number::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
            Number::U8 => each(bytes, |[b]| b.into()),
        }
    }
}

impl Weights {
    /// Reads a `.safetensors` file or a PyTorch one, told apart by their contents. Nothing in a file is ever executed.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn open(path: &Path) -> Result<Weights, FeatureError> {
        let size = std::fs::metadata(path).map_err(|e| FeatureError::io(path, e))?.len();
        if size > LARGEST {
            return Err(FeatureError::weights(path, format!("it has {size} bytes; {LARGEST} is the most")));
        }
        let bytes = std::fs::read(path).map_err(|e| FeatureError::io(path, e))?;
        Weights::parse(&bytes).map_err(|problem| FeatureError::weights(path, problem))
    }

    /// The same for the contents of a file.
    ///
    /// # Errors
    /// A text that says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Weights, String> {
        let pytorch = match bytes {
            [b'P', b'K', ..] => Some(pth::zipped(bytes)),
            [0x80, ..] if bytes.get(8..9) != Some(b"{") => Some(pth::legacy(bytes)),
            _ => None,
        };
        match pytorch {
            Some(tensors) => Ok(Weights { tensors: tensors?, graph: None }),
            None => safe(bytes),
        }
    }

    /// Writes some tensors as a `.safetensors` file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(tensors: &Tensors, path: &Path) -> Result<(), FeatureError> {
        let bytes = |t: &Tensor| t.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let data: Vec<_> = tensors.iter().map(|(name, t)| (name, &t.shape, bytes(t))).collect();
        let views = data.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (name.to_string(), view))
        });
        let file = views.collect::<Result<Vec<_>, _>>().and_then(|views| safetensors::serialize(views, None));
        let file = file.map_err(|e| FeatureError::weights(path, e.to_string()))?;
        Ok(undiffuse_data::files::write(path, &file)?)
    }
}

fn safe(bytes: &[u8]) -> Result<Weights, String> {
    let help = "A .safetensors file, or a .pth file as torch.save writes it, was expected";
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| format!("it is no safetensors file ({e}). {help}"))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| format!("it is damaged ({e}). {help}"))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let number = match view.dtype() {
            Dtype::F64 => Number::F64,
            Dtype::F32 => Number::F32,
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            Dtype::I64 => Number::I64,
            Dtype::I32 => Number::I32,
            Dtype::I16 => Number::I16,
            Dtype::I8 => Number::I8,
            Dtype::U8 | Dtype::BOOL => Number::U8,
            other => return Err(format!("tensor `{name}` is stored as {other:?}; store it as F32")),
        };
        tensors.insert(name.into(), Tensor { shape: view.shape().to_vec(), values: number.decode(view.data()) });
    }
    let graph = metadata.metadata().as_ref().and_then(|m: &HashMap<_, _>| m.get(graph::METADATA_KEY).cloned());
    Ok(Weights { tensors, graph })
}
