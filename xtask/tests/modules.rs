//! The top modules of `undiffuse` use each other one way only.

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

/// The top modules that a file names behind `crate::`, outside of comments and of its tests.
fn used(file: &Path, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let names = lines.flat_map(|line| line.split("crate::").skip(1)).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        // The crate's root has the most used type of one module.
        if &rest[..end] == "Model" { "model".to_owned() } else { rest[..end].to_owned() }
    });
    names.filter(|name| modules.contains(name)).collect()
}

#[test]
fn no_module_needs_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/undiffuse/src");
    let files = sources(&root).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs"));
    let top = |file: &Path| {
        let inside = file.strip_prefix(&root).unwrap().components().next().unwrap();
        inside.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let files: Vec<PathBuf> = files.filter(|file| top(file) != "lib").collect();
    let modules: BTreeSet<String> = files.iter().map(|file| top(file)).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let module = top(file);
        let others = used(file, &modules).into_iter().filter(|name| *name != module);
        uses.entry(module.clone()).or_default().extend(others);
    }
    assert!(uses["train"].contains("model"), "the graph is read: {uses:?}");
    // Modules that use none that is left are laid aside until none is left, or a cycle.
    while let Some(done) = uses.iter().find(|(_, others)| others.is_empty()).map(|(name, _)| name.clone()) {
        uses.remove(&done);
        for others in uses.values_mut() {
            others.remove(&done);
        }
    }
    assert!(uses.is_empty(), "modules that need each other, and who needs them: {uses:#?}");
}
