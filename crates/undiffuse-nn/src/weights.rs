//! Weights in and out: safetensors with diffusers' tensor names, in f32.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::Module;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::params;

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
    /// The file does not hold this network's tensors.
    #[error("`{path}` does not fit the network's config: {problems}")]
    Mismatch {
        /// The file.
        path: String,
        /// Which tensors, and how.
        problems: String,
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

/// The bytes of a safetensors file holding `tensors`; the same tensors give the same bytes.
pub fn to_bytes(tensors: &[Named], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = tensors.iter().map(|t| {
        let bytes: &[u8] = as_bytes(&t.values);
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes).expect("shape and values agree");
        (t.name.as_str(), view)
    });
    // One entry or none: the file's header must not depend on a hash map's order.
    let metadata: HashMap<String, String> =
        metadata.iter().take(1).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let metadata = (!metadata.is_empty()).then_some(metadata);
    safetensors::serialize(views, metadata).expect("tensors in memory serialise")
}

fn as_bytes(values: &[f32]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// All tensors of a safetensors file, as f32, by name.
pub fn read(path: &Path) -> Result<BTreeMap<String, Named>, WeightsError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| WeightsError::Read { path: shown.clone(), source })?;
    parse(&bytes, &shown)
}

/// All tensors of a safetensors file's bytes; `shown` is the name that messages use.
pub fn parse(bytes: &[u8], shown: &str) -> Result<BTreeMap<String, Named>, WeightsError> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| WeightsError::Format { path: shown.to_owned(), reason: e.to_string() })?;
    file.iter()
        .map(|(name, view)| {
            let values = to_f32(&view).ok_or_else(|| WeightsError::Dtype {
                path: shown.to_owned(),
                name: name.to_owned(),
                dtype: view.dtype(),
            })?;
            Ok((name.to_owned(), Named { name: name.to_owned(), shape: view.shape().to_vec(), values }))
        })
        .collect()
}

fn to_f32(view: &TensorView) -> Option<Vec<f32>> {
    fn each<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        data.chunks_exact(N).map(|c| f(c.try_into().expect("chunks of N bytes"))).collect()
    }
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::BF16 => each(data, |b| f32::from_bits((u16::from_le_bytes(b) as u32) << 16)),
        Dtype::F16 => each(data, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::I64 => each(data, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => each(data, |b| i32::from_le_bytes(b) as f32),
        Dtype::U8 => each(data, |[b]| b as f32),
        _ => return None,
    })
}

/// Names that older diffusers releases wrote for the attention's projections.
const LEGACY: [(&str, &str); 4] =
    [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];

fn modern(name: &str) -> String {
    LEGACY.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

/// Reads `path` into `module`: every parameter must be there with its shape, and nothing else.
pub fn load<M: Module>(module: M, path: &Path) -> Result<M, WeightsError> {
    assign(module, read(path)?, &path.display().to_string())
}

/// Puts `tensors` into `module`: every parameter must be there with its shape, and nothing else.
pub fn assign<M: Module>(module: M, tensors: BTreeMap<String, Named>, shown: &str) -> Result<M, WeightsError> {
    let mut tensors: BTreeMap<String, Named> = tensors.into_iter().map(|(name, t)| (modern(&name), t)).collect();
    let mut problems = Vec::new();
    params::for_each(&module, |p| match tensors.get_mut(&p.name) {
        None => problems.push(format!("`{}` {:?} is missing", p.name, p.shape)),
        Some(t) => {
            // 1×1 convolutions of old attention blocks are stored as matrices and the other way round.
            if t.shape != p.shape && without_ones(&t.shape) == without_ones(&p.shape) {
                t.shape = p.shape.clone();
            }
            if t.shape != p.shape {
                problems.push(format!("`{}` is {:?}, the config says {:?}", p.name, t.shape, p.shape));
            }
        }
    });
    let mut known = std::collections::BTreeSet::new();
    params::for_each(&module, |p| {
        known.insert(p.name);
    });
    problems
        .extend(tensors.keys().filter(|name| !known.contains(*name)).map(|name| format!("`{name}` is not part of it")));
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(5);
        problems.truncate(5);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        return Err(WeightsError::Mismatch { path: shown.to_owned(), problems: problems.join("; ") });
    }
    Ok(params::map(module, |name, old| {
        let device = old.device();
        tensors.remove(name).map_or(old, |t| params::from_host(t.values, &device))
    }))
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

/// An entry of a safetensors file's header.
pub fn metadata(bytes: &[u8], key: &str) -> Option<String> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    header.metadata().as_ref()?.get(key).cloned()
}
