//! Classes keep their identity, whatever folders are called.

use proptest::prelude::*;
use serde_json::{Value, json};
use undiffuse::condition::{Ask, Classes, Conditioner, Member};

fn recorded(facts: &Value) -> Option<String> {
    (Classes::FIELD.recorded)(facts)
}

/// Names that are easily taken for others, and words that mean something else.
const TRICKY: &[&str] = &[
    "Cats",
    "cats",
    "CATS",
    "None",
    "none",
    "NONE",
    "#0",
    "#1",
    "##1",
    "#",
    "0",
    "1",
    "2",
    "3",
    "5",
    "01",
    "a",
    "b",
    "a,b",
    "a, b",
    "a,b,c",
    ",",
    " ",
    " a",
    "a ",
    "-a",
    "--seed",
    "--",
    "-",
    "=a",
    "\u{c4}pfel",
    "A\u{308}pfel",
    "\u{e4}pfel",
    "a\u{308}pfel",
    "\u{130}",
    "\u{df}",
    "SS",
    "\u{17f}",
    "s",
    "$x",
    "it's",
    "\"",
    "\n",
    "\u{1b}[2J",
    "\u{feff}a",
    "*",
];

fn names() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        3 => proptest::sample::select(TRICKY).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|name| name.replace(['/', '\0'], "_")).prop_filter("no name", |name| !name.is_empty()),
    ];
    // A folder holds each name once.
    proptest::collection::vec(name, 1..12).prop_map(|names| {
        let mut seen = std::collections::BTreeSet::new();
        names.into_iter().filter(|name| seen.insert(name.clone())).collect()
    })
}

