//! The words of `--class`.

use clap::Parser;
use proptest::prelude::*;
use serde_json::json;
use undiffuse::condition::Classes;

use super::Args;
use super::settings::again;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What a command line with these words asks for.
fn asked<W: AsRef<str>>(words: &[W], classes: &Classes) -> Vec<u32> {
    let words = words.iter().map(AsRef::as_ref);
    let args = Command::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).args;
    let asks = args.asking.asks(&classes.clone().into()).unwrap();
    asks.iter().map(|ask| classes.label(ask)).collect()
}

const TRICKY: &[&str] = &[
    "Cats",
    "cats",
    "None",
    "none",
    "#0",
    "#1",
    "##1",
    "0",
    "1",
    "2",
    "a",
    "b",
    "a,b",
    "a, b",
    ",",
    " ",
    " a",
    "-a",
    "-n",
    "--",
    "-",
    "--seed",
    "--class",
    "--class=b",
    "--help",
    "=a",
    "\u{c4}",
    "A\u{308}",
    "\u{e4}",
    "it's",
    "\"",
    "$(x)",
    "*",
    "\n",
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
            let word = classes.print(label);
            let facts = json!({ "model": ".", "class": word, "label": label, "seed": 3, "trained": {} });
            prop_assert_eq!(asked(&again(&facts).words()[1..], &classes), [label], "{:?} of {:?}", &word, &names);
            // As somebody types them.
            let two = ["sample", ".", "--class", &word, "--class", &classes.print(0), "-n", "2"];
            prop_assert_eq!(asked(&two, &classes), [label, 0], "{:?} of {:?}", &word, &names);
        }
    }
}

#[test]
fn several_classes_in_one_word() {
    let names = ["dog", "cat", "Smith, John"].map(String::from);
    let classes = Classes::new(&names, 4, Some(3));
    assert_eq!(asked(&["sample", ".", "--class", "dog,cat"], &classes), [0, 1]);
    assert_eq!(asked(&["sample", ".", "--class=none,Smith, John", "--class", "#0"], &classes), [3, 2, 0]);
}
