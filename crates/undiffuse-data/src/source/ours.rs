//! What undiffuse itself has written among the data: runs, models and reports hold pictures that nobody wants to train on.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{Role, role};

/// A kind of folder, and the files that all of its kind have and hardly any other folder.
const KINDS: &[(&str, &[&str])] = &[
    ("run", &["config.toml", "metrics.jsonl"]),
    ("model", &["model_index.json"]),
    ("model", &["undiffuse.json"]),
    ("report", &["report.html", "report.json"]),
    ("report", &["nll.json"]),
];

/// Folders of our own below the root, the outermost only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ours(BTreeMap<String, &'static str>);

impl Ours {
    /// Looks through the names of all files. The root is the person's choice, whatever it is.
    pub fn among<'a>(names: impl Iterator<Item = &'a str>) -> Ours {
        let telling = |base: &str| KINDS.iter().any(|(_, files)| files.contains(&base));
        let mut held: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (folder, base) in names.filter_map(|name| name.rsplit_once('/')).filter(|(_, base)| telling(base)) {
            held.entry(folder).or_default().insert(base);
        }
        let mut ours = Ours::default();
        for (folder, files) in held {
            let kind = KINDS.iter().find(|(_, all)| all.iter().all(|file| files.contains(file)));
            if let Some((kind, _)) = kind.filter(|_| !ours.holds(&format!("{folder}/"))) {
                ours.0.insert(folder.to_owned(), kind);
            }
        }
        ours
    }

    /// Whether a file lies in one of them.
    pub fn holds(&self, name: &str) -> bool {
        let inside = |folder: &String| name.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.0.keys().any(inside)
    }

    /// Takes the files in them out of `files`; returns a sentence about it where that costs pictures.
    pub fn remove<T>(&self, files: &mut Vec<T>, name: impl Fn(&T) -> &str) -> Option<String> {
        let all = files.len();
        let pictures = files.iter().filter(|file| self.holds(name(file)) && role(name(file)) == Role::Picture).count();
        files.retain(|file| !self.holds(name(file)));
        (files.len() < all).then(|| self.note(pictures)).flatten()
    }

    /// As [`remove`](Self::remove), for names whose places count: those that are left out become empty.
    pub fn hide(&self, names: &mut [String]) -> Option<String> {
        let mut pictures = 0;
        for name in names.iter_mut().filter(|name| self.holds(name)) {
            pictures += usize::from(role(name) == Role::Picture);
            name.clear();
        }
        self.note(pictures)
    }

    fn note(&self, pictures: usize) -> Option<String> {
        let (first, kind) = self.0.iter().next().filter(|_| pictures > 0)?;
        let folders = if self.0.len() == 1 { "folder" } else { "folders" };
        let count = self.0.len();
        let images = crate::error::images(pictures);
        Some(format!("left out {count} {folders} that undiffuse wrote (first: the {kind} {first}), with {images}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_models_and_reports_below_the_root() {
        let names = [
            "a.png",
            "config.toml",
            "metrics.jsonl",
            "cats/config.toml",
            "cats/b.png",
            "runs/cats/config.toml",
            "runs/cats/metrics.jsonl",
            "runs/cats/model/model_index.json",
            "runs/cats/samples/0001.png",
            "runs/cats-2/c.png",
            "eval/x/report.html",
            "eval/x/report.json",
            "eval/x/d.png",
            "m/undiffuse.json",
        ];
        let ours = Ours::among(names.into_iter());
        assert_eq!(
            ours.0.iter().map(|(f, k)| (f.as_str(), *k)).collect::<Vec<_>>(),
            [("eval/x", "report"), ("m", "model"), ("runs/cats", "run")]
        );
        let mut files = names.to_vec();
        let note = ours.remove(&mut files, |name| name).unwrap();
        assert_eq!(note, "left out 3 folders that undiffuse wrote (first: the report eval/x), with 2 images");
        assert_eq!(
            files,
            ["a.png", "config.toml", "metrics.jsonl", "cats/config.toml", "cats/b.png", "runs/cats-2/c.png"]
        );
        assert_eq!(Ours::among(["x/a.png"].into_iter()).remove(&mut files, |name| name), None);
    }
}
