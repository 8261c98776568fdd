//! What is written is there whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{FileError, at, beside, disk};

/// The ending of what is not finished yet.
pub(super) const NEW: &str = ".undiffuse-new";
/// The ending of what is no longer needed.
pub(super) const OLD: &str = ".undiffuse-old";

/// What desktops leave in folders that were looked at: nobody misses it.
const LITTER: [&str; 4] = [".DS_Store", ".directory", "Thumbs.db", "desktop.ini"];

/// Puts `bytes` at `path`: either all of them or, after an interruption, what was there before.
///
/// # Errors
/// As [`write_with`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write()`], for contents that are made while they are written. A pipe or a device gets them as they come.
///
/// # Errors
/// Whatever the system or `fill` says, and a folder at `path`. What was there is untouched then, unless all but the
/// last flush went well.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let result = match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")),
        // Nothing could be put in its place.
        Ok(there) if !there.is_file() => File::options().write(true).open(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            fill(&mut file).and_then(|()| file.flush())
        }),
        _ => write_whole(&target(path), fill),
    };
    result.map_err(at("write", path))
}

fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let new = beside(path, NEW);
    let written = disk::create(&new)
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            fill(&mut file)?;
            file.into_inner()?.sync()
        })
        .and_then(|()| disk::rename(&new, path));
    if written.is_err() {
        // The half-written file is of no use to anybody; that it may fail to go changes nothing.
        let _ = disk::remove_file(&new);
    }
    written.and_then(|()| disk::sync_folder(parent(path)))
}

/// Creates a file within a folder that [`write_folder`] fills, which flushes and renames all of them at once.
///
/// # Errors
/// Whatever the system says.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    disk::create(path).and_then(|mut file| file.write_all(bytes)).map_err(at("write", path))
}

/// Creates a folder and those above it, where they are not there.
///
/// # Errors
/// Whatever the system says.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    disk::create_folder(path).map_err(at("create", path))
}

/// Removes a file, where there is one.
///
/// # Errors
/// Whatever the system says.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match disk::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Puts a folder at `path`, filled by `fill`; an older one is replaced in one step at the end.
///
/// `parts` are the names that such a folder may hold: one that holds anything else is somebody's, and not replaced.
///
/// Where the system can exchange two names (Linux, macOS) there is always a whole folder at `path`. Elsewhere there is
/// none for an instant, and whoever reads goes by [`current`].
///
/// # Errors
/// As [`replaceable`]; whatever the system or `fill` says. What was at `path` is untouched then, unless all but the last
/// flush went well.
pub fn write_folder<E: From<FileError>>(
    path: &Path,
    parts: &[&str],
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    replaceable(path, parts)?;
    let path = target(path);
    let (new, old) = (beside(&path, NEW), beside(&path, OLD));
    let fresh = || {
        disk::remove_tree(&new).map_err(at("remove", &new))?;
        create_folder(&new)
    };
    let put = || {
        disk::sync_tree(&new).map_err(at("write", &new))?;
        replace(&new, &path, &old).map_err(at("replace", &path))
    };
    let written = fresh().map_err(E::from).and_then(|()| fill(&new)).and_then(|()| Ok(put()?));
    // The old folder after an exchange, or what came of a failure. That it may fail to go changes nothing.
    let _ = disk::remove_tree(&new);
    written
}

/// Puts `new` in the place of `path`. Until then `old` holds what is there, if two renames were interrupted.
fn replace(new: &Path, path: &Path, old: &Path) -> io::Result<()> {
    if path.exists() {
        // An interrupted replacement has left it; with a folder at `path` it has served its purpose.
        disk::remove_tree(old)?;
        if disk::exchange(new, path).is_ok() {
            return disk::sync_folder(parent(path));
        }
        disk::rename(path, old)?;
    }
    if let Err(e) = disk::rename(new, path) {
        // Back, if there was one. Where that fails as well, `current` finds it.
        let _ = disk::rename(old, path);
        return Err(e);
    }
    disk::sync_folder(parent(path))?;
    let _ = disk::remove_tree(old);
    Ok(())
}

/// Whether [`write_folder`] may put a folder at `path`.
///
/// # Errors
/// A file there, or a folder that holds something besides `parts`, which would be lost.
pub fn replaceable(path: &Path, parts: &[&str]) -> Result<(), FileError> {
    let refuse = |kind, why: String| Err(at("replace", path)(io::Error::new(kind, why)));
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return refuse(e.kind(), "it is a file".into()),
        entries => entries.map_err(at("read", path))?,
    };
    for entry in entries {
        let name = entry.map_err(at("read", path))?.file_name();
        let known = |list: &[&str]| list.iter().any(|known| OsStr::new(known) == name);
        if !known(parts) && !known(&LITTER) {
            let name = name.to_string_lossy();
            let why = format!("it holds `{name}`, which would be lost; move that away, or choose another folder");
            return refuse(io::ErrorKind::AlreadyExists, why);
        }
    }
    Ok(())
}

/// The folder that [`write_folder`] has put at `path`: there, or under the name of the old one when the replacement was
/// interrupted between two renames.
pub fn current(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    let old = beside(&target(path), OLD);
    if old.is_dir() { old } else { path.to_owned() }
}

/// Runs `read` on the folder at `path`, again when the folder was replaced meanwhile, so that nothing old is mixed with
/// anything new.
pub fn steady<T>(path: &Path, mut read: impl FnMut(&Path) -> T) -> T {
    loop {
        let folder = current(path);
        let before = Held::new(&folder);
        if before.identity.is_none() && current(path).exists() {
            // Caught between two renames.
            continue;
        }
        let value = read(&folder);
        // The same folder at another place was moved while it was read.
        let now = current(path);
        if now == folder && Held::new(&now).identity == before.identity {
            return value;
        }
    }
}

/// A folder, known again as long as this lives: a folder that is open keeps its number to itself.
struct Held {
    identity: Option<(u64, u64)>,
    _folder: Option<File>,
}

impl Held {
    #[cfg(unix)]
    fn new(folder: &Path) -> Self {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let flags = rustix::fs::OFlags::DIRECTORY.bits();
        let folder_ = File::options().read(true).custom_flags(flags as i32).open(folder).ok();
        let metadata = folder_.as_ref().map_or_else(|| fs::metadata(folder), File::metadata);
        Self { identity: metadata.ok().map(|m| (m.dev(), m.ino())), _folder: folder_ }
    }

    #[cfg(not(unix))]
    fn new(folder: &Path) -> Self {
        let created = fs::metadata(folder).and_then(|m| m.created()).ok();
        let since = created.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self { identity: since.map(|d| (d.as_secs(), d.subsec_nanos().into())), _folder: None }
    }
}

/// Where a path leads: links are kept and what they lead to is replaced, and every place has a name.
fn target(path: &Path) -> PathBuf {
    match path.file_name() {
        Some(_) if !path.is_symlink() => path.to_owned(),
        _ => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
