//! How much memory there is, and how much a network needs.

use undiffuse::nn::UNet2DConfig;

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

/// Bytes of features that one picture `[C, H, W]` takes while it passes through the network: what the skips keep, and the
/// largest maps in work. An estimate, on the safe side.
pub fn features(config: &UNet2DConfig, [_, height, width]: [usize; 3]) -> u64 {
    let stage =
        |(level, &channels): (usize, &usize)| (channels * (height >> level).max(1) * (width >> level).max(1)) as u64;
    let maps: Vec<u64> = config.block_out_channels.iter().enumerate().map(stage).collect();
    let skips = maps.iter().sum::<u64>() * (config.layers_per_block as u64 + 2);
    let largest = maps.iter().max().copied().unwrap_or(0);
    4 * (skips + 6 * largest)
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

    /// Two stages of 8 and 16 channels at 4x4 and 2x2: maps of 128 and 64 values.
    #[test]
    fn features_count_the_skips_and_the_largest_map() {
        let config = UNet2DConfig { block_out_channels: vec![8, 16], layers_per_block: 1, ..UNet2DConfig::default() };
        assert_eq!(features(&config, [3, 4, 4]), 4 * (192 * 3 + 6 * 128));
    }
}
