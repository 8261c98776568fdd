//! What commands print and write: tables, lists of facts, numbers, commands to copy.
//!
//! Whatever is printed may hold names and texts from files of strangers: everything goes out through here, where characters
//! that would steer a terminal become visible.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
pub use undiffuse::data::text::escaped;
use undiffuse::data::text::{steers, visible};
pub use undiffuse::files::{at, write};

use crate::common::usage;

/// Writes to standard output. A reader that has seen enough (`… | head`) is no error.
pub fn show(text: &str) -> anyhow::Result<()> {
    write_out(&visible(text, "\n\t"))
}

fn write_out(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes a JSON document to standard output, as the same document with nothing in it that a terminal would obey.
pub fn show_json(value: &Value) -> anyhow::Result<()> {
    let mut text = String::new();
    // What is left of these outside of strings is the layout.
    for c in format!("{value:#}\n").chars() {
        match steers(c) && c != '\n' {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(text, "\\u{unit:04x}");
            }),
            false => text.push(c),
        }
    }
    write_out(&text)
}

/// Writes a line to standard error. That nobody reads it is no error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", visible(text, "\n\t"));
}

/// Refuses a place to write to that is one of the files to be read: asked before anything is done. `option` names the place.
pub fn keep(option: &str, out: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    let real = out.canonicalize().ok();
    let same = |input: &PathBuf| real.is_some() && real == input.canonicalize().ok();
    match inputs.iter().any(same) {
        true => Err(usage(format!(
            "{} is to be read, and would be overwritten: name another file with {option}",
            out.display()
        ))),
        false => Ok(()),
    }
}

/// Columns aligned to the right under their names, two spaces apart.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |k: usize| {
        let cells = rows.iter().filter_map(|row| row.get(k)).map(|cell| cell.chars().count());
        cells.chain([header[k].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        cells.join("  ") + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    rows.iter().for_each(|row| text += &line(&mut row.iter().map(String::as_str)));
    text
}

/// Lines of `name   value`; the lines of a value stand under each other, and names may be empty.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = facts.iter().flat_map(|(name, value)| {
        let lines = value.lines().enumerate();
        lines.map(move |(k, line)| format!("{:<width$}  {line}\n", if k == 0 { name } else { "" }))
    });
    lines.collect()
}

/// A number for a table: about six digits, `0` for exactly zero.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size.is_finite() && !(1e-4..1e6).contains(&size) => format!("{value:.4e}"),
        _ => format!("{value:.6}"),
    }
}

/// `1 234 567` as `1.23 M`.
pub fn millions(n: usize) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        _ => format!("{:.2} M", n as f64 / 1e6),
    }
}

/// A path's last part without the ending of a picture or an archive: `a/cats.tar.gz` is `cats`.
pub fn stem(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned());
    if path.is_dir() {
        return name;
    }
    let endings = [".gz", ".tgz", ".tar", ".zip"];
    let bare = endings.iter().fold(name.as_str(), |name, ending| name.strip_suffix(ending).unwrap_or(name));
    let cut = if bare == name { bare.rsplit_once('.').map(|(stem, _)| stem) } else { Some(bare) };
    cut.filter(|stem| !stem.is_empty()).unwrap_or(&name).to_owned()
}

/// A command as a shell takes it; words with control characters as `bash` and `zsh` do.
pub fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else if word.chars().any(steers) {
            format!("$'{}'", word.chars().map(quoted).collect::<String>())
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// A character between `$'` and `'`.
fn quoted(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        c if steers(c) => c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["1".into(), "0.5".into()], vec!["10".into(), "-0.25".into()]];
        assert_eq!(table(&["n", "σ"], &rows), " n      σ\n 1    0.5\n10  -0.25\n");
        assert_eq!(facts(&[("a", "x\ny".into()), ("long", "z".into())]), "a     x\n      y\nlong  z\n");
    }

    #[test]
    fn numbers() {
        let shown: Vec<_> = [0.0, 1.0, -0.5, 1e-9, 2.5e7, f64::INFINITY].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "1.000000", "-0.500000", "1.0000e-9", "2.5000e7", "inf"]);
    }

    #[test]
    fn names_and_commands() {
        for (path, name) in [("a/cats.tar.gz", "cats"), ("b.c.zip", "b.c"), ("x/cat.jpg", "cat"), (".png", ".png")] {
            assert_eq!(stem(Path::new(path)), name);
        }
        let words = ["undiffuse".into(), "it's here.png".into(), "--size=3".into(), String::new()];
        assert_eq!(command_line(&words), r"undiffuse 'it'\''s here.png' --size=3 ''");
        assert_eq!(command_line(&["\u{9b}2J\u{202e}\\'".into()]), r"$'\xc2\x9b2J\xe2\x80\xae\\\''");
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        let hostile = "a\x1b[2J\u{9b}31m\r\nb\tc\x7f\u{202e}d";
        assert_eq!(escaped(hostile), r"a\u{1b}[2J\u{9b}31m\r\nb\tc\u{7f}\u{202e}d");
        assert_eq!(visible(hostile, "\n\t"), "a\\u{1b}[2J\\u{9b}31m\\r\nb\tc\\u{7f}\\u{202e}d");
        // Names in any script and their combined signs stay as they are.
        for name in ["Übermut", "न\u{94d}दी", "家族 \u{1f468}\u{200d}\u{1f469}"] {
            assert_eq!(escaped(name), name);
        }
    }
}
