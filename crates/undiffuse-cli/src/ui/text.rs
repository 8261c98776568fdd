//! Numbers and paths as a person reads them.

use std::path::Path;

/// `1h02m`, `3m05s`, `12s`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.1234`, `12.34`, `3.0e-4`: about four digits in at most seven columns.
pub fn number(v: f64) -> String {
    match v.abs() {
        a if !a.is_finite() => v.to_string(),
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{v:.1e}"),
        a if a < 10.0 => format!("{v:.4}"),
        a if a < 1000.0 => format!("{v:.2}"),
        _ => format!("{v:.0}"),
    }
}

/// A speed: `182`, `9.4`, `0.37`.
pub fn speed(v: f64) -> String {
    match v {
        v if v < 1.0 => format!("{v:.2}"),
        v if v < 20.0 => format!("{v:.1}"),
        _ => format!("{v:.0}"),
    }
}

/// A path that can be pasted into a shell.
pub fn shell(path: &Path) -> String {
    crate::output::command_line(&[path.display().to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.4, 59.6, 185.0, 3720.0].map(duration), ["0s", "1m00s", "3m05s", "1h02m"]);
        assert_eq!([0.0, 0.12345, 12.345, 3e-4].map(number), ["0", "0.1235", "12.35", "3.0e-4"]);
        assert_eq!(shell(Path::new("runs/a b")), "'runs/a b'");
        assert_eq!(shell(Path::new("runs/cats-2")), "runs/cats-2");
    }
}
