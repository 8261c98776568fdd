//! COCO's `captions_train2017.json`: pictures by number, and captions by the numbers of their pictures \[Chen15\].

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::metadata::Row;

/// What of such a file is read.
#[derive(Deserialize)]
struct Table {
    images: Vec<Picture>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Picture {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    caption: String,
}

/// What a file with this name (lower case, without folders) is called after `captions_`, such as `train2017`; nothing if it is no
/// such table.
pub(super) fn split(name: &str) -> Option<&str> {
    name.strip_prefix("captions_")?.strip_suffix(".json")
}

/// The captions of each picture in the order of the file.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let table: Table = serde_json::from_str(text).map_err(|e| format!("{e}; expected `images` and `annotations`"))?;
    let mut captions: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for Annotation { image_id, caption } in table.annotations {
        captions.entry(image_id).or_default().push(caption);
    }
    let row = |Picture { id, file_name }| {
        let captions = captions.remove(&id).unwrap_or_default();
        Row { file: file_name, captions, label: None }
    };
    let rows: Vec<Row> = table.images.into_iter().map(row).collect();
    match captions.first_key_value() {
        None => Ok(rows),
        Some((id, _)) => Err(format!("a caption is of picture {id}, which is not among its `images`")),
    }
}

/// Where the pictures of such tables lie: the tables say their names only, and lie elsewhere.
pub(super) struct Places<'a> {
    by_base: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Places<'a> {
    pub fn of(names: &'a [String]) -> Places<'a> {
        let mut by_base: HashMap<&str, Vec<&str>> = HashMap::new();
        for name in names {
            by_base.entry(name.rsplit('/').next().unwrap_or(name)).or_default().push(name);
        }
        Places { by_base }
    }

    /// The file that a table called after `split` means: the only one of that name, or the one in a folder `split`.
    pub fn find(&self, file: &str, split: &str) -> Option<&'a str> {
        let base = file.rsplit('/').next().unwrap_or(file);
        let ends = |name: &&&str| name.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
        let found: Vec<&'a str> = self.by_base.get(base)?.iter().filter(ends).copied().collect();
        let within = |name: &&&str| name.split('/').rev().skip(1).any(|folder| folder.to_lowercase() == split);
        match &found[..] {
            [one] => Some(one),
            several => several.iter().find(within).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_join_their_pictures() {
        let text = r#"{"info": {"year": 2017}, "licenses": [], "images": [
            {"license": 4, "file_name": "000000397133.jpg", "height": 427, "width": 640, "id": 397133},
            {"file_name": "b.jpg", "id": 7}, {"file_name": "c.jpg", "id": 9}],
            "annotations": [{"image_id": 7, "id": 1, "caption": "one\n"},
            {"image_id": 397133, "id": 2, "caption": "A cook."}, {"image_id": 7, "id": 3, "caption": "two"}]}"#;
        let row = |file: &str, captions: &[&str]| Row {
            file: file.into(),
            captions: captions.iter().map(|caption| caption.to_string()).collect(),
            label: None,
        };
        let expected = [row("000000397133.jpg", &["A cook."]), row("b.jpg", &["one\n", "two"]), row("c.jpg", &[])];
        assert_eq!(rows(text).unwrap(), expected);
        let lost = rows(r#"{"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}"#).unwrap_err();
        assert!(lost.contains("picture 3, which is not among"), "{lost}");
        assert!(rows(r#"{"images": []}"#).unwrap_err().contains("`annotations`"));
    }

    #[test]
    fn pictures_are_found_by_name_and_split() {
        let names =
            ["train2017/a.jpg", "val2017/a.jpg", "val2017/b.jpg", "x/val2017/c.jpg", "y/c.jpg"].map(String::from);
        let places = Places::of(&names);
        assert_eq!(places.find("a.jpg", "train2017"), Some("train2017/a.jpg"));
        assert_eq!(places.find("a.jpg", "val2017"), Some("val2017/a.jpg"));
        assert_eq!(places.find("b.jpg", "other"), Some("val2017/b.jpg"));
        assert_eq!(places.find("val2017/c.jpg", "other"), Some("x/val2017/c.jpg"));
        assert_eq!(places.find("c.jpg", "val2017"), Some("x/val2017/c.jpg"));
        assert_eq!(places.find("c.jpg", "other"), None);
        assert_eq!(places.find("7/b.jpg", "val2017"), None);
    }

    #[test]
    fn tables_are_known_by_name() {
        assert_eq!(split("captions_train2017.json"), Some("train2017"));
        assert_eq!(split("instances_train2017.json"), None);
        assert_eq!(split("captions.jsonl"), None);
    }
}
