//! Names of classes that are easily mistaken for each other, or for something else.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use crate::text::escaped;

/// What the owner should know about the names of classes, one sentence each.
pub(crate) fn warnings(classes: &[String]) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for class in classes {
        alike.entry(folded(class)).or_default().push(class);
    }
    let groups = alike.into_values().filter(|group| group.len() > 1).map(|group| {
        let quoted: Vec<String> = group.iter().map(|name| format!("`{}`", escaped(name))).collect();
        let differ = match group.windows(2).any(|pair| composed(pair[0]) == composed(pair[1])) {
            true => "only in how their letters are encoded, which is not to be seen",
            false => "only in upper and lower case",
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

/// Equal for names that differ only in case or in normal form.
fn folded(name: &str) -> String {
    composed(&composed(name).to_lowercase())
}

/// Unicode's normal form C.
fn composed(name: &str) -> String {
    name.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
