//! The store's file: made for the service's own user, opened, and written in durable transactions.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, DatabaseError, WriteTransaction};

use crate::engine::pool::message;

/// Memory for pages of the file.
const CACHE: usize = 64 << 20;
/// A file below this is never worth rewriting.
const SMALL: u64 = 16 << 20;

/// What opens the file: [`open`], or in tests one whose disk fails on command.
pub type Opener = dyn Fn(&Path) -> Result<Database, String> + Send + Sync;

/// Makes what only the service's own user may see.
///
/// # Errors
/// What the system says.
pub fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// As [`make_folder`], a file.
///
/// # Errors
/// What the system says.
pub fn make_file(path: &Path) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Opens the file.
///
/// # Errors
/// One that is damaged or in use, in words for whoever starts the service.
pub fn open(path: &Path) -> Result<Database, String> {
    opened(path, || builder().create(path))
}

/// As the store's file is opened.
pub fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// What `open` made, in words.
///
/// # Errors
/// Another process has it, or it is damaged: in words.
pub fn opened(path: &Path, open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Database, String> {
    let shown = path.display();
    let damaged =
        |why: String| format!("the store `{shown}` is damaged ({why}); move it away to begin with an empty one");
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            Err(format!("the store `{shown}` is in use by another service: end it, or give this one another --store"))
        }
        Ok(Err(DatabaseError::Storage(redb::StorageError::Io(e)))) if e.raw_os_error().is_some() => {
            Err(format!("the store `{shown}` cannot be used: {e}"))
        }
        Ok(Err(e)) => Err(damaged(e.to_string())),
        Err(panic) => Err(damaged(message(panic))),
    }
}

/// Gives the system back what a file has that is mostly empty.
pub fn compact(database: &mut Database, path: &Path, used: u64) {
    let length = fs::metadata(path).map_or(0, |m| m.len());
    if length > SMALL && used < length / 2 {
        // Space is not worth a refusal to start.
        let _ = database.compact();
    }
}

/// Runs `change` in one durable transaction.
///
/// # Errors
/// What the disk says, or a panic on the way there, in words.
pub fn with<T>(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, String> {
    let run = || -> Result<T, redb::Error> {
        let tx = database.begin_write()?;
        let result = change(&tx)?;
        tx.commit()?;
        Ok(result)
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(message)?.map_err(|e| e.to_string())
}
