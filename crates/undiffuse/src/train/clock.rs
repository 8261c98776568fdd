//! How long a stretch of a run has taken, over all lives of the program.

use std::io::{Seek, SeekFrom, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::files::FileError;
use crate::run::RunFolder;

/// How often the time is written down: what a kill makes forgotten.
const BEAT: Duration = Duration::from_millis(100);

/// The running clock of a stretch. Time in which the program does not run does not count; of a life that is killed, at most a
/// tenth of a second is forgotten, and what was spent loading before the clock was set.
pub(super) struct Clock {
    before: f64,
    since: Instant,
    beat: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Clock {
    /// Sets the clock of stretch number `stretch`, for a life that has spent time on it `since` then; `known` are seconds that
    /// earlier lives are known to have spent on it at least.
    pub(super) fn start(run: &RunFolder, stretch: usize, since: Instant, known: f64) -> Result<Self, FileError> {
        let written = run.clock().filter(|(of, _)| *of == stretch).map_or(0.0, |(_, seconds)| seconds);
        let before = known.max(written);
        let text = move || format!("{stretch} {:>16.3}\n", before + since.elapsed().as_secs_f64());
        let mut file = run.open_clock(&text())?;
        let (end, ended) = channel();
        let beat = std::thread::spawn(move || {
            loop {
                let over = ended.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout);
                // One piece of always the same length. Where it fails, less is known after a kill.
                let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(text().as_bytes()));
                if over {
                    return;
                }
            }
        });
        Ok(Self { before, since, beat: Some((end, beat)) })
    }

    /// Seconds that the stretch has taken.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some((end, beat)) = self.beat.take() {
            drop(end);
            let _ = beat.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_earlier_lives_counts_and_that_between_them_does_not() {
        let folder = std::env::temp_dir().join(format!("undiffuse-clock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = RunFolder::new(&folder);
        let start = |stretch, known| Clock::start(&run, stretch, Instant::now(), known).unwrap();
        let clock = start(0, 0.0);
        std::thread::sleep(Duration::from_millis(250));
        // As a kill leaves it.
        let written = run.clock().unwrap();
        assert!(written.0 == 0 && written.1 > 0.05 && written.1 <= clock.seconds(), "{written:?}");
        drop(clock);
        let left = run.clock().unwrap().1;
        std::thread::sleep(Duration::from_millis(250));
        let seconds = start(0, 0.0).seconds();
        assert!(seconds >= left && seconds < left + 0.2, "{left} {seconds}");
        assert!(start(0, 9.0).seconds() >= 9.0 && start(1, 0.0).seconds() < 0.2);
        std::fs::write(folder.join("clock"), "soon").unwrap();
        assert!(start(1, 3.0).seconds() >= 3.0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
