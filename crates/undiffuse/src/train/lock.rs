//! Who has a run: one trainer at a time, and anybody may look.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::TrainError;
use crate::files::{self, FileError};

/// How long a trainer tries to get its run: looking at a lock holds it for microseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits in between.
const PAUSE: Duration = Duration::from_millis(5);

const LOCK_FILE: &str = "lock";

/// Takes the run for this process, until the file is dropped.
pub(super) fn lock(run: &Path) -> Result<File, TrainError> {
    let path = run.join(LOCK_FILE);
    let file = files::append(&path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(TrainError::Locked(run.to_owned())),
            Err(TryLockError::Error(source)) => {
                return Err(FileError { what: "lock", path: path.display().to_string(), source }.into());
            }
        }
    }
}

/// Whether a program is training in the run's folder.
pub fn is_training(run: &Path) -> bool {
    let lock = files::open_inside(run, LOCK_FILE.as_ref());
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `inspect`, `doctor` and the service look at runs at any time.
    #[test]
    fn looking_never_keeps_a_trainer_out() {
        let run = std::env::temp_dir().join(format!("undiffuse-lock-{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let look = || {
                while !end.load(Ordering::Relaxed) {
                    is_training(&run);
                }
            };
            scope.spawn(look);
            scope.spawn(look);
            let taken = (0..300).map(|_| lock(&run).map(drop)).find(Result::is_err);
            end.store(true, Ordering::Relaxed);
            assert!(taken.is_none(), "{taken:?}");
        });
        let held = lock(&run).unwrap();
        assert!(is_training(&run) && matches!(lock(&run), Err(TrainError::Locked(_))));
        drop(held);
        assert!(!is_training(&run) && !is_training(&run.join("none")));
        std::fs::remove_dir_all(run).unwrap();
    }
}
