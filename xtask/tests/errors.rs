//! Every public function of a library that can fail says when: a section `# Errors` in its documentation.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| if path.is_dir() { sources(path) } else { vec![path.clone()] }).collect()
}

/// Names of public functions that return a `Result` and do not say when it is an error, with their lines.
fn silent(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let Some(rest) = ["pub fn ", "pub async fn ", "pub const fn "].iter().find_map(|word| words.strip_prefix(word))
        else {
            continue;
        };
        let signature: String = lines[i..].iter().take_while(|line| !line.contains("where")).take(40).fold(
            String::new(),
            |signature, line| {
                let done = signature.ends_with('{') || signature.ends_with(';');
                if done { signature } else { signature + line.trim() }
            },
        );
        let fallible = signature.rsplit_once("->").is_some_and(|(_, returned)| returned.contains("Result<"));
        let above = lines[..i].iter().rev().map(|line| line.trim_start());
        let mut above =
            above.take_while(|line| line.starts_with("///") || line.starts_with("#[") || line.starts_with(')'));
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        // The two that serde calls by name fail as serde has it.
        let ours = !["serialize", "deserialize"].contains(&name);
        if fallible && ours && !above.any(|line| line == "/// # Errors") {
            found.push((i + 1, name.to_owned()));
        }
    }
    found
}

#[test]
fn what_can_fail_says_when() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates");
    let mut found = Vec::new();
    let folders = fs::read_dir(&crates).unwrap().map(|entry| entry.unwrap().path().join("src"));
    for folder in folders.filter(|folder| folder.join("lib.rs").is_file()) {
        for path in sources(&folder).into_iter().filter(|path| path.extension().is_some_and(|word| word == "rs")) {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&crates).unwrap().display().to_string();
            found.extend(silent(&text).into_iter().map(|(line, function)| format!("{name}:{line}: {function}")));
        }
    }
    found.sort();
    assert!(found.is_empty(), "{} functions say nothing of their errors:\n{}", found.len(), found.join("\n"));
}

#[test]
fn silence_is_found() {
    let loud = "/// Opens.\n///\n/// # Errors\n/// Nothing there.\n#[must_use]\npub fn open(path: &Path) -> Result<File, Error> {\n";
    assert_eq!(silent(loud), []);
    let silent_one = "/// Opens.\npub fn open(\n    path: &Path,\n) -> io::Result<File> {\n";
    assert_eq!(silent(silent_one), [(2, "open".to_owned())]);
    assert_eq!(silent("/// Opens.\npub fn open(path: &Path) -> Option<File> {\n    let it: Result<u8, u8> = 3;\n"), []);
}
