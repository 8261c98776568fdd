//! A first look at a path: what it is, and how its content begins.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::{DataError, files};

/// Enough for every signature in use; a tar header is 512 bytes long.
const HEAD: u64 = 512;

/// What a path is, seen from outside.
#[derive(Debug)]
pub struct Probe {
    /// The path.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether the content is compressed with gzip.
    pub gzipped: bool,
    /// The first bytes, after removing gzip.
    pub head: Vec<u8>,
    /// The file name, in lower case.
    pub name: String,
    is_file: bool,
    size: u64,
}

impl Probe {
    /// Looks at `path`.
    ///
    /// # Errors
    /// [`DataError::NotFound`] or [`DataError::Unreadable`].
    pub fn new(path: &Path) -> Result<Probe, DataError> {
        let fail = |e| DataError::io(path, e);
        let open = |path| files::open(path).map_err(|e| fail(e.source));
        let meta = std::fs::metadata(path).map_err(fail)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let mut probe = Probe {
            path: path.to_path_buf(),
            is_folder: meta.is_dir(),
            gzipped: false,
            head: Vec::new(),
            name,
            is_file: meta.is_file(),
            size: meta.len(),
        };
        if meta.is_file() {
            open(path)?.take(HEAD).read_to_end(&mut probe.head).map_err(fail)?;
            probe.gzipped = probe.head.starts_with(&[0x1f, 0x8b]);
        }
        if probe.gzipped {
            let mut head = Vec::new();
            // A gzip stream that is damaged from the start shows when its source reads it.
            let _ = MultiGzDecoder::new(open(path)?).take(HEAD).read_to_end(&mut head);
            probe.head = head;
        }
        Ok(probe)
    }

    /// Whether the file name ends in one of `endings`.
    pub fn ends_with(&self, endings: &[&str]) -> bool {
        endings.iter().any(|ending| self.name.ends_with(ending))
    }

    /// What the path looks like, for the message that it is not supported.
    pub fn describe(&self) -> String {
        const SIGNS: &[(&[u8], &str)] = &[
            (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
            (b"Rar!", "a RAR archive"),
            (b"\xfd7zXZ", "an xz-compressed file"),
            (b"BZh", "a bzip2-compressed file"),
            (b"\x28\xb5\x2f\xfd", "a zstd-compressed file"),
            (b"PAR1", "a Parquet file"),
            (b"\x89HDF", "an HDF5 file"),
            (b"\x93NUMPY", "a NumPy array"),
            (b"PK\x05\x06", "an empty zip archive"),
        ];
        let is_image = ::image::guess_format(&self.head).is_ok();
        match SIGNS.iter().find(|(sign, _)| self.head.starts_with(sign)) {
            Some((_, what)) => (*what).into(),
            None if !self.is_file => "a pipe, a socket or a device".into(),
            None if self.size == 0 => "an empty file".into(),
            None if is_image => "a single picture".into(),
            None => "a file of an unknown kind".into(),
        }
    }
}
