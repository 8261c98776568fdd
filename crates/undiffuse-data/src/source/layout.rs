//! What the names of files in a folder or archive say: which are pictures, which class each belongs to, which table
//! or text file describes it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::coco::{self, Places};
use super::metadata::{self, Row};
use crate::{DataError, decode};

/// First-level folders of these names, with or without a year behind, divide data for evaluation; they are no classes.
const SPLITS: &[&str] = &["train", "training", "val", "valid", "validation", "test", "testing", "dev"];

/// The largest table or caption file that is read, in bytes: COCO's has 92 MB.
pub(super) const SIDECAR: u64 = 128 << 20;
/// The most that all of them may have together: they are held in memory while pictures are found.
pub(super) const SIDECARS: u64 = 512 << 20;

/// One picture of a folder or archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Index of its file in the listing.
    pub file: usize,
    pub label: Option<String>,
    pub captions: Vec<String>,
    /// False when the name has no ending, so that only the content can tell whether it is a picture.
    pub certain: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// In the order of the listing.
    pub pictures: Vec<Picture>,
    pub ignored: usize,
    pub notes: Vec<String>,
}

/// What a file is, judged by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Picture,
    /// No ending: perhaps a picture.
    Unclear,
    Table,
    /// A `.txt` or `.caption`, which has captions if a picture has the same name.
    Text,
    Other,
    /// By its own name or a folder's, or without any name.
    Hidden,
}

/// The role of a file by its name inside the folder or archive (`/` between folders).
pub(super) fn role(name: &str) -> Role {
    let base = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let extension = base.rsplit_once('.').map(|(_, extension)| extension);
    match extension {
        _ if base.is_empty() || name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX") => Role::Hidden,
        _ if metadata::is_table(&base) => Role::Table,
        Some("txt" | "caption") => Role::Text,
        Some(extension) if decode::is_image_extension(extension) => Role::Picture,
        Some(_) => Role::Other,
        None => Role::Unclear,
    }
}

/// Whether a hidden file, or one in a hidden folder, would be a picture under another name. What macOS puts beside a file
/// when it packs it (`._a.png`) is none.
pub(super) fn is_hidden_picture(base: &str) -> bool {
    !base.starts_with("._") && role(base.trim_start_matches('.')) == Role::Picture
}

/// A sentence about pictures that are left out because they are hidden: where, and how many there.
pub(super) fn hidden_note(mut hidden: Vec<(String, usize)>) -> Option<String> {
    const SHOWN: usize = 5;
    hidden.sort();
    let total: usize = hidden.iter().map(|(_, count)| count).sum();
    let shown: Vec<String> = hidden.iter().take(SHOWN).map(|(name, count)| format!("{name} ({count})")).collect();
    let more = if hidden.len() > SHOWN { format!(" and {} more", hidden.len() - SHOWN) } else { String::new() };
    (total > 0).then(|| {
        format!(
            "left out {} under names that begin with a dot: {}{more}. Such names are hidden; rename them to use them",
            crate::error::images(total),
            shown.join(", ")
        )
    })
}

/// The hidden pictures among the names of an archive, by the hidden part of their path.
pub(super) fn hidden_among<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        let base = name.rsplit('/').next().unwrap_or(name);
        let begin = if name.starts_with('.') { Some(0) } else { name.find("/.").map(|at| at + 1) };
        if let Some(begin) = begin.filter(|_| is_hidden_picture(base) && !name.split('/').any(|p| p == "__MACOSX")) {
            let end = name[begin..].find('/').map_or(name.len(), |length| begin + length);
            *counts.entry(&name[..end]).or_default() += 1;
        }
    }
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A name from an archive without anything that leads out of it: no root, no drive, no `.` and `..`, `/` as separator.
pub(super) fn clean(name: &str) -> String {
    let parts = name.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | "..") && !part.ends_with(':'));
    parts.collect::<Vec<_>>().join("/")
}

