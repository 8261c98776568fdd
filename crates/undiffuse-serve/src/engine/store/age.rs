//! How old results are, by a clock that nobody sets: the time that passes while the service runs, and the time of day only
//! for the pause between two runs on different boots of the machine. So a clock that jumps by a week makes nothing old.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What clocks show at one time, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clocks {
    /// Milliseconds on the store's own clock.
    at: u64,
    /// Milliseconds since 1970, as the system has it.
    wall: u64,
    /// Which boot of the machine, and milliseconds since then; absent where the system does not say.
    boot: Option<(String, u64)>,
}

impl Clocks {
    /// The clocks of the system, the store's own not yet set.
    fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
        let boot = || {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            let up: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
            Some((id.trim().to_owned(), (up * 1e3) as u64))
        };
        Self { at: wall, wall, boot: boot() }
    }

    /// The time on the store's clock, which was last seen showing `then`.
    fn since(&self, then: &Self) -> u64 {
        let passed = match (&self.boot, &then.boot) {
            (Some((now, up)), Some((before, was))) if now == before => up.saturating_sub(*was),
            _ => self.wall.saturating_sub(then.wall),
        };
        then.at.saturating_add(passed)
    }
}

/// The store's clock.
#[derive(Debug)]
pub struct Age {
    start: u64,
    begun: Instant,
}

impl Age {
    /// Goes on from what the clocks showed last; a store without that begins with the time of day, by which older versions went.
    pub fn resume(last: Option<&Clocks>) -> Self {
        let system = Clocks::system();
        Self { start: last.map_or(system.at, |last| system.since(last)), begun: Instant::now() }
    }

    /// Milliseconds.
    pub fn now(&self) -> u64 {
        self.start + self.begun.elapsed().as_millis() as u64
    }

    /// The time so long before.
    pub fn before(&self, age: Duration) -> u64 {
        self.now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    /// What to keep, so that another life goes on from here.
    pub fn clocks(&self) -> Clocks {
        Clocks { at: self.now(), ..Clocks::system() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_nothing_old() {
        const DAY: u64 = 86_400_000;
        let clocks = |wall, boot: &str, up| Clocks { at: 1000, wall, boot: Some((boot.into(), up)) };
        let then = clocks(100 * DAY, "a", 5000);
        // Set forward by a week, or back, while the machine ran on for two seconds.
        assert_eq!(clocks(107 * DAY, "a", 7000).since(&then), 3000);
        assert_eq!(clocks(93 * DAY, "a", 7000).since(&then), 3000);
        // Another boot has only the time of day to go by, and never goes back.
        assert_eq!(clocks(108 * DAY, "b", 10).since(&then), 8 * DAY + 1000);
        assert_eq!(clocks(0, "b", 10).since(&then), 1000);
    }
}
