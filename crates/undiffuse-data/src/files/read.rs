//! What is opened is what it should be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path};

use super::{FileError, at};

/// The most that [`read_text`] reads: configurations, cards and reports are far smaller.
pub const TEXT_LIMIT: u64 = 64 << 20;

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// Whatever the system says, and anything that is no regular file: a pipe or a device could keep its reader waiting.
pub fn open(path: &Path) -> Result<File, FileError> {
    regular(OpenOptions::new().read(true), path, false).map_err(at("read", path))
}

/// Opens a regular file for reading and for adding to its end, and makes it where there is none; no link is followed.
///
/// # Errors
/// Whatever the system says, links, and anything that is no regular file.
pub fn append(path: &Path) -> Result<File, FileError> {
    if path.is_symlink() {
        let linked = io::Error::new(io::ErrorKind::InvalidInput, "it is a link, which is not written through");
        return Err(at("write", path)(linked));
    }
    regular(OpenOptions::new().read(true).append(true).create(true), path, true).map_err(at("write", path))
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
    beneath(folder, inside).map_err(at("read", &path))
}

/// Opens by one folder after the other, so that nothing that is exchanged meanwhile leads elsewhere.
#[cfg(unix)]
fn beneath(folder: &Path, inside: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut parts = inside.components().peekable();
    while let Some(part) = parts.next() {
        let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        at = openat(&at, part.as_os_str(), flags | OFlags::NOFOLLOW | kind, Mode::empty())?;
    }
    checked(File::from(at))
}

#[cfg(not(unix))]
fn beneath(folder: &Path, inside: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true), &folder.join(inside), false)
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn regular(options: &mut OpenOptions, path: &Path, links_refused: bool) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Opening a pipe that nobody writes to would wait for ever.
        let links = if links_refused { OFlags::NOFOLLOW } else { OFlags::empty() };
        options.custom_flags((OFlags::NONBLOCK | links).bits() as i32);
    }
    checked(options.open(path)?)
}

fn checked(file: File) -> io::Result<File> {
    let refuse = |kind, what| Err(io::Error::new(kind, what));
    match file.metadata()? {
        found if found.is_file() => Ok(file),
        found if found.is_dir() => refuse(io::ErrorKind::IsADirectory, "it is a folder"),
        _ => refuse(io::ErrorKind::InvalidInput, "it is a pipe or a device, and a file is needed"),
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