/// Works out the layout of `names`. `root` is for messages; `read` gives the content of a sidecar by its index.
pub(super) fn layout(
    root: &Path,
    names: &[String],
    read: &mut dyn FnMut(usize) -> Result<Vec<u8>, DataError>,
) -> Result<Layout, DataError> {
    let mut held = 0;
    let read = &mut |i: usize| hold(&mut held, read(i)?, root);
    let roles: Vec<Role> = names.iter().map(|name| role(name)).collect();
    let with = |role: Role| (0..names.len()).filter(|&i| roles[i] == role).collect::<Vec<_>>();
    let pictures: Vec<usize> =
        (0..names.len()).filter(|&i| matches!(roles[i], Role::Picture | Role::Unclear)).collect();
    let certain: Vec<&str> = with(Role::Picture).into_iter().map(|i| names[i].as_str()).collect();
    let texts: HashMap<&str, usize> =
        with(Role::Text).into_iter().map(|i| (names[i].rsplit_once('.').map_or("", |(stem, _)| stem), i)).collect();

    let mut notes = Vec::new();
    let table = read_tables(root, names, &with(Role::Table), read)?;
    let from_table = table.rows.values().any(|row| row.label.is_some());
    let folders = if from_table { Folders::None } else { Folders::of(&certain, &mut notes) };

    let mut layout = Layout { ignored: with(Role::Other).len(), ..Layout::default() };
    let mut described = 0;
    let mut used = BTreeSet::new();
    let mut wordless: Vec<&str> = Vec::new();
    for file in pictures {
        let name = names[file].as_str();
        let row = table.rows.get(name);
        described += row.is_some() as usize;
        let text_file = name.rsplit_once('.').and_then(|(stem, _)| texts.get(stem));
        let mut told = row.map(|row| row.captions.clone()).unwrap_or_default();
        let mut captions = worded(&told);
        if let (true, Some(&i)) = (captions.is_empty(), text_file) {
            used.insert(i);
            told = metadata::caption_file(&read(i)?);
            captions = worded(&told);
        }
        if captions.is_empty() && !told.is_empty() {
            wordless.push(name);
        }
        let label = row.and_then(|row| row.label.clone()).or_else(|| folders.class(name));
        layout.pictures.push(Picture { file, label, captions, certain: roles[file] == Role::Picture });
    }
    layout.ignored += with(Role::Text).len() - used.len();
    notes.extend(repeats_note(layout.pictures.iter().filter_map(|picture| picture.label.as_deref())));
    let total = layout.pictures.len();
    if let Some(first) = wordless.first() {
        notes.push(format!("captions without a word: {} of {total} images (first: {first})", wordless.len()));
    }
    if !table.files.is_empty() && described < total {
        let rest = total - described;
        notes.push(format!("not in {}: {rest} of {total} images", table.files));
    }
    if table.rows.len() > described {
        let missing = table.rows.len() - described;
        let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let first = table.rows.keys().find(|name| !known.contains(name.as_str()));
        let first = first.map(|name| format!(" (first: {name})")).unwrap_or_default();
        notes.push(format!("rows of {} that name missing images: {missing}{first}", table.files));
    }
    layout.notes = notes;
    Ok(layout)
}

/// The captions that say something, each once.
fn worded(told: &[String]) -> Vec<String> {
    let mut captions: Vec<String> = Vec::with_capacity(told.len());
    for caption in told {
        let caption = caption.trim();
        if !caption.is_empty() && !captions.iter().any(|known| known == caption) {
            captions.push(caption.to_owned());
        }
    }
    captions
}

/// Counts a sidecar to what is held of all of them.
fn hold(held: &mut u64, bytes: Vec<u8>, root: &Path) -> Result<Vec<u8>, DataError> {
    *held += bytes.len() as u64;
    if *held > SIDECARS { Err(too_many_sidecars(root)) } else { Ok(bytes) }
}

pub(super) fn too_many_sidecars(root: &Path) -> DataError {
    let problem = format!("its tables and caption files have more than {} together", crate::memory::human(SIDECARS));
    DataError::TooLarge { path: root.to_path_buf(), problem }
}

/// Some trainers read `10_cat` as "the class `cat`, each picture ten times".
fn repeats_note<'a>(labels: impl Iterator<Item = &'a str>) -> Option<String> {
    let classes: BTreeSet<&str> = labels.collect();
    let counted = |name: &&&str| {
        let number = name.split_once('_').map_or("", |(number, rest)| if rest.is_empty() { "" } else { number });
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let first = classes.iter().find(counted)?;
    Some(format!(
        "the number in class names such as {first} is part of the name; if it is how often to repeat the pictures, as in some \
         other trainers' folders, it is not obeyed"
    ))
}

/// All sidecar tables together, by the full name of the picture.
struct Tables {
    rows: BTreeMap<String, Row>,
    /// Their names, for messages.
    files: String,
}

fn read_tables(
    root: &Path,
    names: &[String],
    tables: &[usize],
    read: &mut dyn FnMut(usize) -> Result<Vec<u8>, DataError>,
) -> Result<Tables, DataError> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut places = None;
    for &i in tables {
        let (folder, base) = names[i].rsplit_once('/').unwrap_or(("", &names[i]));
        for row in metadata::parse(&root.join(&names[i]), &read(i)?)? {
            let beside = || clean(&format!("{folder}/{}", row.file));
            let file = match coco::split(&base.to_lowercase()) {
                Some(split) => places.get_or_insert_with(|| Places::of(names)).find(&row.file, split),
                None => None,
            };
            match rows.entry(file.map_or_else(beside, str::to_owned)) {
                // Several tables, and several rows of one, may each know a part.
                Entry::Occupied(mut known) => known.get_mut().join(row),
                Entry::Vacant(place) => drop(place.insert(row)),
            }
        }
    }
    let files = tables.iter().map(|&i| names[i].as_str()).collect::<Vec<_>>().join(", ");
    Ok(Tables { rows, files })
}

