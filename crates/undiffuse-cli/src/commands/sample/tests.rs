//! The words of `--class`.

use clap::Parser;
use proptest::prelude::*;
use serde_json::json;
use undiffuse::classes::{Classes, recorded};

use super::{Args, file_part};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What a command line with these words asks for.
fn asked(words: &[&str], classes: &Classes) -> Vec<u32> {
    let words = ["sample", "model"].iter().chain(words);
    let args = Command::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).args;
    args.class.iter().flat_map(|text| classes.list(text).unwrap()).collect()
}

const TRICKY: &[&str] = &[
    "Cats", "cats", "None", "none", "#0", "#1", "##1", "0", "1", "2", "a", "b", "a,b", "a, b", ",", " ", " a", "-a", "-n", "--",
    "-", "--seed", "--class", "--class=b", "--help", "=a", "\u{c4}", "A\u{308}", "\u{e4}", "it's", "\"", "$(x)", "*", "\n",
];

proptest! {
    #[test]
    fn the_word_for_a_class_is_that_class(
        names in proptest::collection::btree_set(prop_oneof![
            3 => proptest::sample::select(TRICKY).prop_map(str::to_owned),
            1 => any::<String>().prop_map(|name| name.replace(['/', '\0'], "_") + "x"),
        ], 1..10),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let classes = Classes::new(&names, names.len() + 1, Some(names.len() as u32));
        for label in 0..=names.len() as u32 {
            // As `again` has it from a picture's facts.
            let facts = json!({ "class": classes.print(label), "label": label, "trained": {} });
            let word = recorded(&facts).unwrap();
            prop_assert_eq!(asked(&["--class", &word, "--seed", "3"], &classes), [label], "{:?} of {:?}", &word, &names);
            let two = asked(&["--class", &word, "--class", &classes.print(0), "-n", "2"], &classes);
            prop_assert_eq!(two, [label, 0]);
        }
    }
}

#[test]
fn several_classes_in_one_word() {
    let names = ["dog", "cat", "Smith, John"].map(String::from);
    let classes = Classes::new(&names, 4, Some(3));
    assert_eq!(asked(&["--class", "dog,cat"], &classes), [0, 1]);
    assert_eq!(asked(&["--class=none,Smith, John", "--class", "#0"], &classes), [3, 2, 0]);
}

#[test]
fn names_of_files_stay_short() {
    assert_eq!(file_part("Ankle boot/#1"), "ankle-boot--1");
    assert!(file_part(&"\u{1f63a}\u{4e2d}".repeat(127)).len() <= 200);
}
