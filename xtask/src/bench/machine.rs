//! What the figures were taken on.

use std::fs;
use std::process::Command;

/// Processor, cores, vector instructions, memory, system, and how busy it was before the first measurement.
pub fn describe(load: Option<f64>) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |key: &str| {
        let line = cpu.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let mut name = of("model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    if let (Some(family), Some(model)) = (of("cpu family"), of("model")) {
        name += &format!(" (family {family}, model {model})");
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let memory = memory.map_or(String::new(), |kb: f64| format!(", {:.0} GiB of memory", kb / 1024.0 / 1024.0));
    let load = load.map_or(String::new(), |load| format!("; load before the first measurement {load:.2}"));
    format!("{name}, {cores} cores, {}{memory}, {}{load}", simd(), says("uname", "-sr").unwrap_or_default())
}

/// Processes that ran or wanted to, averaged over the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Processor time so far, in ticks: of everything and the hypervisor's other guests, and of our ended children.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    all: f64,
    busy: f64,
    children: f64,
}

impl Ticks {
    /// Now; none where there is no `/proc`.
    pub fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?, &fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn read(system: &str, own: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guests are counted in user.
        let ticks: Vec<f64> = system.lines().next()?.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let all = ticks.iter().sum::<f64>();
        let busy = all - ticks.get(3)? - ticks.get(4)?;
        // After the name in brackets, which may hold spaces: the 14th and 15th are our children's user and system time.
        let mut own = own.rsplit_once(')')?.1.split_whitespace().skip(13).flat_map(str::parse::<f64>);
        Some(Self { all, busy, children: own.next()? + own.next()? })
    }

    /// Which share of the machine others than our children had since `before`.
    pub fn neighbours_since(self, before: Self) -> f64 {
        let others = (self.busy - before.busy) - (self.children - before.children);
        (others / (self.all - before.all).max(1.0)).clamp(0.0, 1.0)
    }
}

/// Today, UTC.
pub fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.ok().and_then(|o| String::from_utf8(o.stdout).ok()).map_or(String::new(), |text| text.trim().to_owned())
}

fn says(program: &str, word: &str) -> Option<String> {
    let output = Command::new(program).arg(word).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The widest vectors that this processor multiplies and adds.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn simd() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "AVX2 and FMA"
    } else {
        "neither AVX2 nor AVX-512"
    }
}

#[cfg(target_arch = "aarch64")]
fn simd() -> &'static str {
    "NEON"
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> &'static str {
    "no vector instructions known here"
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    #[test]
    fn neighbours_are_what_is_busy_and_not_ours() {
        let before =
            Ticks::read("cpu  100 0 50 800 20 0 5 25 0 0\ncpu0 1 2", "7 (x task) S 1 7 7 0 0 0 0 0 0 0 9 9 40 10 20 0")
                .unwrap();
        // 200 ticks go by: 160 busy (150 user, 10 steal), 40 idle; our children had 100 + 20 of them.
        let after =
            Ticks::read("cpu  250 0 50 840 20 0 5 35 0 0", "7 (x task) S 1 7 7 0 0 0 0 0 0 0 9 9 140 30 20 0").unwrap();
        assert!((after.neighbours_since(before) - 40.0 / 200.0).abs() < 1e-9);
        assert!(Ticks::read("", "").is_none());
    }
}