/// How folders give classes.
#[derive(Debug, PartialEq, Eq)]
enum Folders {
    /// They do not.
    None,
    /// The folder after this many others.
    Depth(usize),
}

impl Folders {
    /// The first level at which pictures lie in two or more folders gives the classes. Levels with one folder only (a
    /// wrapping folder in an archive) and levels of train/test folders are looked through.
    fn of(pictures: &[&str], notes: &mut Vec<String>) -> Folders {
        for depth in 0.. {
            let at = |name: &str| folder_at(name, depth).map(str::to_string);
            let folders: BTreeSet<_> = pictures.iter().map(|name| at(name)).collect();
            let named: Vec<&String> = folders.iter().flatten().collect();
            let year = |c: char| c.is_ascii_digit();
            let is_split = |name: &&String| SPLITS.contains(&name.to_lowercase().trim_end_matches(year));
            let loose = folders.contains(&None);
            match named.len() {
                0 => return Folders::None,
                1 if loose => return Folders::None,
                1 => continue,
                _ if !loose && named.iter().all(is_split) => {
                    let list = named.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
                    notes.push(format!("the folders {list} are taken together; to use one alone, give its path"));
                }
                _ => return Folders::Depth(depth),
            }
        }
        Folders::None
    }

    fn class(&self, name: &str) -> Option<String> {
        match self {
            Folders::None => None,
            Folders::Depth(depth) => folder_at(name, *depth).map(str::to_string),
        }
    }
}

