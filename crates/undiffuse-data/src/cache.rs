//! The decoded pictures on disk: one file for each dataset and set of options, memory-mapped.
//!
//! ```text
//! magic (8) │ pixels, picture after picture │ Captions │ Meta as JSON │ its length (8) │ its CRC-32 (4) │ magic (8)
//! ```
//! A file is written under a temporary name, flushed and renamed, so a reader sees all of it or nothing. One that is
//! damaged anyway (its length, the checksum of the JSON, of the captions or of any chunk of pixels is wrong) counts as missing.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::bytes::Bytes;
use crate::captions::Captions;
use crate::source::Input;
use crate::text::hex;
use crate::{Options, Skipped, files, memory};

const MAGIC: &[u8; 8] = b"undiff\x03\n";
/// Length, checksum and magic behind the JSON.
const FOOTER: usize = 8 + 4 + 8;
/// How the names of temporary files begin.
const BUILDING: &str = ".building-";
/// Pixels for each checksum.
const CHUNK: usize = 4 << 20;

/// Everything about a dataset but its pixels and captions, in columns: element *i* belongs to picture *i*.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Which kind of source it came from.
    pub source: String,
    /// Hash of the input files' names, sizes and times.
    pub inputs: String,
    /// Hash of the pixels, labels and captions.
    pub fingerprint: String,
    pub size: usize,
    pub channels: usize,
    pub classes: Vec<String>,
    pub names: Vec<String>,
    pub labels: Vec<Option<u32>>,
    /// Width and height before cropping.
    pub originals: Vec<[u32; 2]>,
    /// Indices into `format_names`.
    pub formats: Vec<u8>,
    pub format_names: Vec<String>,
    pub skipped: Vec<Skipped>,
    pub notes: Vec<String>,
    pub ignored: usize,
    /// CRC-32 of each chunk of pixels.
    checksums: Vec<u32>,
    /// Bytes of the captions, and their CRC-32.
    captions: (usize, u32),
}

impl Meta {
    /// Nothing when there cannot be that many.
    fn pixel_bytes(&self) -> Option<usize> {
        [self.size, self.size, self.channels].iter().try_fold(self.names.len(), |n, &k| n.checked_mul(k))
    }

    /// Whether all columns have the same length and all indices are in range.
    fn is_sound(&self) -> bool {
        let n = self.names.len();
        self.labels.len() == n
            && self.originals.len() == n
            && self.formats.len() == n
            && self.labels.iter().flatten().all(|&l| (l as usize) < self.classes.len())
            && self.formats.iter().all(|&f| (f as usize) < self.format_names.len())
    }

    /// SHA-256 over everything that training sees.
    fn content_hash(&self, pixels: &[u8], captions: &Captions) -> std::io::Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{} {} {}\n", self.names.len(), self.size, self.channels));
        hash.update(pixels);
        serde_json::to_writer(&mut hash, &(&self.classes, &self.labels, captions))?;
        Ok(hex(&hash.finalize()))
    }
}

/// A dataset as it is decoded.
#[derive(Debug)]
pub(crate) struct Content {
    pub meta: Meta,
    pub captions: Captions,
    /// Picture after picture.
    pub pixels: Bytes,
}

/// The cache file for the dataset at `path` under `options`: the same for every state of the files there, so that a
/// changed dataset replaces its old cache instead of adding one.
pub(crate) fn file_for(folder: &Path, path: &Path, options: &Options) -> PathBuf {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let decides = (options.size, options.channels, options.background, options.limits);
    let mut hash = Sha256::new();
    hash.update(full.as_os_str().as_encoded_bytes());
    hash.update(serde_json::to_vec(&decides).expect("plain data"));
    let stem: String = full.file_stem().unwrap_or_default().to_string_lossy().chars().take(40).collect();
    let stem: String = stem.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    folder.join(format!("{stem}-{}.pixels", &hex(&hash.finalize())[..16]))
}

/// Hash of the state of the input files.
pub(crate) fn inputs_hash(inputs: &[Input]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.path.as_os_str().as_encoded_bytes());
        hash.update(format!("\0{} {}\n", input.size, input.modified));
    }
    hex(&hash.finalize())
}

