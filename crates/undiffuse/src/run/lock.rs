//! Who has a run: one trainer at a time, and anybody may look.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use super::RunFolder;
use crate::files::{self, FileError, at};

/// How long a trainer tries to get its run: looking at a lock holds it for microseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits in between.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) const LOCK_FILE: &str = "lock";

impl RunFolder {
    /// Takes the run for this process, until the file is dropped; nothing while another program has it.
    pub(crate) fn lock(&self) -> Result<Option<File>, FileError> {
        let path = self.path().join(LOCK_FILE);
        let file = files::append(&path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(at("lock", &path)(source)),
            }
        }
    }

    /// Whether a program is training in it.
    pub fn is_training(&self) -> bool {
        let lock = self.open(LOCK_FILE);
        lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `inspect`, `doctor` and the service look at runs at any time.
    #[test]
    fn looking_never_keeps_a_trainer_out() {
        let folder = std::env::temp_dir().join(format!("undiffuse-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = RunFolder::new(&folder);
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let look = || {
                while !end.load(Ordering::Relaxed) {
                    run.is_training();
                }
            };
            scope.spawn(look);
            scope.spawn(look);
            let kept_out = (0..300).any(|_| run.lock().unwrap().is_none());
            end.store(true, Ordering::Relaxed);
            assert!(!kept_out);
        });
        let held = run.lock().unwrap();
        assert!(held.is_some() && run.is_training() && run.lock().unwrap().is_none());
        drop(held);
        assert!(!run.is_training() && !RunFolder::new(folder.join("none")).is_training());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
