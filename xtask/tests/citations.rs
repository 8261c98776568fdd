//! Citations, `[Key20, Eq. 1; Other21]` in brackets, and the Sources tables that say what the keys mean: one in the
//! documentation of every crate that cites, one row a key, one work for a key everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What is read: sources, presets, scripts, documents.
const READ: [&str; 7] = ["rs", "toml", "md", "py", "sh", "js", "txt"];

/// A Sources table: the work that each key stands for.
type Table = BTreeMap<String, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every crate's folder.
fn crates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// Text files in a folder and below, built and borrowed ones left out; or the one file itself.
fn texts(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let inside = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let skipped = |path: &Path| path.ends_with("target") || path.ends_with("node_modules") || path.is_symlink();
        return inside.filter(|path| !skipped(path)).flat_map(|path| texts(&path)).collect();
    }
    let known = path.extension().is_some_and(|e| READ.iter().any(|read| e == *read));
    if known { vec![path.to_path_buf()] } else { Vec::new() }
}

/// Rows of the table below the heading `Sources`, in the documentation of the crate.
fn table(folder: &Path) -> (PathBuf, Table) {
    let path = ["src/lib.rs", "src/main.rs"].map(|f| folder.join(f)).into_iter().find(|f| f.is_file()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let doc = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let below = doc.skip_while(|line| line.trim_start_matches('#') != " Sources").skip(4);
    let mut table = Table::new();
    for line in below.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, work] = cells[..] else { panic!("{}: not a row of two cells: {line}", path.display()) };
        let before = table.insert(key.into(), work.into());
        assert_eq!(before, None, "{}: `{key}` has two rows", path.display());
    }
    (path, table)
}

/// Whether a word has the form of a key: a name, two digits of a year, perhaps a letter.
fn is_key(word: &str) -> bool {
    let year = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let name = year.trim_end_matches(|c: char| c.is_ascii_digit());
    word.len() - year.len() <= 1
        && year.len() - name.len() == 2
        && name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphabetic())
}

/// Keys cited in a text: the first word of each part of a bracket, parts being divided by semicolons. Words that `known`
/// has count whatever their form.
fn cited(text: &str, known: &Table) -> BTreeSet<String> {
    let text = text.replace("\\]", "]");
    let mut keys = BTreeSet::new();
    for open in text.match_indices('[').map(|(at, _)| at + 1) {
        let Some(inside) = text[open..].split(']').next().filter(|inside| inside.len() < 300) else { continue };
        for part in inside.split(';') {
            // A citation may go on in the next line of a comment.
            let part = part.trim_start_matches(|c: char| c.is_whitespace() || "/!#".contains(c));
            let word = part.split(|c: char| c == ',' || c.is_whitespace()).next().unwrap_or("");
            if is_key(word) || known.contains_key(word) {
                keys.insert(word.to_owned());
            }
        }
    }
    keys
}

fn cited_in(folder: &Path, known: &Table) -> BTreeMap<String, PathBuf> {
    let of = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        cited(&text, known).into_iter().map(move |key| (key, path.clone()))
    };
    texts(folder).into_iter().flat_map(of).collect()
}

/// All tables in one.
fn works() -> Table {
    crates().iter().flat_map(|folder| table(folder).1).collect()
}

#[test]
fn citations_are_seen_in_every_form() {
    let known = Table::from([("DLMF".to_owned(), String::new())]);
    let text = "/// as in \\[Ho20\\], [Song21c, Eq. 12;\n/// Luo23], `Xue23` and [DLMF, 8.17]; not [`Walk`], [f32; 16], [KB12a3] or [A4]";
    let keys: Vec<String> = cited(text, &known).into_iter().collect();
    assert_eq!(keys, ["DLMF", "Ho20", "Luo23", "Song21c"]);
}

/// A reader of one crate's documentation finds every work that it cites, and none that it does not.
#[test]
fn every_crate_lists_what_it_cites() {
    for folder in crates() {
        let (path, table) = table(&folder);
        let cited = cited_in(&folder, &table);
        for (key, place) in &cited {
            assert!(table.contains_key(key), "{} cites [{key}]; add its row to {}", place.display(), path.display());
        }
        let idle: Vec<&String> = table.keys().filter(|key| !cited.contains_key(*key)).collect();
        assert!(idle.is_empty(), "{} lists what the crate does not cite: {idle:?}", path.display());
    }
}

#[test]
fn a_key_is_one_work_everywhere() {
    let mut works: BTreeMap<String, (PathBuf, String)> = BTreeMap::new();
    for folder in crates() {
        let (path, table) = table(&folder);
        for (key, work) in table {
            let (first, other) = works.entry(key.clone()).or_insert_with(|| (path.clone(), work.clone()));
            assert_eq!(work, *other, "[{key}] is not one work in {} and {}", path.display(), first.display());
        }
    }
}

/// `[Key20]` is the one way to cite: names with a year in brackets would escape the other tests.
#[test]
fn nothing_is_cited_by_name_and_year() {
    let year = |word: &str| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
        word.len() == 4
            && ["18", "19", "200", "201", "202"].iter().any(|c| word.starts_with(c))
            && word.bytes().all(|b| b.is_ascii_digit())
    };
    for path in texts(&root().join("crates")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            for inside in line.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
                let mut words = inside.split_whitespace();
                let name = words.next().is_some_and(|w| w.starts_with(|c: char| c.is_ascii_uppercase()) && w.len() > 2);
                assert!(!(name && words.any(year)), "{}: [{inside}]: cite by a key", path.display());
            }
        }
    }
}

/// Documents and scripts cite only what some crate lists.
#[test]
fn documents_cite_what_is_listed() {
    let known = works();
    for place in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "bench", "xtask"] {
        let own = root().join("xtask/tests");
        let cited = cited_in(&root().join(place), &known);
        for (key, path) in cited.iter().filter(|(_, path)| !path.starts_with(&own)) {
            assert!(known.contains_key(key), "{} cites [{key}], which no crate lists", path.display());
        }
    }
}
