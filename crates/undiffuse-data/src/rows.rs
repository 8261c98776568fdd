//! Rows of numbers that are made once of a dataset and kept beside its pictures: what a frozen network makes of captions, or of
//! pictures.
//!
//! ```text
//! magic (8) │ numbers, row after row (4 each) │ where each row ends (8 each) │ rows (8) │ CRC-32 of all before (4) │ magic (8)
//! ```
//! All numbers are little-endian. A file is written under a temporary name, flushed and renamed; one that is damaged counts as
//! missing.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use tempfile::NamedTempFile;

use crate::bytes::Bytes;
use crate::{cache, files, memory};

const MAGIC: &[u8; 8] = b"undrow\x01\n";
/// Number of rows, checksum and magic.
const FOOTER: usize = 8 + 4 + 8;

/// Rows of numbers, each as long as it is; mapped from a file where there is one.
#[derive(Debug, Default)]
pub struct Rows {
    /// Numbers and ends, from the first number on.
    bytes: Bytes,
    rows: usize,
}

/// Takes rows, one after the other.
pub type Take<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

impl Rows {
    /// The rows in `file`, or those that `make` hands over, which are then in `file`; in memory where there is none.
    ///
    /// # Errors
    /// What `make` says, whatever the disk says, and more rows than memory has room for.
    pub fn made<E: From<io::Error>>(
        file: Option<&Path>,
        make: impl FnOnce(&mut Take) -> Result<(), E>,
    ) -> Result<Self, E> {
        let Some(file) = file else {
            let mut spool = Spool::new(Bounded::default());
            make(&mut |row| spool.push(row))?;
            let (Bounded { mut bytes, .. }, rows) = spool.finish()?;
            bytes.truncate(bytes.len() - FOOTER);
            return Ok(Self { bytes: Bytes::Owned(bytes), rows });
        };
        if let Some(rows) = Self::load(file) {
            return Ok(rows);
        }
        let mut spool = Spool::new(BufWriter::with_capacity(1 << 20, cache::temporary_beside(file)?));
        spool.write(MAGIC)?;
        make(&mut |row| spool.push(row))?;
        let (mut writer, rows) = spool.finish()?;
        writer.flush()?;
        let written: NamedTempFile = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        written.as_file().sync_all()?;
        let handle = written.persist(file).map_err(|e| e.error)?;
        Ok(Self { bytes: mapped(&handle)?, rows })
    }

    /// The rows of a file that is whole.
    fn load(file: &Path) -> Option<Self> {
        let map = match mapped(&files::open(file).ok()?).ok()? {
            Bytes::Mapped { map, .. } => map,
            Bytes::Owned(_) => return None,
        };
        let (all, footer) = map.split_at_checked(map.len().checked_sub(FOOTER - 8)?)?;
        let checksum = u32::from_le_bytes(footer[..4].try_into().ok()?);
        if footer[4..] != *MAGIC || !all.starts_with(MAGIC) || crc32fast::hash(all) != checksum {
            return None;
        }
        let (body, rows) = all[MAGIC.len()..].split_last_chunk()?;
        let rows = usize::try_from(u64::from_le_bytes(*rows)).ok()?;
        let range = MAGIC.len()..MAGIC.len() + body.len();
        (rows.checked_mul(8)? <= body.len()).then_some(Self { bytes: Bytes::Mapped { map, range }, rows })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there are no more than `i`.
    pub fn get(&self, i: usize) -> Vec<f32> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        let from = i.checked_sub(1).map_or(0, |before| self.end(before));
        let numbers = &self.bytes[4 * from..4 * self.end(i)];
        numbers.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Where row `i` ends, in numbers.
    fn end(&self, i: usize) -> usize {
        let at = self.bytes.len() - 8 * (self.rows - i);
        let mut end = [0; 8];
        end.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(end) as usize
    }
}

/// The numbers and ends of a whole file.
fn mapped(file: &std::fs::File) -> io::Result<Bytes> {
    // SAFETY: these files are only ever replaced by renaming a new file over them, never written to or cut in place.
    let map = Arc::new(unsafe { Mmap::map(file)? });
    let range = MAGIC.len().min(map.len())..map.len().saturating_sub(FOOTER);
    Ok(Bytes::Mapped { map, range })
}

/// Rows while they come.
struct Spool<W> {
    to: W,
    numbers: u64,
    ends: Vec<u64>,
    hash: crc32fast::Hasher,
}

impl<W: Write> Spool<W> {
    fn new(to: W) -> Self {
        Self { to, numbers: 0, ends: Vec::new(), hash: crc32fast::Hasher::new() }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }

    fn push(&mut self, row: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.numbers += row.len() as u64;
        self.ends.push(self.numbers);
        self.write(&bytes)
    }

    /// Where the rows are, and how many.
    fn finish(mut self) -> io::Result<(W, usize)> {
        let rows = self.ends.len();
        let ends: Vec<u8> = std::mem::take(&mut self.ends).iter().flat_map(|end| end.to_le_bytes()).collect();
        self.write(&ends)?;
        self.write(&(rows as u64).to_le_bytes())?;
        self.to.write_all(&self.hash.finalize().to_le_bytes())?;
        self.to.write_all(MAGIC)?;
        Ok((self.to, rows))
    }
}

/// Memory as far as there is some.
struct Bounded {
    bytes: Vec<u8>,
    room: usize,
}

impl Default for Bounded {
    fn default() -> Self {
        let room = memory::spare().and_then(|bytes| usize::try_from(bytes).ok());
        Self { bytes: Vec::new(), room: room.unwrap_or(usize::MAX) }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room - self.bytes.len() {
            let room = memory::human(self.room as u64);
            let problem = format!("what is kept of the data takes more than the {room} of memory that are free");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, problem));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
