//! The top modules of each crate use each other one way only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rust files at a path and below.
fn sources(path: &Path) -> Vec<PathBuf> {
    match fs::read_dir(path) {
        Ok(inside) => inside.flat_map(|entry| sources(&entry.unwrap().path())).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

/// A file outside of comments and of its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The names in a text, in order.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

/// What follows `prefix` in a text: a name, or those between braces.
fn behind<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let named = |rest: &'a str| match rest.strip_prefix('{') {
        Some(several) => names(several.split('}').next().unwrap_or_default()).collect(),
        None => names(rest).take(1).collect::<Vec<_>>(),
    };
    text.split(prefix).skip(1).flat_map(named).collect()
}

/// The module that each name in the crate's root comes from.
fn reexported(root: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let uses = ["\npub use ", "\npub(crate) use "].into_iter().flat_map(|word| root.split(word).skip(1));
    let paths = uses.filter_map(|rest| rest.split_once(';')).map(|(path, _)| path);
    let pairs = paths.flat_map(|path| {
        let mut all = names(path).skip_while(|name| ["self", "crate"].contains(name));
        let module = all.next().filter(|name| modules.contains(*name));
        let all: Vec<&str> = if module.is_some() { all.collect() } else { Vec::new() };
        all.into_iter().map(move |name| (name.to_owned(), module.unwrap_or_default().to_owned()))
    });
    pairs.collect()
}

/// The top modules of a crate, and the others that each needs.
fn uses(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let top = |file: &Path| {
        let inside = file.strip_prefix(root).unwrap().components().next().unwrap();
        inside.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let files = sources(root).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs"));
    let (roots, files): (Vec<PathBuf>, Vec<PathBuf>) = files.partition(|file| ["lib", "main"].contains(&&*top(file)));
    let modules: BTreeSet<String> = files.iter().map(|file| top(file)).collect();
    let exports: BTreeMap<_, _> = roots.iter().flat_map(|file| reexported(&code(file), &modules)).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let (module, code) = (top(file), code(file));
        let beside = file.parent() == Some(root);
        let named =
            behind(&code, "crate::").into_iter().chain(if beside { behind(&code, "super::") } else { Vec::new() });
        let others = named.filter_map(|name| modules.get(name).or_else(|| exports.get(name)));
        uses.entry(module.clone()).or_default().extend(others.filter(|name| **name != module).cloned());
    }
    uses
}

#[test]
fn no_module_needs_itself() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut cycles = BTreeMap::new();
    for entry in fs::read_dir(&crates).unwrap() {
        let entry = entry.unwrap();
        let mut uses = uses(&entry.path().join("src"));
        if entry.file_name() == "undiffuse" {
            assert!(uses["train"].contains("model"), "the graph is read: {uses:?}");
            assert!(uses["request"].contains("model"), "names in the root are looked up: {uses:?}");
        }
        // Modules that use none that is left are laid aside until none is left, or a cycle.
        while let Some(done) = uses.iter().find(|(_, others)| others.is_empty()).map(|(name, _)| name.clone()) {
            uses.remove(&done);
            for others in uses.values_mut() {
                others.remove(&done);
            }
        }
        if !uses.is_empty() {
            cycles.insert(entry.file_name(), uses);
        }
    }
    assert!(cycles.is_empty(), "modules that need each other, and who needs them: {cycles:#?}");
}
