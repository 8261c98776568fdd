//! The vectors of a dataset's pictures: where they are found, and which nothing can be learned from.

use std::path::Path;

use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_data::{Column, Dataset};
use undiffuse_nn::weights;

use super::{LISTED, NAME};

/// Most numbers of a vector.
pub const WIDEST: usize = 1 << 16;
/// Pictures that a message names.
const SHOWN: usize = 3;

/// The vectors of a dataset's pictures, joined from the columns or read from the file that `from` names.
///
/// # Errors
/// Tables or files without such numbers, or with those of other pictures.
pub fn vectors(data: &Dataset, from: &str) -> Result<Column, String> {
    data.column(&format!("{NAME}:{from}"), |data| match from.ends_with(".safetensors") {
        true => {
            let rows = rows(Path::new(from))?;
            if rows.len() != data.len() {
                return Err(format!("`{from}` has {} rows, the data {} pictures", rows.len(), data.len()));
            }
            Ok(rows.into_iter().map(Some).collect())
        }
        false => {
            let columns: Vec<Column> =
                from.split(',').map(|name| column(data, name.trim())).collect::<Result<_, _>>()?;
            let joined = |i: usize| columns.iter().map(|column| column[i].clone()).collect::<Option<Vec<_>>>();
            Ok((0..data.len()).map(|i| joined(i).map(|parts| parts.concat())).collect())
        }
    })
}

/// A column of the tables beside the pictures, if it has numbers.
fn column(data: &Dataset, name: &str) -> Result<Column, String> {
    let column = data.numbers(name).map_err(|e| e.to_string())?;
    if column.iter().any(Option::is_some) {
        return Ok(column);
    }
    let mut columns = data.columns().map_err(|e| e.to_string())?;
    let more = if columns.len() > LISTED { ", …" } else { "" };
    columns.truncate(LISTED);
    Err(match columns.is_empty() {
        true => {
            format!("no picture has numbers under `{name}`: there is no table (metadata.jsonl) beside the pictures")
        }
        false => format!(
            "no picture has numbers under `{name}`; the tables beside the pictures have the columns {}{more}",
            columns.join(", ")
        ),
    })
}

/// SHA-256 (hexadecimal) of the vectors, and of which pictures have how many numbers where these are not all alike.
pub fn fingerprint(vectors: &Column) -> String {
    let mut hash = Sha256::new();
    vectors.iter().flatten().flatten().for_each(|value| hash.update(value.to_le_bytes()));
    let widths: Vec<Option<usize>> = vectors.iter().map(|vector| vector.as_ref().map(Vec::len)).collect();
    if widths.iter().any(|width| *width != widths[0]) {
        hash.update(format!("{widths:?}"));
    }
    hex(&hash.finalize())
}

/// The rows of the tensor `embedding [N, D]`.
///
/// # Errors
/// A file that holds no such tensor.
pub fn rows(path: &Path) -> Result<Vec<Vec<f32>>, String> {
    let tensors = weights::read(path).map_err(|e| e.to_string())?;
    let shown = path.display();
    match tensors.get(NAME).map(|tensor| (&tensor.shape[..], tensor)) {
        Some((&[_, width], tensor)) if width > 0 => Ok(tensor.values.chunks(width).map(<[f32]>::to_vec).collect()),
        Some((shape, _)) => Err(format!("`{shown}`: `{NAME}` is {shape:?}, not [pictures, numbers]")),
        None => Err(format!("`{shown}` holds no tensor `{NAME}` [pictures, numbers]")),
    }
}

/// Names of pictures, a few of them.
fn named(data: &Dataset, pictures: &[usize]) -> String {
    let names: Vec<&str> = pictures.iter().take(SHOWN).map(|&i| data.name(i)).collect();
    names.join(", ") + if pictures.len() > SHOWN { ", …" } else { "" }
}

/// Refuses vectors that nothing can be learned from: missing for some pictures, of several widths, not finite.
///
/// # Errors
/// Which pictures, and what is wrong with theirs.
pub fn check(data: &Dataset, from: &str, vectors: &Column) -> Result<usize, String> {
    let missing: Vec<usize> = (0..data.len()).filter(|&i| vectors[i].is_none()).collect();
    if !missing.is_empty() {
        let (count, names) = (missing.len(), named(data, &missing));
        return Err(format!("{count} of {} pictures have no numbers under `{from}`: {names}", data.len()));
    }
    let width = vectors[0].as_ref().map_or(0, Vec::len);
    let of = |wrong: &dyn Fn(&[f32]) -> bool| -> Vec<usize> {
        (0..data.len()).filter(|&i| vectors[i].as_deref().is_some_and(wrong)).collect()
    };
    let other = of(&|vector| vector.len() != width);
    if let Some(&first) = other.first() {
        let (has, name) = (vectors[first].as_ref().map_or(0, Vec::len), data.name(first));
        return Err(format!("`{name}` has {has} numbers under `{from}`, `{}` has {width}", data.name(0)));
    }
    let bad = of(&|vector| vector.iter().any(|v| !v.is_finite()));
    if !bad.is_empty() {
        return Err(format!("{} pictures have numbers that are not finite: {}", bad.len(), named(data, &bad)));
    }
    match (1..=WIDEST).contains(&width) {
        true => Ok(width),
        false => Err(format!("vectors of {width} numbers: between 1 and {WIDEST} can be learned")),
    }
}