/// The cached dataset, if the file is whole and its input files have not changed since.
pub(crate) fn load(file: &Path, inputs: &str) -> Option<Content> {
    let handle = files::open(file).ok()?;
    // SAFETY: cache files are only ever replaced by renaming a new file over them, never written to or cut in place.
    let map = unsafe { Mmap::map(&handle) }.ok()?;
    let (body, footer) = map.split_at_checked(map.len().checked_sub(FOOTER)?)?;
    let length = u64::from_le_bytes(footer[..8].try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(footer[8..12].try_into().ok()?);
    let json = &body[body.len().checked_sub(length)?..];
    if footer[12..] != *MAGIC || !body.starts_with(MAGIC) || crc32fast::hash(json) != checksum {
        return None;
    }
    let meta: Meta = serde_json::from_slice(json).ok()?;
    let end = body.len() - length;
    let middle = end.checked_sub(meta.captions.0)?;
    let (pixels, captions) = (body.get(MAGIC.len()..middle)?, &body[middle..end]);
    let whole = meta.is_sound()
        && Some(pixels.len()) == meta.pixel_bytes()
        && checksums(pixels) == meta.checksums
        && crc32fast::hash(captions) == meta.captions.1;
    if meta.inputs != inputs || !whole {
        return None;
    }
    let map = Arc::new(map);
    let captions = Bytes::Mapped { map: map.clone(), range: middle..end };
    let captions = Captions::read(captions, meta.names.len())?;
    Some(Content { meta, captions, pixels: Bytes::Mapped { map, range: MAGIC.len()..middle } })
}

/// A temporary file in the folder of `target`, which is made if missing.
pub(crate) fn temporary_beside(target: &Path) -> std::io::Result<NamedTempFile> {
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    remove_abandoned(folder);
    tempfile::Builder::new().prefix(BUILDING).suffix(".tmp").tempfile_in(folder)
}

/// Where pixels are collected while pictures are decoded.
pub(crate) enum Spool {
    Memory {
        pixels: Vec<u8>,
        /// The most there is room for, in bytes.
        room: usize,
    },
    File(BufWriter<NamedTempFile>),
}

impl Spool {
    /// A spool in memory.
    pub fn memory() -> Spool {
        let room = memory::spare().and_then(|bytes| usize::try_from(bytes).ok());
        Spool::Memory { pixels: Vec::new(), room: room.unwrap_or(usize::MAX) }
    }

    /// A spool in a temporary file beside `target`, whose folder is made if missing.
    pub(crate) fn beside(target: &Path) -> std::io::Result<Spool> {
        let file = temporary_beside(target)?;
        let mut spool = BufWriter::with_capacity(1 << 20, file);
        spool.write_all(MAGIC)?;
        Ok(Spool::File(spool))
    }

    pub(crate) fn push(&mut self, pixels: &[u8]) -> std::io::Result<()> {
        match self {
            Spool::Memory { pixels: all, room } if pixels.len() > room.saturating_sub(all.len()) => {
                let room = memory::human(*room as u64);
                let problem = format!("its pictures take more than the {room} of memory that are free");
                return Err(std::io::Error::new(std::io::ErrorKind::OutOfMemory, problem));
            }
            Spool::Memory { pixels: all, .. } => all.extend_from_slice(pixels),
            Spool::File(file) => file.write_all(pixels)?,
        }
        Ok(())
    }

    /// Turns every grey value written so far into three: the first colour picture has come.
    pub(crate) fn grey_to_rgb(&mut self) -> std::io::Result<()> {
        let triple = |grey: &[u8]| grey.iter().flat_map(|&v| [v; 3]).collect::<Vec<u8>>();
        match self {
            Spool::Memory { pixels, .. } => *pixels = triple(pixels),
            Spool::File(writer) => {
                writer.flush()?;
                let file = writer.get_mut().as_file_mut();
                let mut left = file.seek(SeekFrom::End(0))? - MAGIC.len() as u64;
                let mut grey = Vec::new();
                // From behind, a piece at a time: what a piece becomes lies behind all that is still to be read.
                while left > 0 {
                    let piece = left.min(CHUNK as u64);
                    left -= piece;
                    grey.resize(piece as usize, 0);
                    file.seek(SeekFrom::Start(MAGIC.len() as u64 + left))?;
                    file.read_exact(&mut grey)?;
                    file.seek(SeekFrom::Start(MAGIC.len() as u64 + 3 * left))?;
                    file.write_all(&triple(&grey))?;
                }
                file.seek(SeekFrom::End(0))?;
            }
        }
        Ok(())
    }

    /// Ends collecting: computes the fingerprint and checksums, and moves a file to `target`.
    pub(crate) fn finish(self, mut meta: Meta, captions: Captions, target: Option<&Path>) -> std::io::Result<Content> {
        let (writer, target) = match (self, target) {
            (Spool::File(writer), Some(target)) => (writer, target),
            (Spool::File(_), None) => return Err(std::io::Error::other("a cache file needs a name")),
            (Spool::Memory { pixels, .. }, _) => {
                meta.fingerprint = meta.content_hash(&pixels, &captions)?;
                return Ok(Content { meta, captions, pixels: Bytes::Owned(pixels) });
            }
        };
        let mut file = writer.into_inner().map_err(|e| e.into_error())?;
        {
            // SAFETY: this process alone knows the temporary file, and writes to it only after the map is gone.
            let map = unsafe { Mmap::map(file.as_file())? };
            let pixels = &map[MAGIC.len()..];
            meta.fingerprint = meta.content_hash(pixels, &captions)?;
            meta.checksums = checksums(pixels);
            meta.captions = (captions.bytes().len(), crc32fast::hash(captions.bytes()));
        }
        let (json, middle) = (serde_json::to_vec(&meta)?, file.as_file().metadata()?.len() as usize);
        file.write_all(captions.bytes())?;
        file.write_all(&json)?;
        file.write_all(&(json.len() as u64).to_le_bytes())?;
        file.write_all(&crc32fast::hash(&json).to_le_bytes())?;
        file.write_all(MAGIC)?;
        file.as_file().sync_all()?;
        let handle = file.persist(target).map_err(|e| e.error)?;
        // SAFETY: as in `load`.
        let map = Arc::new(unsafe { Mmap::map(&handle)? });
        let mapped = Bytes::Mapped { map: map.clone(), range: middle..middle + captions.bytes().len() };
        let captions = Captions::read(mapped, meta.names.len()).unwrap_or(captions);
        Ok(Content { meta, captions, pixels: Bytes::Mapped { map, range: MAGIC.len()..middle } })
    }
}

/// Bytes that are free on the disk of a folder, or of the nearest folder above it that is there; nothing where the system does
/// not say.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    {
        let facts = rustix::fs::statvfs(there).ok()?;
        facts.f_bavail.checked_mul(facts.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = there;
        None
    }
}

/// Removes what a killed process left behind: temporary files that nobody has written to for a day.
fn remove_abandoned(folder: &Path) {
    let day = std::time::Duration::from_secs(24 * 3600);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if entry.file_name().to_string_lossy().starts_with(BUILDING) && age.is_some_and(|age| age > day) {
            // Whether it goes or stays, the cache works.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn checksums(pixels: &[u8]) -> Vec<u32> {
    pixels.par_chunks(CHUNK).map(crc32fast::hash).collect()
}
