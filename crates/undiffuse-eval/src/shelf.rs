//! Files of equal records that only grow, so that work that was interrupted goes on where it stopped.

use std::fs::{self, File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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
}

impl Shelf {
    /// Opens or makes the file at `path`; a record is `record` bytes. What an interruption left of a record is cut off.
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
        let bytes = file.metadata().map_err(at("read", path))?.len();
        let len = (bytes / record as u64) as usize;
        file.set_len((len * record) as u64).map_err(at("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(at("write", path))?;
        Ok(Self { path: path.to_owned(), file, record, len })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record_is_cut_off_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.u8");
        let mut shelf = Shelf::open(&path, 4).unwrap();
        shelf.push(&[1; 8]).unwrap();
        assert!(matches!(Shelf::open(&path, 4), Err(EvalError::Busy(_))));
        drop(shelf);
        fs::write(&path, [1, 1, 1, 1, 2, 2, 2, 2, 3]).unwrap();
        let mut shelf = Shelf::open(&path, 4).unwrap();
        assert_eq!(shelf.len(), 2);
        shelf.push(&[4; 4]).unwrap();
        let map = shelf.map().unwrap();
        assert_eq!(&map[..], [1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4]);
        assert_eq!(Shelf::open(&path, 4).unwrap().len(), 3);
    }
}
