//! Files of equal records that only grow, so that work that was interrupted goes on where it stopped.
//!
//! Beside each lies `NAME.crc`: how many records are whole, and their checksum. A shelf whose bytes are no longer those
//! that were put there is refilled, in another file: whoever has mapped the old one keeps it as it was.

use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use memmap2::Mmap;
use undiffuse::files::{self, at};

use crate::EvalError;

/// A file that is being filled; no other process can fill it meanwhile.
#[derive(Debug)]
pub(crate) struct Shelf {
    path: PathBuf,
    file: File,
    record: usize,
    len: usize,
    checksum: Hasher,
}

impl Shelf {
    /// Opens or makes the file at `path`; a record is `record` bytes. Records that are not what was put there are cut off.
    ///
    /// # Errors
    /// A file that cannot be written, or that another process is filling.
    pub(crate) fn open(path: &Path, record: usize) -> Result<Self, EvalError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at("create", folder))?;
        }
        let mut file = locked(path)?;
        let told = told(path);
        let checksum = match told {
            Some(told) => whole(&mut file, told, record).map_err(at("read", path))?,
            None => None,
        };
        if checksum.is_none() && file.metadata().map_err(at("read", path))?.len() > 0 {
            // Cutting it would take the bytes away under those who have mapped it.
            files::write(path, &[])?;
            file = locked(path)?;
        }
        let len = told.filter(|_| checksum.is_some()).map_or(0, |(len, _)| len);
        // What a killed program left behind the whole records: nobody has mapped that.
        file.set_len((len * record) as u64).map_err(at("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(at("write", path))?;
        let checksum = checksum.unwrap_or_default();
        Ok(Self { path: path.to_owned(), file, record, len, checksum })
    }

    /// Records that are there.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds whole records.
    ///
    /// # Panics
    /// If `bytes` is not a whole number of records.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), EvalError> {
        assert!(bytes.len().is_multiple_of(self.record), "whole records of {} bytes", self.record);
        self.file.write_all(bytes).map_err(at("write", &self.path))?;
        self.len += bytes.len() / self.record;
        self.checksum.update(bytes);
        let (beside, text) = (beside(&self.path), format!("{} {}\n", self.len, self.checksum.clone().finalize()));
        Ok(files::write(&beside, text.as_bytes())?)
    }

    /// Everything, mapped into memory.
    pub(crate) fn map(self) -> Result<Mmap, EvalError> {
        self.file.sync_data().map_err(at("write", &self.path))?;
        // SAFETY: while it is locked the file is just its whole records, and these are never cut nor written again: a shelf
        // only grows behind them, and a damaged one is replaced by another file.
        let map = unsafe { Mmap::map(&self.file) }.map_err(at("read", &self.path))?;
        // A mapping would keep the lock for as long as it lives.
        self.file.unlock().map_err(at("unlock", &self.path))?;
        Ok(map)
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("crc")
}

/// The file at `path`, locked: no other is there by now.
fn locked(path: &Path) -> Result<File, EvalError> {
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(at("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EvalError::Busy(path.to_owned())),
            Err(TryLockError::Error(e)) => return Err(at("lock", path)(e).into()),
        }
        // Whoever had it before may have put another file in its place.
        let same = |there: fs::Metadata| file.metadata().is_ok_and(|own| identity(&own) == identity(&there));
        if fs::metadata(path).is_ok_and(same) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn identity(facts: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((facts.dev(), facts.ino()))
}

/// Elsewhere an open file is not replaced.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// How many records there are by what lies beside them, and their checksum.
fn told(path: &Path) -> Option<(usize, u32)> {
    let text = files::read_text(&beside(path)).ok()?;
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The checksum of the records, if they are as they were put there.
fn whole(file: &mut File, (len, sum): (usize, u32), record: usize) -> std::io::Result<Option<Hasher>> {
    let mut checksum = Hasher::new();
    let bytes = len as u64 * record as u64;
    let mut reader = BufReader::with_capacity(1 << 20, &mut *file).take(bytes);
    let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                checksum.update(&buffer[..n]);
                read += n as u64;
            }
        }
    }
    Ok((read == bytes && checksum.clone().finalize() == sum).then_some(checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_kept_and_the_rest_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.u8");
        let mut shelf = Shelf::open(&path, 4).unwrap();
        shelf.push(&[1; 8]).unwrap();
        assert!(matches!(Shelf::open(&path, 4), Err(EvalError::Busy(_))));
        drop(shelf);
        // A program that was killed while it wrote.
        fs::write(&path, [1, 1, 1, 1, 1, 1, 1, 1, 3]).unwrap();
        let mut shelf = Shelf::open(&path, 4).unwrap();
        assert_eq!(shelf.len(), 2);
        shelf.push(&[4; 4]).unwrap();
        let map = shelf.map().unwrap();
        assert_eq!(&map[..], [1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 4]);
        assert_eq!(Shelf::open(&path, 4).unwrap().len(), 3);
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.u8");
        let fill = || {
            let mut shelf = Shelf::open(&path, 4).unwrap();
            shelf.push(&[7; 16]).unwrap();
        };
        for damage in [&[7u8; 12][..], &[7, 7, 7, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]] {
            fill();
            fs::write(&path, damage).unwrap();
            assert_eq!(Shelf::open(&path, 4).unwrap().len(), 0);
            let _ = fs::remove_file(&path);
        }
        fill();
        fs::write(beside(&path), "four of them").unwrap();
        assert_eq!(Shelf::open(&path, 4).unwrap().len(), 0);
    }

    /// Cutting a file takes mapped bytes away: the system kills whoever looks at them (SIGBUS).
    #[test]
    fn who_has_mapped_a_shelf_keeps_it_when_it_is_filled_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.u8");
        let mut shelf = Shelf::open(&path, 4).unwrap();
        shelf.push(&[7; 1 << 16]).unwrap();
        let map = shelf.map().unwrap();
        // What a program left that was killed while it wrote, before what lies beside was written as a whole.
        fs::write(beside(&path), "").unwrap();
        let mut anew = Shelf::open(&path, 4).unwrap();
        assert_eq!(anew.len(), 0);
        anew.push(&[8; 4]).unwrap();
        assert!(map.len() == 1 << 16 && map.iter().all(|&byte| byte == 7));
        drop(anew);
        assert_eq!(Shelf::open(&path, 4).unwrap().len(), 1);
    }
}
