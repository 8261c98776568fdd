//! Files that must survive an interruption, and files that others may have touched.
//!
//! **Writing**: to a temporary name, flushed, renamed, the folder flushed. Whoever is killed in between leaves what was
//! there before or what was to be there, whole; for folders, too ([`write_folder`]).
//!
//! **Reading**: what is opened is a regular file ([`open`]), so no pipe or device holds the program up; no more is read
//! than the caller's limit ([`read`]); and what strangers' folders hold is opened without following links that lead out
//! of them ([`open_inside`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

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

/// The most that [`read_text`] reads: configurations, cards and reports are far smaller.
pub const TEXT_LIMIT: u64 = 64 << 20;

/// `.NAME.undiffuse-new` beside `NAME`: hidden, and nobody's own choice of a name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

fn new(path: &Path) -> PathBuf {
    beside(path, ".undiffuse-new")
}

fn old(path: &Path) -> PathBuf {
    beside(path, ".undiffuse-old")
}

/// Whether a name is one that this module gives to what is not finished yet, or no longer needed.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && (name.ends_with(".undiffuse-new") || name.ends_with(".undiffuse-old"))
}

/// Puts `bytes` at `path`: either all of them or, after an interruption, what was there before.
///
/// # Errors
/// Whatever the system says; what was at `path` is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write`], for contents that are made while they are written.
///
/// # Errors
/// Whatever the system or `fill` says; what was at `path` is untouched then.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let temporary = new(path);
    let result = File::create(&temporary)
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            fill(&mut file)?;
            file.into_inner()?.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(parent(path)));
    result.map_err(|e| {
        // The half-written file is of no use to anybody; that it may fail to go changes nothing.
        let _ = fs::remove_file(&temporary);
        at("write", path)(e)
    })
}

/// Puts a folder at `path`, filled by `fill`; an older one is replaced in one step at the end.
///
/// Where the system can exchange two names (Linux, macOS) there is always a whole folder at `path`. Elsewhere there is
/// none for an instant, and whoever reads goes by [`current`].
///
/// # Errors
/// Whatever the system or `fill` says; what was at `path` is untouched then.
pub fn write_folder<E: From<FileError>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let (new, old) = (new(path), old(path));
    remove_folder(&new)?;
    fs::create_dir_all(&new).map_err(at("create", &new))?;
    fill(&new)?;
    sync_tree(&new).map_err(at("write", &new))?;
    // Only an interrupted replacement leaves one; with a folder at `path` it has served its purpose.
    if path.exists() {
        remove_folder(&old)?;
    }
    replace(&new, path, &old).and_then(|()| sync_folder(parent(path))).map_err(at("replace", path))?;
    remove_folder(&new)?;
    remove_folder(&old)?;
    Ok(())
}

/// The folder that [`write_folder`] has put at `path`: there, or under the name of the old one when the replacement was
/// interrupted between two renames.
pub fn current(path: &Path) -> PathBuf {
    let old = old(path);
    if !path.exists() && old.is_dir() { old } else { path.to_owned() }
}

/// Runs `read` on the folder at `path`, again when the folder was replaced meanwhile, so that nothing old is mixed with
/// anything new.
pub fn steady<T>(path: &Path, mut read: impl FnMut(&Path) -> T) -> T {
    loop {
        let (folder, before) = (current(path), identity(path));
        let value = read(&folder);
        if identity(path) == before {
            return value;
        }
    }
}

/// What stays the same as long as a folder is not replaced.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(current(path)).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let created = metadata.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((created.as_secs(), created.subsec_nanos().into()))
    }
}

fn replace(new: &Path, path: &Path, old: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(()),
            // Nothing at `path`, or a file system that can't.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if path.exists() {
        fs::rename(path, old)?;
    }
    fs::rename(new, path)
}

fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A rename is only safe on disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_folder(folder)
}

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// Whatever the system says, and anything that is no regular file: a pipe or a device could keep its reader waiting.
pub fn open(path: &Path) -> Result<File, FileError> {
    regular(path, 0).map_err(at("read", path))
}

/// Opens the regular file `inside` a folder that strangers may have filled: no part of the way there is a link, and none
/// leads up.
///
/// # Errors
/// Whatever the system says, links, and anything that is no regular file.
pub fn open_inside(folder: &Path, inside: &Path) -> Result<File, FileError> {
    let path = folder.join(inside);
    let refuse = |why: &str| at("read", &path)(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let mut way = folder.to_owned();
    for part in inside.components() {
        let Component::Normal(part) = part else { return Err(refuse("the name leads out of its folder")) };
        way.push(part);
        if fs::symlink_metadata(&way).map_err(at("read", &path))?.is_symlink() {
            return Err(refuse("it is a link, and links out of this folder are not followed"));
        }
    }
    #[cfg(unix)]
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    #[cfg(not(unix))]
    let flags = 0;
    regular(&path, flags).map_err(at("read", &path))
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn regular(path: &Path, flags: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Opening a pipe that nobody writes to would wait for ever.
        options.custom_flags((rustix::fs::OFlags::NONBLOCK.bits() | flags) as i32);
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and a larger file.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    open(path).and_then(|file| read_all(file, limit).map_err(at("read", path)))
}

/// Reads an open file to its end, up to `limit` bytes.
///
/// # Errors
/// Whatever the system says, and a larger file.
pub fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.take(limit.saturating_add(1)).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a text file of at most [`TEXT_LIMIT`] bytes.
///
/// # Errors
/// As [`read`], and bytes that are no UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let text = String::from_utf8(read(path, TEXT_LIMIT)?);
    text.map_err(|_| at("read", path)(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))
}
