//! What folders are called by clients: names in the letters of an address, looked up and never joined to a path.

use std::collections::BTreeMap;
use std::path::Path;

/// The name of a folder in the letters of an address; `other` where it has none of its own.
pub(crate) fn name(path: &Path, other: &str) -> String {
    let path = path.canonicalize().ok().filter(|_| path.file_name().is_none()).unwrap_or_else(|| path.to_owned());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    match name.trim_start_matches('.').chars().map(safe).collect::<String>() {
        name if name.is_empty() => other.into(),
        name => name,
    }
}

/// Whether it is what an interrupted saving has left, and no model of anybody's.
pub(crate) fn is_left(path: &Path) -> bool {
    path.file_name().is_some_and(|name| undiffuse::files::is_temporary(&name.to_string_lossy()))
}

/// Puts it in by its name, the second of a name as `name-2`, and so on.
pub(crate) fn insert<T>(all: &mut BTreeMap<String, T>, name: String, value: T) {
    let ids = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
    if let Some(id) = { ids }.find(|id| !all.contains_key(id)) {
        all.insert(id, value);
    }
}
