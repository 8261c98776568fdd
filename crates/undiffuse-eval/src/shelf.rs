//! Files of equal records that only grow, so that work that was interrupted goes on where it stopped.
//!
//! Beside each lies `NAME.crc`: how many records are whole, and their checksum. A shelf whose bytes are no longer those
//! that were put there is filled anew.

use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use memmap2::Mmap;
use undiffuse::files::at;

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
        let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(at("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EvalError::Busy(path.to_owned())),
            Err(TryLockError::Error(e)) => return Err(at("lock", path)(e).into()),
        }
        let (len, checksum) = whole(&mut file, path, record).map_err(at("read", path))?;
        file.set_len((len * record) as u64).map_err(at("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(at("write", path))?;
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
        fs::write(&beside, text).map_err(at("write", &beside))?;
        Ok(())
    }

    /// Everything, mapped into memory.
    pub(crate) fn map(self) -> Result<Mmap, EvalError> {
        self.file.sync_data().map_err(at("write", &self.path))?;
        // A mapping would keep the lock for as long as it lives.
        self.file.unlock().map_err(at("unlock", &self.path))?;
        // SAFETY: shelves only grow and are never cut while their records are whole, so the mapped bytes stay.
        unsafe { Mmap::map(&self.file) }.map_err(|e| at("read", &self.path)(e).into())
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("crc")
}

/// How many records are as they were put there, all that were told of or none, and their checksum.
fn whole(file: &mut File, path: &Path, record: usize) -> std::io::Result<(usize, Hasher)> {
    let told = fs::read_to_string(beside(path)).unwrap_or_default();
    let mut told = told.split_whitespace();
    let (Some(len), Some(sum)) =
        (told.next().and_then(|len| len.parse::<usize>().ok()), told.next().and_then(|sum| sum.parse::<u32>().ok()))
    else {
        return Ok((0, Hasher::new()));
    };
    let mut checksum = Hasher::new();
    let mut reader = BufReader::with_capacity(1 << 20, &mut *file).take(len as u64 * record as u64);
    let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                checksum.update(&buffer[..n]);
                read += n;
            }
        }
    }
    match read == len * record && checksum.clone().finalize() == sum {
        true => Ok((len, checksum)),
        false => Ok((0, Hasher::new())),
    }
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
}
