//! How much memory there is, and whether what is asked for fits.

/// What was asked for needs more memory than there is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} needs about {} of memory, and this machine has {} left", human(*.bytes), human(*.spare))]
pub struct TooLarge {
    /// What was asked for, in the words that it was asked in.
    pub what: String,
    /// What it needs, in bytes: an estimate.
    pub bytes: u64,
    /// What there is, in bytes.
    pub spare: u64,
}

/// Whether the memory is there for `what`, which needs about `bytes`. Nothing is taken. Where the system does not say how
/// much there is, everything passes.
///
/// # Errors
/// Less is there.
pub fn afford(what: &str, bytes: u64) -> Result<(), TooLarge> {
    within(what, bytes, spare())
}

fn within(what: &str, bytes: u64, spare: Option<u64>) -> Result<(), TooLarge> {
    match spare {
        Some(spare) if bytes > spare => Err(TooLarge { what: what.to_owned(), bytes, spare }),
        _ => Ok(()),
    }
}

/// A number of bytes for people: `74 TB`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut amount = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if amount < 999.5 {
            break;
        }
        (amount, unit) = (amount / 1e3, larger);
    }
    match (unit, amount) {
        ("bytes", _) => format!("{bytes} bytes"),
        ("PB", 1e3..) => "more than 1000 PB".into(),
        (_, 9.95..) => format!("{amount:.0} {unit}"),
        _ => format!("{amount:.1} {unit}"),
    }
}

/// Bytes that this process may still take: 80 % of what the system and its control group leave. `None` where the system
/// does not say.
pub fn spare() -> Option<u64> {
    let available = kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let left = group_left().map_or(available, |left| left.min(available));
    Some(left / 5 * 4)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What the control group (a container's, mostly) has left; `None` without a limit.
fn group_left() -> Option<u64> {
    // Version 2, then version 1.
    const FILES: [[&str; 2]; 2] = [
        ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"],
        ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"],
    ];
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    FILES.iter().find_map(|[limit, used]| Some(number(limit)?.saturating_sub(number(used)?)))
}

/// The resident memory of this process and the most that it has been, in bytes.
pub fn resident() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some((kilobytes(&status, "VmRSS:")?, kilobytes(&status, "VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(8_000_000 << 10));
        assert_eq!(kilobytes(text, "Swap:"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_price_and_what_there_is() {
        assert_eq!(within("`-n 1`", 21, Some(21)), Ok(()));
        assert_eq!(within("`-n 1`", u64::MAX, None), Ok(()));
        let refused = within("`--size 100000x100000`", 74_100_000_000_000, Some(21_000_000_000)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`--size 100000x100000` needs about 74 TB of memory, and this machine has 21 GB left"
        );
    }

    #[test]
    fn amounts_for_people() {
        let cases = [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (9_949, "9.9 kB"), (12_345_678, "12 MB")];
        for (bytes, shown) in cases {
            assert_eq!(human(bytes), shown);
        }
        assert_eq!(human(u64::MAX), "more than 1000 PB");
    }
}
