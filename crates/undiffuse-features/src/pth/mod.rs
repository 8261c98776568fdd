//! PyTorch's files of weights (`.pth`, `.pt`, `.ckpt`), by a parser that can build tensors and nothing else.
//!
//! Since PyTorch 1.6 such a file is a zip archive with the pickle `data.pkl` and one file a storage; before, it was four
//! pickles (a magic number, a version, facts about the machine, the object), a list of storages, and their bytes.

mod pickle;

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::tensors::{LARGEST, Number, Tensor, Tensors};
use pickle::{Global, Id, Pickle, Value};

/// Numbers of all tensors of a file together.
const NUMBERS: usize = 1 << 29;

/// Sizes of a tensor.
const DIMENSIONS: usize = 16;

/// Keys under which a checkpoint keeps the weights among other things.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// What a pickle says of a storage.
struct Storage<'a> {
    number: Number,
    key: &'a str,
    len: usize,
}

/// The tensors of a file since PyTorch 1.6.
pub(super) fn zipped(bytes: &[u8]) -> Result<Tensors, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("it is no whole zip archive ({e})"))?;
    let ends = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
    let name = archive.file_names().flatten().filter(|name| ends(name)).min_by_key(|name| name.len());
    let name = name.ok_or("it is a zip archive without data.pkl, so not of PyTorch")?.into_owned();
    let folder = name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let mut room = LARGEST;
    let mut read = |name: &str| -> Result<Vec<u8>, String> {
        let entry = archive.by_name(name).map_err(|e| format!("`{name}` in it cannot be read ({e})"))?;
        let mut bytes = vec![];
        entry.take(room + 1).read_to_end(&mut bytes).map_err(|e| format!("`{name}` in it is damaged ({e})"))?;
        room =
            room.checked_sub(bytes.len() as u64).ok_or_else(|| format!("it unpacks to more than {LARGEST} bytes"))?;
        Ok(bytes)
    };
    let object = read(&name)?;
    let order = read(&format!("{folder}byteorder")).unwrap_or_else(|_| b"little".into());
    if order != b"little" {
        return Err("it was written on a big-endian machine; save it again as .safetensors".into());
    }
    let pickle = pickle::read(&mut &object[..])?;
    let mut storages = HashMap::new();
    for storage in storages_of(&pickle)? {
        if !storages.contains_key(storage.key) {
            let bytes = read(&format!("{folder}data/{}", storage.key))?;
            storages.insert(storage.key.to_owned(), decode(&storage, &bytes)?);
        }
    }
    tensors(&pickle, &storages)
}

/// The first pickle of an old file: its magic number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The version of the old format.
const VERSION: i64 = 1001;

/// The tensors of a file of before PyTorch 1.6.
pub(super) fn legacy(mut bytes: &[u8]) -> Result<Tensors, String> {
    let not = "it is a pickle, but none of torch.save";
    bytes = bytes.strip_prefix(MAGIC).ok_or(not)?;
    if *pickle::read(&mut bytes)?.root() != Value::Int(VERSION) {
        return Err(format!("{not} with version {VERSION}"));
    }
    let machine = pickle::read(&mut bytes)?;
    if let Some(Value::Bool(false)) = lookup(&machine, machine.root, "little_endian") {
        return Err("it was written on a big-endian machine; save it again as .safetensors".into());
    }
    let object = pickle::read(&mut bytes)?;
    let keys = pickle::read(&mut bytes)?;
    let Value::List(ids) = keys.root() else {
        return Err(format!("{not}: it has no list of storages"));
    };
    let known: HashMap<&str, Storage> = storages_of(&object)?.into_iter().map(|s| (s.key, s)).collect();
    let mut storages = HashMap::new();
    for &id in ids {
        let Value::Text(key) = keys.get(id) else {
            return Err(format!("{not}: a storage has no name"));
        };
        let storage = known.get(key.as_str()).ok_or_else(|| format!("storage `{key}` belongs to no tensor"))?;
        let (len, rest) = bytes.split_first_chunk().ok_or("it is truncated before its last tensor")?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|n| n.checked_mul(storage.number.size()));
        let (data, rest) = len.and_then(|len| rest.split_at_checked(len)).ok_or("it is truncated in its tensors")?;
        storages.insert(key.clone(), decode(storage, data)?);
        bytes = rest;
    }
    tensors(&object, &storages)
}

/// The numbers of a storage, if there are as many as there should be.
fn decode(storage: &Storage, bytes: &[u8]) -> Result<Vec<f32>, String> {
    let Storage { number, key, len } = storage;
    if len.checked_mul(number.size()) != Some(bytes.len()) {
        return Err(format!(
            "storage `{key}` has {} bytes, which are not {len} numbers: the file is damaged",
            bytes.len()
        ));
    }
    Ok(number.decode(bytes))
}

