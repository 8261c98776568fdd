//! Writing so that an interruption at any instant loses nothing: to a temporary name, flushed, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{path}`: {source}{}", hint(.source))]
pub struct FileError {
    /// "write", "read", "create"…
    pub what: &'static str,
    /// The path.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (the disk is full: free some space; what was saved before is untouched)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
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

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Puts `bytes` at `path`: either all of them or, after an interruption, what was there before.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary(path);
    let result = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_parent(path));
    result.map_err(|e| {
        // The half-written file is of no use to anybody; that it may fail to go changes nothing.
        let _ = fs::remove_file(&temporary);
        at("write", path)(e)
    })
}

/// Puts a folder at `path`, filled by `fill`; an older one is replaced at the end.
pub fn write_folder<E: From<FileError>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let (new, old) = (temporary(path), path.with_extension("old"));
    remove_folder(&new)?;
    fs::create_dir_all(&new).map_err(at("create", &new))?;
    fill(&new)?;
    remove_folder(&old)?;
    if path.exists() {
        fs::rename(path, &old).map_err(at("replace", path))?;
    }
    fs::rename(&new, path).map_err(at("write", path))?;
    sync_parent(path).map_err(at("write", path))?;
    remove_folder(&old)?;
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

/// A rename is only safe on disk once its folder is.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent)?.sync_all()
        }
        _ => Ok(()),
    }
}

/// Reads a text file.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(at("read", path))
}
