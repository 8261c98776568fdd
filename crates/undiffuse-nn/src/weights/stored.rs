//! Safetensors files whose headers are read and whose values are not yet: what is in them is known, and checked against a
//! network, before memory is taken for it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata};

use super::mapped::{Numbers, map};
use super::{Hold, Named, WeightsError, check_finite};
use crate::params;

/// The largest header that is read: a hundred bytes a tensor, and some networks have ten thousand.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensors of one file, or of the parts that a large one was saved in.
pub struct Stored<R> {
    parts: Vec<Part<R>>,
    tensors: BTreeMap<String, Entry>,
    /// All of a part as memory, where parameters stay in it: as long as one of them lives.
    map: fn(&R) -> Option<Arc<Mmap>>,
}

struct Part<R> {
    shown: String,
    source: R,
    /// Where the values begin.
    data: u64,
    /// What else the header says.
    entries: HashMap<String, String>,
}

#[derive(Clone)]
struct Entry {
    part: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// From the beginning of the values, in bytes.
    range: (usize, usize),
}

impl<R: Read + Seek> Stored<R> {
    /// Reads the headers of `parts`, each with the name that messages use. No tensor may be in two of them.
    ///
    /// # Errors
    /// Sources that cannot be read or are no whole safetensors files.
    pub fn read(parts: impl IntoIterator<Item = (String, R)>) -> Result<Self, WeightsError> {
        let mut stored = Self { parts: Vec::new(), tensors: BTreeMap::new(), map: |_| None };
        for (shown, mut source) in parts {
            let (data, header) = header(&mut source, &shown)?;
            let part = stored.parts.len();
            for (name, info) in header.tensors() {
                let entry = Entry { part, dtype: info.dtype, shape: info.shape.clone(), range: info.data_offsets };
                if let Some(first) = stored.tensors.insert(name.clone(), entry) {
                    let problem = format!("tensor `{name}` is also in `{}`", stored.parts[first.part].shown);
                    return Err(WeightsError::Parts { path: shown, problem });
                }
            }
            let entries = header.metadata().clone().unwrap_or_default();
            stored.parts.push(Part { shown, source, data, entries });
        }
        Ok(stored)
    }

    /// Every tensor's name with the number of the part that it is in.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.part))
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// An entry of the first header that has it.
    pub fn entry(&self, key: &str) -> Option<&str> {
        self.parts.iter().find_map(|part| part.entries.get(key)).map(String::as_str)
    }

    /// One tensor as f32.
    ///
    /// # Errors
    /// There is none of the name; values that cannot be read, or have no f32 reading.
    pub fn tensor(&mut self, name: &str) -> Result<Named, WeightsError> {
        let Some((name, entry)) = self.tensors.remove_entry(name) else {
            return Err(WeightsError::Mismatch { path: self.shown(), problems: format!("`{name}` is missing") });
        };
        let values = self.values(&name, &entry);
        let shape = entry.shape.clone();
        self.tensors.insert(name.clone(), entry);
        Ok(Named { name, shape, values: values? })
    }

    /// All tensors as f32, by name.
    ///
    /// # Errors
    /// Values that cannot be read, or have no f32 reading.
    pub fn tensors(mut self) -> Result<BTreeMap<String, Named>, WeightsError> {
        let entries = std::mem::take(&mut self.tensors);
        let named = |(name, entry): (String, Entry)| {
            let values = self.values(&name, &entry)?;
            Ok((name.clone(), Named { name, shape: entry.shape, values }))
        };
        entries.into_iter().map(named).collect()
    }

