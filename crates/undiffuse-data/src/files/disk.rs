//! Every change to the disk that this module makes: one function a system call, so that tests can let each one be the
//! last or fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Faults for tests.
pub mod faults {
    use std::cell::Cell;

    /// What becomes of the change to the disk that is struck.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Then {
        /// It fails and those after it work.
        Fail,
        /// It and all after it do nothing, as when the program was killed; a write is cut in its middle.
        Die,
    }

    /// What goes wrong.
    #[derive(Clone, Copy, Debug)]
    pub struct Fault {
        /// Which change is struck, counted from 0.
        pub at: usize,
        /// How.
        pub then: Then,
        /// Whether the file system can exchange two names.
        pub exchange: bool,
    }

    thread_local! {
        static FAULT: Cell<Option<(Fault, usize)>> = const { Cell::new(None) };
    }

    /// Runs `body` on a disk that has the fault, for this thread alone; also says how many changes `body` tried.
    pub fn during<T>(fault: Fault, body: impl FnOnce() -> T) -> (T, usize) {
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                FAULT.set(None);
            }
        }
        let _end = End;
        FAULT.set(Some((fault, 0)));
        let value = body();
        (value, FAULT.get().map_or(0, |(_, count)| count))
    }

    /// How the next change goes.
    pub(super) enum Fate {
        Works,
        Struck,
        Dead,
    }

    pub(super) fn next() -> Fate {
        let Some((fault, count)) = FAULT.get() else { return Fate::Works };
        FAULT.set(Some((fault, count + 1)));
        match fault.then {
            _ if count == fault.at => Fate::Struck,
            Then::Die if count > fault.at => Fate::Dead,
            _ => Fate::Works,
        }
    }

    pub(super) fn can_exchange() -> bool {
        FAULT.get().is_none_or(|(fault, _)| fault.exchange)
    }
}

use faults::Fate;

fn struck() -> io::Error {
    io::Error::other("a fault that a test asked for")
}

/// Does `change`, unless a test wants it otherwise.
fn change<T>(change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match faults::next() {
        Fate::Works => change(),
        Fate::Struck | Fate::Dead => Err(struck()),
    }
}

/// A file that is written.
pub struct Written(File);

/// Creates the file, or empties it.
pub(crate) fn create(path: &Path) -> io::Result<Written> {
    change(|| File::create(path)).map(Written)
}

impl Written {
    /// Waits until the file is on the disk.
    pub(crate) fn sync(self) -> io::Result<()> {
        change(|| self.0.sync_all())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match faults::next() {
            Fate::Works => self.0.write(bytes),
            Fate::Struck => self.0.write_all(&bytes[..bytes.len() / 2]).and(Err(struck())),
            Fate::Dead => Err(struck()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    change(|| fs::rename(from, to))
}

/// Exchanges two names in one step, where the system and the file system can.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    if !faults::can_exchange() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        change(|| Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?))
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (a, b);
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    change(|| fs::create_dir_all(path))
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    change(|| fs::remove_file(path))
}

/// Removes a folder with all that is in it, or nothing where there is none; links in it are removed, not followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => remove_tree(&entry.path())?,
            false => remove_file(&entry.path())?,
        }
    }
    change(|| fs::remove_dir(path))
}

/// A name is only safe on disk once its folder is.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match change(|| File::open(folder)?.sync_all()) {
        // Network and foreign file systems have no such promise to give, and some folders may be written but not read.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Waits until a folder and all that is in it are on the disk.
pub(crate) fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_folder(folder)
}
