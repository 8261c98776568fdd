//! Names of classes and of data: which ones a person takes for the same, and what of a path is a name.

use std::collections::BTreeMap;
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

use crate::text::escaped;

/// The numbers of the names that `word` can mean: those that are spelt so; where there are none, those that are the same text
/// in another Unicode form; where there are none of these either, those that differ in case and in blanks around them alone.
///
/// ```
/// use undiffuse_data::names::meant;
/// let names = ["Cats", "cats", "Dog"].map(String::from);
/// assert_eq!(meant(&names, "cats"), [1]);
/// assert_eq!(meant(&names, " dog"), [2]);
/// assert_eq!(meant(&names, "CATS"), [0, 1]);
/// assert!(meant(&names, "cat").is_empty());
/// ```
pub fn meant(names: &[String], word: &str) -> Vec<usize> {
    let exact: Vec<usize> = (0..names.len()).filter(|&k| names[k] == word).collect();
    if !exact.is_empty() {
        return exact;
    }
    let like = |key: fn(&str) -> String| {
        let word = Some(key(word)).filter(|word| !word.is_empty());
        let alike = |k: &usize| word.as_ref().is_some_and(|word| *word == key(&names[*k]));
        (0..names.len()).filter(alike).collect::<Vec<usize>>()
    };
    [composed, folded].map(like).into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

/// Groups of names that nothing but case, Unicode form or blanks around them tells apart, by their numbers: whoever does not spell
/// them exactly cannot tell which is meant, and file systems that ignore case hold one of them only.
///
/// ```
/// use undiffuse_data::names::alike;
/// assert_eq!(alike(&["Cats", "dog", "cats"].map(String::from)), [[0, 2]]);
/// ```
pub fn alike(names: &[String]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (k, name) in names.iter().enumerate() {
        groups.entry(folded(name)).or_default().push(k);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    groups
}

/// What the owner of classes with these names should know about them, one sentence each.
pub(crate) fn warnings(classes: &[String]) -> Vec<String> {
    let groups = alike(classes).into_iter().map(|group| {
        let quoted: Vec<String> = group.iter().map(|&k| format!("`{}`", escaped(&classes[k]))).collect();
        let differ = match group.windows(2).any(|pair| composed(&classes[pair[0]]) == composed(&classes[pair[1]])) {
            true => "only in how their letters are encoded, which cannot be seen",
            false => "only in upper and lower case or in blanks around them",
        };
        format!(
            "the classes {} differ {differ}. They are trained as {} classes; if they are one, rename their folders",
            quoted.join(" and "),
            group.len()
        )
    });
    let none = classes.iter().filter(|class| class.eq_ignore_ascii_case("none")).map(|class| {
        format!("a class is called `{class}`, the word for a picture without a class: another name avoids mistakes")
    });
    groups.chain(none).collect()
}

/// The last part of a path, whichever system it comes from: what others may know of where somebody's data lie.
///
/// ```
/// use undiffuse_data::names::last_part;
/// assert_eq!(last_part("/home/ann/photos/"), "photos");
/// assert_eq!(last_part(r"C:\Users\Ann\photos.zip"), "photos.zip");
/// assert_eq!(last_part("photos"), "photos");
/// ```
pub fn last_part(path: &str) -> &str {
    let bare = path.trim_end_matches(['/', '\\']);
    bare.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// The name of a file or folder that is there, `.` included.
pub fn of(path: &Path) -> String {
    let real = path.canonicalize().ok().filter(|_| path.file_name().is_none());
    real.as_deref().unwrap_or(path).file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The text in Unicode's normal form C: the same for a letter with an accent, whether it is one character or two.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Without case, Unicode form and blanks around it.
fn folded(text: &str) -> String {
    composed(&composed(text.trim()).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_spelling_is_meant() {
        let names = ["\u{c4}pfel", "A\u{308}pfel", "\u{e4}pfel", " x", "x", "None"].map(String::from);
        for (word, found) in [
            ("\u{c4}pfel", &[0][..]),
            ("A\u{308}pfel", &[1]),
            ("a\u{308}pfel", &[2]),
            ("\u{c4}PFEL", &[0, 1, 2]),
            (" x", &[3]),
            ("X ", &[3, 4]),
            ("none", &[5]),
            (" ", &[]),
            ("", &[]),
        ] {
            assert_eq!(meant(&names, word), found, "{word:?}");
        }
        assert_eq!(alike(&names), [vec![0, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn of_a_path_the_name_is_left() {
        for (path, name) in [("/", "/"), ("", ""), ("a/b//", "b"), ("..", ".."), ("\\\\disk\\x", "x")] {
            assert_eq!(last_part(path), name);
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(&folder.path().join("a b.zip")), "a b.zip");
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!((of(folder.path()), of(&folder.path().join("."))), (name.into(), name.into()));
        assert_eq!(of(Path::new(".")), "undiffuse-data");
    }

    fn about(classes: &[&str]) -> Vec<String> {
        warnings(&classes.iter().map(|class| class.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn names_that_are_alike() {
        assert_eq!(about(&["cat", "cats", "dog"]), Vec::<String>::new());
        let case = about(&["Cats", "CATS", "cats", "dog"]);
        assert_eq!(case.len(), 1);
        assert!(case[0].starts_with("the classes `Cats` and `CATS` and `cats` differ only in upper"), "{}", case[0]);
        assert!(case[0].contains("trained as 3 classes"));
        let forms = about(&["\u{c4}pfel", "A\u{308}pfel"]);
        assert!(forms[0].contains("only in how their letters are encoded"), "{forms:?}");
        assert_eq!(about(&["\u{c4}pfel", "a\u{308}pfel"]).len(), 1);
        assert!(about(&["None", "x"])[0].starts_with("a class is called `None`"));
    }
}