/// What can be made of these names: as a training makes it, as a network with more labels than names, without "no class".
fn models(names: &[String]) -> [Classes; 3] {
    let n = names.len();
    [Classes::new(names, n + 1, Some(n as u32)), Classes::new(names, n + 3, Some(1)), Classes::new(names, n, None)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_is_read_as_the_same_class(names in names()) {
        for (classes, rows) in models(&names).iter().zip([1, 3, 0]) {
            for label in 0..(names.len() + rows) as u32 {
                let word = classes.print(label);
                prop_assert_eq!(classes.parse(&word), Ok(label), "{:?}: {:?}", &names, &word);
                prop_assert_eq!(classes.list(&word), Ok(vec![label]), "{:?}: {:?}", &names, &word);
                let facts = json!({ "class": word, "label": label, "trained": { "data": "photos" } });
                prop_assert_eq!(recorded(&facts), Some(word));
            }
            for (label, name) in names.iter().enumerate() {
                prop_assert_eq!(classes.parse(name), Ok(label as u32), "{:?}", name);
                prop_assert_eq!(classes.list(name), Ok(vec![label as u32]), "{:?}", name);
            }
        }
    }

    #[test]
    fn no_word_means_another_class_by_accident(names in names(), word in any::<String>(), number in 0..14u32) {
        for classes in models(&names) {
            for word in [&word, &number.to_string()] {
                let Ok(label) = classes.parse(word) else { continue };
                let bare = word.trim().bytes().all(|b| b.is_ascii_digit());
                // A bare number is never "no class" unless that is its name.
                prop_assert!(!bare || (label as usize) < names.len(), "{:?} in {:?} is {}", word, &names, label);
            }
        }
    }
}

fn owned<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

fn refusal(classes: &Classes, word: &str) -> String {
    classes.parse(word).unwrap_err().to_string()
}

#[test]
fn exact_spelling_goes_first() {
    let names = owned(["Cats", "cats", "Dog", "None"]);
    let classes = Classes::new(&names, 5, Some(4));
    for (word, label) in
        [("Cats", 0), ("cats", 1), ("DOG", 2), (" dog ", 2), ("None", 3), ("none", 3), ("#4", 4), ("1", 1)]
    {
        assert_eq!(classes.parse(word), Ok(label), "{word}");
    }
    assert_eq!((classes.print(4), classes.print(3)), ("#4".into(), "None".into()));
    let several = refusal(&classes, "CATS");
    assert!(several.contains("Cats (#0), cats (#1)"), "{several}");
    for word in ["4", "5", "#5", "# 1", "#+1", "-1", "cat", ""] {
        assert!(
            refusal(&classes, word).ends_with("it has Cats, cats, Dog, None") || word == "4" || word == "5",
            "{word}"
        );
    }
    let unknown = refusal(&classes, "4");
    assert!(unknown.contains("it has Cats, cats, Dog, None; `#0` is the class of label 0"), "{unknown}");
}

#[test]
fn names_that_are_numbers_are_names() {
    let names = owned(["1", "2", "3", "4"]);
    let classes = Classes::new(&names, 5, Some(4));
    assert_eq!(["1", "4", "#1", "#4", "none"].map(|word| classes.parse(word).unwrap()), [0, 3, 1, 4, 4]);
    for word in ["0", "5", "01"] {
        assert!(refusal(&classes, word).contains("it has 1, 2, 3, 4"), "{word}");
    }
}

#[test]
fn labels_without_names() {
    let classes = Classes::new(&[], 10, None);
    assert_eq!((classes.parse("3"), classes.parse("#9"), classes.print(3)), (Ok(3), Ok(9), "3".into()));
    for word in ["none", "10", "cat"] {
        assert!(refusal(&classes, word).contains("it has 0 to 9"), "{word}");
    }
    // The label of no class is none of those that take turns, and no number stands for it.
    let guided = Classes::new(&[], 3, Some(2));
    let turns = [0, 1, 0].map(Ask::Class);
    assert_eq!(
        (Conditioner::from(guided.clone()).turns(vec![], 3).asks, guided.print(2)),
        (turns.into(), "none".into())
    );
    assert!(guided.parse("2").is_err() && guided.parse("#2") == Ok(2));
    assert!(refusal(&Classes::default(), "cat").contains("without classes"));
    assert!(Conditioner::default().turns(vec![], 3).is_empty());
}

#[test]
fn lists_keep_names_with_commas() {
    let names = owned(["dog", "cat", "Smith, John", "a,b", " x"]);
    let classes = Classes::new(&names, 6, Some(5));
    for (text, labels) in [
        ("dog,cat", &[0, 1][..]),
        ("dog, Cat", &[0, 1]),
        ("Smith, John", &[2]),
        ("cat, Smith, John,a,b, x", &[1, 2, 3, 4]),
        ("none,dog", &[5, 0]),
    ] {
        assert_eq!(classes.list(text).unwrap(), labels, "{text}");
    }
    let refused = classes.list("dog,horse").unwrap_err().to_string();
    assert!(refused.contains(r#"no class `horse`; it has dog, cat, "Smith, John", "a,b", " x""#), "{refused}");
}

#[test]
fn classes_of_other_data() {
    let of = |ours: &[String], theirs: &[String]| -> Vec<Option<u32>> {
        let classes = Classes::new(ours, ours.len() + 1, Some(ours.len() as u32));
        (0..theirs.len() as u32).map(|k| classes.of(theirs, k)).collect()
    };
    let both = owned(["Cats", "cats"]);
    assert_eq!(of(&both, &owned(["cats", "Cats"])), [Some(1), Some(0)]);
    assert_eq!(of(&both, &owned(["CATS", "x"])), [None, None]);
    assert_eq!(of(&owned(["cats", "y"]), &both), [None, Some(0)]);
    assert_eq!(of(&owned(["\u{c4}", "y"]), &owned(["A\u{308}", "Y"])), [Some(0), Some(1)]);
    // Numbers stand for words in their order, but not for other numbers.
    assert_eq!(of(&owned(["bag", "boot"]), &owned(["0", "1"])), [Some(0), Some(1)]);
    assert_eq!(of(&owned(["0", "1"]), &owned(["1", "2"])), [Some(1), None]);
    let nameless = Classes::new(&[], 2, None);
    assert_eq!(["1", "7"].map(|name| nameless.of(&owned([name]), 0)), [Some(1), None]);
    assert_eq!([0, 1].map(|k| nameless.of(&owned(["bag", "boot"]), k)), [Some(0), Some(1)]);
}

#[test]
fn pictures_of_older_versions_say_their_class() {
    let facts = |class: &str, trained| recorded(&json!({ "class": class, "label": 3, "trained": trained }));
    assert_eq!(facts("none", json!(null)).as_deref(), Some("#3"));
    assert_eq!(facts("none", json!({ "data": "/home/ann/photos" })).as_deref(), Some("none"));
    assert_eq!(facts("dog", json!(null)).as_deref(), Some("dog"));
    assert_eq!(recorded(&json!({ "class": null, "label": null })), None);
}
