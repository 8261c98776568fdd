//! Where pictures come from: one file for each kind of source, one line each in [`SOURCES`].
//!
//! A source streams [`Entry`]s and never decodes a compressed picture itself, so that decoding runs in parallel
//! and only a few hundred encoded pictures are in memory at a time.

mod coco;
mod folder;
mod idx;
mod layout;
mod memory;
mod metadata;
mod ours;
mod probe;
mod tar;
mod zip;

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

pub use memory::Memory;
pub use probe::Probe;

use crate::{DataError, Image, Options, Skipped};

/// One picture of a source.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name inside the source, with `/` between folders; unique in sane sources.
    pub name: String,
    /// The picture itself.
    pub payload: Payload,
    /// Name of its class.
    pub label: Option<String>,
    /// What it is said to show, in one or several wordings.
    pub captions: Vec<String>,
}

/// The picture of an [`Entry`], as far as the source has come with it.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A file to be read.
    File(PathBuf),
    /// An encoded picture.
    Bytes(Vec<u8>),
    /// Pixels; the second field is the name of the format for reports.
    Pixels(Image, &'static str),
    /// A picture that the source already knows it cannot give, and why.
    Failed(String),
}

/// Receives entries; [`ControlFlow::Break`] ends the visit early.
pub type Sink<'a> = dyn FnMut(Entry) -> ControlFlow<()> + 'a;

/// A place that pictures come from.
pub trait Source {
    /// Calls `sink` for every picture, in an order that does not change while the files do not.
    ///
    /// # Errors
    /// When the source as a whole is damaged. A picture that fails alone is an entry with [`Payload::Failed`].
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError>;

    /// The files whose names, sizes and times decide whether a cache is still good.
    fn inputs(&self) -> &[Input];

    /// How many pictures there will be, when that is known without reading them.
    fn count(&self) -> Option<usize>;

    /// Class names in the order of their numbers, when the source fixes it. Otherwise classes are sorted by name
    /// (by value, when all names are numbers).
    fn classes(&self) -> Option<Vec<String>> {
        None
    }

    /// Things about the source that its owner should know. Those that are told before the first visit are told again whenever the
    /// source is opened; the others are kept with the decoded pictures.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The tables beside the pictures, by name and content.
    ///
    /// # Errors
    /// Tables that cannot be read.
    fn tables(&mut self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        Ok(Vec::new())
    }

    /// How many files were passed over because they are no pictures.
    fn ignored(&self) -> usize {
        0
    }
}

/// One file that a dataset depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its path.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified: u128,
}

impl Input {
    /// Asks the file system about `path`.
    ///
    /// # Errors
    /// Nothing there, or nothing that may be seen.
    pub fn of(path: &Path) -> Result<Input, DataError> {
        let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        Ok(Input::from_metadata(path.to_path_buf(), &meta))
    }

    fn from_metadata(path: PathBuf, meta: &std::fs::Metadata) -> Input {
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Input { path, size: meta.len(), modified: modified.map_or(0, |d| d.as_nanos()) }
    }
}

/// The most files that are listed: above any public dataset of separate files, and what a listing may cost in memory.
const MOST_FILES: usize = 20_000_000;

/// What opening a source gives.
type Opened = Result<Box<dyn Source>, DataError>;

/// A kind of source.
pub struct SourceKind {
    /// Its name in messages and logs.
    pub tag: &'static str,
    /// What it reads, as a phrase for lists.
    pub reads: &'static str,
    /// Whether the path looks like one.
    accepts: fn(&Probe) -> bool,
    /// Opens it without reading pictures.
    open: fn(&Path, &Options) -> Opened,
}

/// Every kind of source. The first that accepts a path opens it, so the more specific come first.
pub const SOURCES: &[SourceKind] = &[idx::KIND, zip::KIND, tar::KIND, folder::KIND];

/// Opens the source at `path`; returns its tag as well.
///
/// # Errors
/// [`DataError::NotFound`], [`DataError::Unreadable`], [`DataError::Unsupported`] with a list of what works, or what the
/// source itself finds wrong.
pub fn open(path: &Path, options: &Options) -> Result<(&'static str, Box<dyn Source>), DataError> {
    let probe = Probe::new(path)?;
    match SOURCES.iter().find(|kind| (kind.accepts)(&probe)) {
        Some(kind) => Ok((kind.tag, (kind.open)(path, options)?)),
        None => Err(DataError::Unsupported {
            path: path.to_path_buf(),
            found: probe.describe(),
            supported: SOURCES.iter().map(|kind| kind.reads).collect::<Vec<_>>().join("; "),
        }),
    }
}

/// The numbers that a column of a source's tables gives its pictures, by their names inside it.
///
/// # Errors
/// A source or a table that cannot be read, values that are no numbers.
pub(crate) fn numbers(path: &Path, column: &str) -> Result<HashMap<String, Vec<f32>>, DataError> {
    let mut found = HashMap::new();
    for (table, bytes) in open(path, &Options::default())?.1.tables()? {
        let folder = table.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (file, values) in metadata::numbers(&path.join(&table), &bytes, column)? {
            found.entry(layout::clean(&format!("{folder}/{file}"))).or_insert(values);
        }
    }
    Ok(found)
}

/// The columns of a source's tables, each once, in order.
///
/// # Errors
/// A source or a table that cannot be read.
pub(crate) fn columns(path: &Path) -> Result<BTreeSet<String>, DataError> {
    let tables = open(path, &Options::default())?.1.tables()?;
    Ok(tables.iter().flat_map(|(table, bytes)| metadata::columns(table.as_ref(), bytes)).collect())
}

/// A sentence about tables that lie beside an archive, where nothing looks for them.
fn tables_beside(archive: &Path) -> Option<String> {
    let mut beside: Vec<String> =
        std::fs::read_dir(archive.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| metadata::is_table(&name.to_lowercase()))
            .collect();
    beside.sort();
    let first = beside.first()?;
    Some(format!("{first} beside the archive is not read; captions and classes for an archive belong inside it"))
}

/// An entry that cannot be given.
fn failed(name: impl Into<String>, reason: impl Into<String>) -> Entry {
    Entry { name: name.into(), payload: Payload::Failed(reason.into()), label: None, captions: Vec::new() }
}

impl From<Skipped> for Entry {
    fn from(skipped: Skipped) -> Entry {
        failed(skipped.name, skipped.reason)
    }
}