/// All storages that a pickle refers to.
fn storages_of(pickle: &Pickle) -> Result<Vec<Storage<'_>>, String> {
    let found = pickle.values.iter().filter_map(|value| match value {
        Value::Persistent(id) => Some(storage(pickle, *id)),
        _ => None,
    });
    found.collect()
}

/// `("storage", type, key, device, length)`, and in old files `None`.
fn storage(pickle: &Pickle, id: Id) -> Result<Storage<'_>, String> {
    let part = |i: usize| match pickle.get(id) {
        Value::List(items) => items.get(i).map(|&id| pickle.get(id)),
        _ => None,
    };
    match (part(0), part(1), part(2), part(4), part(5)) {
        (
            Some(Value::Text(kind)),
            Some(Value::Global(Global::Storage(number))),
            Some(Value::Text(key)),
            Some(Value::Int(len)),
            None | Some(Value::None),
        ) if kind == "storage" => {
            let len = usize::try_from(*len).map_err(|_| format!("storage `{key}` has {len} numbers"))?;
            Ok(Storage { number: *number, key, len })
        }
        _ => Err("it refers to data outside of itself that is no storage of numbers".into()),
    }
}

/// The value of a dict under a key.
fn lookup<'a>(pickle: &'a Pickle, dict: Id, key: &str) -> Option<&'a Value> {
    entries(pickle, dict).find(|(name, _)| *name == key).map(|(_, id)| pickle.get(id))
}

/// Names and values of a dict.
fn entries(pickle: &Pickle, dict: Id) -> impl Iterator<Item = (&str, Id)> {
    let pairs = match pickle.get(dict) {
        Value::Dict(pairs) => &pairs[..],
        _ => &[],
    };
    pairs.iter().filter_map(|&(key, value)| match pickle.get(key) {
        Value::Text(name) => Some((name.as_str(), value)),
        _ => None,
    })
}

/// The tensors of a state dict, or of one inside a checkpoint.
fn tensors(pickle: &Pickle, storages: &HashMap<String, Vec<f32>>) -> Result<Tensors, String> {
    let inner = NESTED.iter().filter_map(|key| entries(pickle, pickle.root).find(|(name, _)| name == key));
    for dict in std::iter::once(pickle.root).chain(inner.map(|(_, id)| id)) {
        let mut found = Tensors::new();
        let mut room = NUMBERS;
        for (name, id) in entries(pickle, dict) {
            if let Value::Tensor(arguments) = pickle.get(id) {
                let tensor = tensor(pickle, *arguments, storages, room).map_err(|e| format!("tensor `{name}` {e}"))?;
                room -= tensor.values.len();
                found.insert(name.to_owned(), tensor);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err("it holds no tensors by name: save model.state_dict() with torch.save".into())
}

/// `(storage, offset, sizes, strides, …)`; `room` is how many numbers it may have.
fn tensor(pickle: &Pickle, arguments: Id, storages: &HashMap<String, Vec<f32>>, room: usize) -> Result<Tensor, String> {
    let malformed = || "is malformed: the file is damaged".to_owned();
    let number = |id: &Id| match pickle.get(*id) {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    let list = |id: Id| match pickle.get(id) {
        Value::List(items) => Some(items),
        _ => None,
    };
    let numbers = |id: Id| list(id)?.iter().map(number).collect::<Option<Vec<usize>>>();
    let [data, offset, sizes, strides] =
        *list(arguments).and_then(|items| items.first_chunk()).ok_or_else(malformed)?;
    let Value::Persistent(data) = pickle.get(data) else {
        return Err(malformed());
    };
    let key = storage(pickle, *data)?.key;
    let data = storages.get(key).ok_or_else(|| format!("has storage `{key}`, which the file lacks"))?;
    let few = |id: Id| list(id).is_some_and(|items| items.len() <= DIMENSIONS);
    if !few(sizes) || !few(strides) {
        return Err(format!("has more than {DIMENSIONS} dimensions, or none that can be read"));
    }
    let offset = number(&offset).ok_or_else(malformed)?;
    let [shape, strides] = [numbers(sizes), numbers(strides)].map(|n| n.ok_or_else(malformed));
    let (shape, strides) = (shape?, strides?);
    if shape.len() != strides.len() {
        return Err(malformed());
    }
    // All of it in checked arithmetic: the numbers are the file's.
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    let last = shape
        .iter()
        .zip(&strides)
        .try_fold(offset, |at, (&size, &stride)| at.checked_add(size.saturating_sub(1).checked_mul(stride)?));
    let count = count.filter(|&n| n <= data.len() && n <= room);
    let (Some(count), Some(last)) = (count, last) else {
        return Err(format!("is {shape:?}, which is more than its storage of {} numbers holds", data.len()));
    };
    if count > 0 && last >= data.len() {
        return Err(format!(
            "reaches beyond its storage of {} numbers: shape {shape:?}, strides {strides:?}",
            data.len()
        ));
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        values.push(data[offset + index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()]);
        for (i, &size) in index.iter_mut().zip(&shape).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    Ok(Tensor { shape, values })
}