/// The folder at `depth` of a file's name; `None` when the file lies above it.
fn folder_at(name: &str, depth: usize) -> Option<&str> {
    let (folders, _) = name.rsplit_once('/')?;
    folders.split('/').nth(depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(files: &[(&str, &str)]) -> Layout {
        let names: Vec<String> = files.iter().map(|(name, _)| name.to_string()).collect();
        layout("root".as_ref(), &names, &mut |i| Ok(files[i].1.as_bytes().to_vec())).unwrap()
    }

    fn captions(layout: &Layout) -> Vec<&[String]> {
        layout.pictures.iter().map(|picture| &picture.captions[..]).collect()
    }

    fn labels(files: &[&str]) -> Vec<Option<String>> {
        let files: Vec<_> = files.iter().map(|f| (*f, "")).collect();
        lay(&files).pictures.into_iter().map(|p| p.label).collect()
    }

    fn some(labels: &[&str]) -> Vec<Option<String>> {
        labels.iter().map(|l| (*l != "-").then(|| l.to_string())).collect()
    }

    #[test]
    fn folders_are_classes_when_there_are_two() {
        assert_eq!(labels(&["a.png", "b.png"]), some(&["-", "-"]));
        assert_eq!(labels(&["cat/a.png", "cat/b.png"]), some(&["-", "-"]));
        assert_eq!(labels(&["cat/a.png", "dog/x/b.png"]), some(&["cat", "dog"]));
        assert_eq!(labels(&["cat/a.png", "dog/b.png", "c.png"]), some(&["cat", "dog", "-"]));
        assert_eq!(labels(&["w/cat/a.png", "w/dog/b.png"]), some(&["cat", "dog"]));
        assert_eq!(labels(&["w/README.md", "docs/x.html", "w/a.png"]), some(&["-"]));
        assert_eq!(labels(&["train/cat/a.png", "Test/dog/b.png"]), some(&["cat", "dog"]));
        assert_eq!(labels(&["train/a.png", "test/b.png"]), some(&["-", "-"]));
        assert_eq!(labels(&["train2017/a.png", "val2017/b.png"]), some(&["-", "-"]));
        assert_eq!(labels(&["2017/a.png", "2018/b.png"]), some(&["2017", "2018"]));
    }

    #[test]
    fn tables_override_folders_and_text_files_give_captions() {
        let table =
            "{\"file_name\":\"a.png\",\"text\":\"one\",\"label\":\"L\"}\n{\"file_name\":\"gone.png\",\"text\":\"x\"}";
        let found = lay(&[
            ("cat/a.png", ""),
            ("cat/metadata.jsonl", table),
            ("dog/b.png", ""),
            ("dog/b.txt", " two \n"),
            ("n.txt", ""),
        ]);
        let expect = |file, label: Option<&str>, caption: &str| Picture {
            file,
            label: label.map(Into::into),
            captions: vec![caption.into()],
            certain: true,
        };
        assert_eq!(found.pictures, [expect(0, Some("L"), "one"), expect(2, None, "two")]);
        assert_eq!(found.ignored, 1);
        assert!(found.notes[0].contains("not in cat/metadata.jsonl: 1 of 2 images"), "{:?}", found.notes);
        assert!(found.notes[1].contains("first: cat/gone.png"), "{:?}", found.notes);
    }

    #[test]
    fn hidden_files_and_other_endings() {
        let roles = [
            "a/.x.png",
            "__MACOSX/a.png",
            ".git/a.png",
            "a.mp4",
            "photo",
            "B.JPG",
            "x.heic",
            "Metadata.JSONL",
            "a.txt",
        ];
        use Role::*;
        let expected = [Hidden, Hidden, Hidden, Other, Unclear, Picture, Picture, Table, Text];
        assert_eq!(roles.map(role), expected);
    }

    #[test]
    fn hidden_pictures_are_counted_by_place() {
        let names =
            [".5/a.png", ".5/b.png", "x/.75/c.jpg", "x/.y.png", "._d.png", "__MACOSX/.e.png", ".git/HEAD", "f.png"];
        let hidden = hidden_among(names.into_iter());
        assert_eq!(hidden, [(".5".into(), 2), ("x/.75".into(), 1), ("x/.y.png".into(), 1)]);
        let note = hidden_note(hidden).unwrap();
        assert!(
            note.starts_with("left out 4 images under names that begin with a dot: .5 (2), x/.75 (1), x/.y.png (1).")
        );
        assert_eq!(hidden_note(Vec::new()), None);
    }

    #[test]
    fn caption_files_and_folders_of_other_trainers() {
        let found = lay(&[
            ("10_cat/a.png", ""),
            ("10_cat/a.caption", "one cat"),
            ("1_dog/b.png", ""),
            ("1_dog/b.txt", "a dog"),
        ]);
        assert_eq!(captions(&found), [["one cat"], ["a dog"]]);
        assert_eq!(found.pictures[0].label.as_deref(), Some("10_cat"));
        assert!(found.notes[0].contains("such as 10_cat is part of the name"), "{:?}", found.notes);
        for names in [["cat/a.png", "dog/b.png"], ["2020/a.png", "2021/b.png"], ["0_/a.png", "_1/b.png"]] {
            assert!(lay(&names.map(|name| (name, ""))).notes.is_empty(), "{names:?}");
        }
    }

    #[test]
    fn several_captions_from_rows_tables_and_lines() {
        let found = lay(&[
            ("a.png", ""),
            ("b.png", ""),
            ("b.txt", "one\ntwo\none"),
            ("c.png", ""),
            ("c.txt", " \n"),
            ("captions.txt", "a.png#0,first\na.png#1,second"),
            ("d.png", ""),
            (
                "metadata.jsonl",
                "{\"file_name\":\"a.png\",\"text\":[\" first \",\"third\",\"\"]}\n{\"file_name\":\"d.png\",\"text\":\"\"}",
            ),
        ]);
        assert_eq!(captions(&found), [&["first", "second", "third"][..], &["one", "two"], &[], &[]]);
        let note = "captions without a word: 2 of 4 images (first: c.png)";
        assert!(found.notes.iter().any(|found| found == note), "{:?}", found.notes);
    }

    #[test]
    fn cocos_tables_lie_beside_their_folders() {
        let table = |captions: &str| {
            format!("{{\"images\":[{{\"id\":1,\"file_name\":\"a.jpg\"}}],\"annotations\":[{captions}]}}")
        };
        let (train, val) = (
            table("{\"image_id\":1,\"caption\":\"one\"},{\"image_id\":1,\"caption\":\"two\"}"),
            table("{\"image_id\":1,\"caption\":\"other\"}"),
        );
        let found = lay(&[
            ("annotations/captions_train2017.json", &train),
            ("annotations/captions_val2017.json", &val),
            ("annotations/instances_val2017.json", "{}"),
            ("train2017/a.jpg", ""),
            ("val2017/a.jpg", ""),
        ]);
        assert_eq!(captions(&found), [&["one", "two"][..], &["other"]]);
        assert_eq!(found.pictures[0].label, None);
        assert_eq!(found.ignored, 1);
    }

    #[test]
    fn sidecars_have_a_total() {
        let mut held = SIDECARS - 1;
        assert_eq!(hold(&mut held, vec![7], "x".as_ref()).unwrap(), [7]);
        let problem = hold(&mut held, vec![7], "x".as_ref()).unwrap_err().to_string();
        assert!(problem.contains("more than 537 MB together"), "{problem}");
    }

    #[test]
    fn archive_names_stay_inside() {
        assert_eq!(clean("../../etc/./x.png"), "etc/x.png");
        assert_eq!(clean("C:\\photos\\a.png"), "photos/a.png");
        assert_eq!(clean("/abs//a.png"), "abs/a.png");
    }
}
