//! Names of jobs, and the time of day.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// Makes ids that sort by the time they were made and that nobody can guess: microseconds since 1970 and 64 random bits, in
/// hexadecimal.
#[derive(Debug, Default)]
pub struct Ids {
    last: AtomicU64,
}

impl Ids {
    /// A new id.
    ///
    /// # Errors
    /// A system that has no random numbers to give.
    pub fn next(&self) -> Result<String, String> {
        let micros = (now() * 1e6) as u64;
        let later = |last| Some(micros.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or_else(|last| last);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| format!("the system has no random numbers: {e}"))?;
        Ok(format!("{:014x}{:016x}", micros.max(last + 1), u64::from_le_bytes(random)))
    }
}

/// Whether a text can be an id, so that nothing else is ever looked up.
pub fn is_id(text: &str) -> bool {
    text.len() == 30 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let ids = Ids::default();
        let made: Vec<String> = (0..1000).map(|_| ids.next().unwrap()).collect();
        assert!(made.is_sorted_by(|a, b| a[..14] < b[..14]), "{made:?}");
        assert!(made.iter().all(|id| is_id(id)));
        let mut tails: Vec<&str> = made.iter().map(|id| &id[14..]).collect();
        tails.sort_unstable();
        tails.dedup();
        assert_eq!(tails.len(), 1000);
        assert!(!is_id("../../../../etc/passwd........") && !is_id(""));
    }
}
