//! Foreign text for terminals, and bytes as text.

use std::borrow::Cow;

/// Text of others as one line that is safe to print: what would break the line, drive the terminal or reorder what is
/// read is written as Rust writes it in a string (`\n`, `\u{1b}`). Everything else, backslashes too, stays as it is.
pub fn escaped(text: &str) -> Cow<'_, str> {
    visible(text, "")
}

/// As [`escaped`], but for the characters in `kept`, such as `"\n\t"` for text of several lines.
pub fn visible<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let acts = |c: char| steers(c) && !kept.contains(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let write = |c: char| if acts(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(write).collect())
}

/// Control characters \[Unicode, category Cc\], and those that are not seen and change how others are.
pub fn steers(c: char) -> bool {
    let unseen = ['\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{feff}'];
    let ranges = ['\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{e0000}'..='\u{e007f}'];
    c.is_control() || unseen.contains(&c) || ranges.iter().any(|range| range.contains(&c))
}

/// Bytes in hexadecimal, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_act() {
        assert_eq!(escaped("a\nb\t\u{1b}[2J\u{9b}\u{202e}gpj"), "a\\nb\\t\\u{1b}[2J\\u{9b}\\u{202e}gpj");
        for same in ["", "C:\\photos", "M\u{e4}use \u{732b} \u{1f468}\u{200d}\u{1f467}", "\"quoted\""] {
            assert!(matches!(escaped(same), Cow::Borrowed(text) if text == same), "{same}");
        }
    }
}