    /// Whether the tensors are the parameters of `module`, each with its shape, and nothing else. Neither the values here
    /// nor blank ones there are made for it.
    ///
    /// # Errors
    /// The first few that are missing, of another shape, or too many.
    pub fn check<M: Module>(&self, module: &M) -> Result<(), WeightsError> {
        let mut left: BTreeMap<String, &Entry> = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, entry) in self.tensors.iter().filter(|(name, _)| !is_counting(name)) {
            if left.insert(modern(name), entry).is_some() {
                problems.push(format!("`{name}` is also there under an older name"));
            }
        }
        params::shapes(module, |name, shape| match take(&mut left, name) {
            None => problems.push(format!("`{name}` {shape:?} is missing")),
            // 1×1 convolutions of old attention blocks are stored as matrices and the other way round.
            Some(t) if without_ones(&t.shape) == without_ones(shape) => {}
            Some(t) => problems.push(format!("`{name}` is {:?}, the config says {shape:?}", t.shape)),
        });
        problems.extend(left.keys().map(|name| format!("`{name}` is not part of it")));
        if problems.is_empty() {
            return Ok(());
        }
        let more = problems.len().saturating_sub(5);
        problems.truncate(5);
        problems.extend((more > 0).then(|| format!("and {more} more")));
        Err(WeightsError::Mismatch { path: self.shown(), problems: problems.join("; ") })
    }

    /// Puts the tensors into `module`, one after the other, once [`check`](Self::check) has passed them.
    ///
    /// # Errors
    /// As [`check`](Self::check); values that cannot be read, are infinite or not a number.
    pub fn fill<M: Module>(mut self, module: M) -> Result<M, WeightsError> {
        self.check(&module)?;
        self.fill_where(module, |_| true)
    }

    /// Puts those tensors into `module` that are parameters whose names `wanted` passes; the others stay blank.
    /// [`check`](Self::check) comes before it.
    ///
    /// # Errors
    /// Values that cannot be read, are infinite or not a number.
    pub fn fill_where<M: Module>(&mut self, module: M, wanted: impl Fn(&str) -> bool) -> Result<M, WeightsError> {
        let entries = self.tensors.iter();
        let mut entries: BTreeMap<String, (String, Entry)> =
            entries.map(|(name, entry)| (modern(name), (name.clone(), entry.clone()))).collect();
        let maps: Vec<_> = self.parts.iter().map(|part| (self.map)(&part.source)).collect();
        let mut failed = None;
        let filled = params::map_where(module, wanted, |name, old| {
            let Some((stored, entry)) = take(&mut entries, name).filter(|_| failed.is_none()) else { return old };
            match self.parameter(&stored, &entry, maps[entry.part].as_ref(), &old.device()) {
                Ok(values) => values,
                Err(e) => {
                    failed = Some(e);
                    old
                }
            }
        });
        failed.map_or(Ok(filled), Err)
    }

    fn parameter(
        &mut self,
        name: &str,
        entry: &Entry,
        map: Option<&Arc<Mmap>>,
        device: &Device,
    ) -> Result<Tensor<1>, WeightsError> {
        let part = &self.parts[entry.part];
        let (first, (from, to)) = (part.data as usize, entry.range);
        let mapped = map.filter(|_| entry.dtype == Dtype::F32);
        if let Some(numbers) = mapped.and_then(|map| Numbers::new(map, first + from..first + to)) {
            numbers.announce();
            check_finite(name, numbers.values(), &part.shown)?;
            return Ok(params::from_bytes(numbers.into(), device));
        }
        let values = self.values(name, entry)?;
        check_finite(name, &values, &self.parts[entry.part].shown)?;
        Ok(params::from_host(values, device))
    }

    fn values(&mut self, name: &str, entry: &Entry) -> Result<Vec<f32>, WeightsError> {
        let part = &mut self.parts[entry.part];
        let (from, to) = entry.range;
        let mut read = |bytes: &mut [u8]| {
            let at = part.source.seek(SeekFrom::Start(part.data + from as u64));
            let read = at.and_then(|_| part.source.read_exact(bytes));
            read.map_err(|source| WeightsError::Read { path: part.shown.clone(), source })
        };
        if entry.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            // As they are, without a second copy.
            let mut values = vec![0f32; (to - from) / size_of::<f32>()];
            read(bytemuck::cast_slice_mut(&mut values))?;
            return Ok(values);
        }
        let mut bytes = vec![0; to - from];
        read(&mut bytes)?;
        to_f32(entry.dtype, &bytes).ok_or_else(|| WeightsError::Dtype {
            path: part.shown.clone(),
            name: name.to_owned(),
            dtype: entry.dtype,
        })
    }

    fn shown(&self) -> String {
        self.parts.first().map(|part| part.shown.clone()).unwrap_or_default()
    }
}

impl Stored<File> {
    /// The same, whose parameters come into a module like this. What the system can't map is copied.
    pub fn held(self, hold: Hold) -> Self {
        match hold {
            Hold::Mapped => Self { map, ..self },
            Hold::Copied => Self { map: |_| None, ..self },
        }
    }
}

/// Where the values begin, and the header, which describes the file to its last byte.
fn header<R: Read + Seek>(source: &mut R, shown: &str) -> Result<(u64, Metadata), WeightsError> {
    let broken = |reason: String| WeightsError::Format { path: shown.to_owned(), reason };
    let failed = |source: io::Error| WeightsError::Read { path: shown.to_owned(), source };
    let length = source.seek(SeekFrom::End(0)).map_err(failed)?;
    source.rewind().map_err(failed)?;
    if length < 8 {
        return Err(broken(format!("it has {length} bytes")));
    }
    let mut prefix = [0; 8];
    source.read_exact(&mut prefix).map_err(failed)?;
    let size = u64::from_le_bytes(prefix);
    if size > (length - 8).min(LONGEST_HEADER) {
        return Err(broken("its header would be longer than the file, or than any header".into()));
    }
    let mut header = vec![0; size as usize];
    source.read_exact(&mut header).map_err(failed)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| broken(format!("its header: {e}")))?;
    let (values, described) = (length - 8 - size, header.data_len() as u64);
    match values == described {
        true => Ok((8 + size, header)),
        false => Err(broken(format!("its header describes {described} bytes of values, and {values} are there"))),
    }
}

fn to_f32(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        data.chunks_exact(N).map(|c| f(c.try_into().expect("chunks of N bytes"))).collect()
    }
    Some(match dtype {
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

/// What all of a network is in, in its files; transformers 5 leaves it out where it is not saving one.
const WHOLE: &str = "text_model.";

/// What is stored of a parameter, by its modern name.
fn take<T>(stored: &mut BTreeMap<String, T>, parameter: &str) -> Option<T> {
    let name = modern(parameter);
    stored.remove(&name).or_else(|| stored.remove(name.strip_prefix(WHOLE)?))
}

/// Whether a tensor is 0, 1, 2, …, which transformers before 4.31 saved as if it could be otherwise.
fn is_counting(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}
