//! Files that must survive an interruption, and files that others may have touched.
//!
//! **Writing**: to a temporary name, flushed, renamed, the folder flushed. Whoever is killed in between leaves what was
//! there before or what was to be there, whole; folders as well ([`write_folder`]).
//!
//! **Reading**: what is opened is a regular file ([`open`]), so no pipe or device holds the program up; no more is read
//! than the caller's limit ([`read`]); and what strangers' folders hold is opened without following links that lead out
//! of them ([`open_inside`]).

mod disk;
mod read;
mod write;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

#[doc(hidden)]
pub use disk::faults;
pub use read::{TEXT_LIMIT, append, open, open_inside, read, read_all, read_text};
pub use write::{create, create_folder, current, remove, replaceable, steady, write, write_folder, write_with};

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}`: {source}{}", hint(.what, .source))]
pub struct FileError {
    /// "write", "read", "create"…
    pub what: &'static str,
    /// The path.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

fn hint(what: &str, e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (the disk is full: free some space; what was saved before is untouched)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if what != "read" => {
            " (choose a folder that you may write to)"
        }
        _ => "",
    }
}

/// Adds the path to an I/O error.
pub fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError { what, path, source }
}

/// The longest name that a temporary one repeats in full; systems end at 255 bytes.
const NAME_MAX: usize = 200;

/// `.NAME.undiffuse-new` beside `NAME`: hidden, and nobody's own choice of a name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    if name.len() > NAME_MAX {
        let shown = name.to_string_lossy();
        let kept = (0..=NAME_MAX).rev().find(|&n| shown.is_char_boundary(n)).unwrap_or(0);
        hidden.push(format!("{}~{:08x}", &shown[..kept], crc32fast::hash(name.as_encoded_bytes())));
    } else {
        hidden.push(name);
    }
    hidden.push(ending);
    path.with_file_name(hidden)
}

/// Whether a name is one that this module gives to what is not finished yet, or no longer needed.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && (name.ends_with(write::NEW) || name.ends_with(write::OLD))
}
