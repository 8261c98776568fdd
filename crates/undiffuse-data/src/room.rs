//! How much room there is, so that what does not fit is refused before it is begun.

use std::path::Path;

/// Bytes free on the disk of `folder`, or of the nearest folder above it that is there; nothing where the system does not say.
pub(crate) fn on_disk(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    {
        let facts = rustix::fs::statvfs(there).ok()?;
        facts.f_bavail.checked_mul(facts.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = there;
        None
    }
}

/// Bytes of memory that could be had; nothing where the system does not say.
pub(crate) fn in_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_some_room() {
        let missing = std::env::temp_dir().join("made/when/missing");
        assert!(on_disk(&missing).is_some_and(|bytes| bytes > 0));
        assert!(in_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
