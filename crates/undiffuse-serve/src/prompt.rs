//! Prompts of other services' clients: the words that a model is asked for, or which class of it a sentence names.

use undiffuse::condition::NEGATIVE;
use undiffuse::data::names::composed;
use undiffuse::request::Asks;

use crate::job::ModelInfo;

/// The longest prompt that is searched for a class, in bytes: what OpenAI's own service takes.
const LONGEST: usize = 32_000;

/// What a prompt asks of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The model knows no classes: whatever the prompt says, it makes what it makes.
    Anything,
    /// Nothing in particular: the classes take turns.
    EveryClass,
    /// This class, as a request for pictures names it.
    Class(String),
    /// These words, under the name of the model's field.
    Words(&'static str, String),
}

/// The prompt of a model that takes words, led away from others.
pub fn led_away(mut asks: Asks, negative: &str) -> Asks {
    if !negative.trim().is_empty() {
        asks.0.insert(NEGATIVE, vec![negative.to_owned()]);
    }
    asks
}

impl Asked {
    /// The same in a request for pictures.
    pub fn asks(&self) -> Asks {
        match self {
            Asked::Class(name) => Asks::of("class", [name]),
            Asked::Words(field, words) => Asks::of(field, [words]),
            Asked::Anything | Asked::EveryClass => Asks::default(),
        }
    }
}

/// A class that stands in a prompt.
struct Hit {
    class: u32,
    /// From which word to which.
    start: usize,
    end: usize,
    /// How the prompt spells it: 0 as the name does, 1 in another case, 2 in another number.
    spelling: usize,
}

impl Hit {
    /// Whether this one is not meant where `other` is: it is a part of a longer name, or spelt less like its own.
    fn yields(&self, other: &Self) -> bool {
        let within = other.start <= self.start && self.end <= other.end;
        let longer = other.end - other.start > self.end - self.start;
        within && (longer || (self.end - self.start == other.end - other.start && other.spelling < self.spelling))
    }
}

/// Reads a prompt: the words themselves where the model takes any; otherwise a class as any request names it, a sentence in which exactly one class is named, or nothing.
///
/// A name with slashes, such as `T-shirt/top`, may be called by any part of it; a plural is as good as the singular unless it is
/// itself a class; and a name within a longer one that is also there is not meant: an ankle boot is no boot.
///
/// # Errors
/// No class or several, in a sentence that lists those there are.
pub fn read(prompt: &str, model: &ModelInfo) -> Result<Asked, String> {
    if let Some(field) = model.conditioner.field().filter(|_| model.takes_words()) {
        return Ok(Asked::Words(field.name, prompt.to_owned()));
    }
    let known = model.known();
    if known.is_empty() {
        return Ok(Asked::Anything);
    }
    if prompt.len() > LONGEST {
        return Err(format!("the prompt is longer than the {LONGEST} letters that are read: name a class"));
    }
    // A class may be called by any text, blanks included: first the prompt as a whole.
    if let Ok(label) = known.parse(prompt) {
        return Ok(Asked::Class(known.print(label)));
    }
    if prompt.trim().is_empty() {
        return Ok(Asked::EveryClass);
    }
    let hits = hits(&words(prompt), model);
    let meant = hits.iter().filter(|hit| !hits.iter().any(|other| hit.yields(other)));
    let mut classes: Vec<u32> = meant.map(|hit| hit.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let (choices, print) = (known.choices(), |label: &u32| known.print(*label));
    match &classes[..] {
        [label] => Ok(Asked::Class(print(label))),
        [] => Err(format!("the prompt names no class that this model knows: {choices}")),
        several => {
            let several: Vec<String> = several.iter().map(print).collect();
            Err(format!("the prompt names several classes, {}: name one of {choices}", several.join(", ")))
        }
    }
}

/// Every place in a prompt where the name of a class stands, or the number of one without a name.
fn hits(prompt: &[Word], model: &ModelInfo) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (class, name) in model.classes.iter().enumerate() {
        let parts = name.split('/').filter(|part| *part != name);
        for name in std::iter::once(name.as_str()).chain(parts).map(words).filter(|name| !name.is_empty()) {
            let found = prompt.windows(name.len()).enumerate().filter_map(|(start, part)| {
                let alike = |&spelling: &usize| part.iter().zip(&name).all(|(a, b)| a[spelling] == b[spelling]);
                let spelling = (0..name[0].len()).find(alike)?;
                Some(Hit { class: class as u32, start, end: start + name.len(), spelling })
            });
            hits.extend(found);
        }
    }
    if model.classes.is_empty() {
        let number = |(start, word): (usize, &Word)| {
            let class = Some(&word[0]).filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?;
            let class = model.known().parse(class).ok()?;
            Some(Hit { class, start, end: start + 1, spelling: 0 })
        };
        hits.extend(prompt.iter().enumerate().filter_map(number));
    }
    hits
}

/// A word as it is spelt, without case, and without the `s` of a plural.
type Word = [String; 3];

fn words(text: &str) -> Vec<Word> {
    let text = composed(text);
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let forms = |word: &str| {
        let lower = word.to_lowercase();
        let singular = lower.strip_suffix('s').filter(|rest| rest.len() > 1).unwrap_or(&lower).to_owned();
        [word.to_owned(), lower, singular]
    };
    words.map(forms).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use undiffuse::condition::{Classes, Conditioner};

    use crate::job::Defaults;

    pub(crate) fn model(classes: &[&str], count: usize) -> ModelInfo {
        let classes: Vec<String> = classes.iter().map(|&c| c.into()).collect();
        let conditioner = match count {
            0 => Conditioner::default(),
            _ => Classes::new(&classes, count + 1, Some(count as u32)).into(),
        };
        let defaults = Defaults {
            solver: "ddim".into(),
            spacing: "trailing".into(),
            steps: 20,
            guidance: 1.0,
            ..Defaults::default()
        };
        ModelInfo {
            id: "m".into(),
            classes,
            ask: None,
            conditioner,
            class_count: count,
            no_class: (count > 0).then(|| "none".into()),
            guidance: count > 0,
            shape: [1, 28, 28],
            defaults,
            schedule: "cosine".into(),
            parameters: 1,
            max_side: 28,
            side_step: Some(4),
            loaded: false,
            run: None,
            provenance: None,
        }
    }

    /// Names of folders that are easily taken for others, and any others.
    pub(crate) fn names() -> impl Strategy<Value = Vec<String>> {
        const TRICKY: &[&str] = &[
            "Cats",
            "cats",
            "cat",
            "None",
            "none",
            "#0",
            "#1",
            "##1",
            "0",
            "1",
            "2",
            "3",
            "a,b",
            "a",
            " ",
            " a",
            "-a",
            "--seed",
            "\u{c4}pfel",
            "A\u{308}pfel",
            "\u{e4}pfel",
            "it's",
            "\"",
            "\n",
            "null",
            "the cats",
            "[\"a\"]",
        ];
        let name = prop_oneof![
            3 => proptest::sample::select(TRICKY).prop_map(str::to_owned),
            1 => any::<String>().prop_map(|name| name.replace(['/', '\0'], "_") + "x"),
        ];
        proptest::collection::vec(name, 1..10).prop_map(|names| {
            let mut seen = std::collections::BTreeSet::new();
            names.into_iter().filter(|name| seen.insert(name.clone())).collect()
        })
    }

    /// Every class that can be asked for, by its name and as it is printed, with its label; no class is among them.
    pub(crate) fn words(model: &ModelInfo) -> Vec<(String, u32)> {
        let names = (0..).zip(&model.classes).map(|(label, name)| (name.clone(), label));
        names
            .chain((0..model.known().rows().unwrap_or(0) as u32).map(|label| (model.known().print(label), label)))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_prompt_that_is_a_class_is_that_class(names in names()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let model = model(&names, names.len());
            for (word, label) in words(&model) {
                let asked = read(&word, &model);
                let Ok(Asked::Class(class)) = &asked else { panic!("{word:?} of {names:?}: {asked:?}") };
                prop_assert_eq!(model.known().parse(class), Ok(label), "{:?} of {:?}", word, names);
            }
        }
    }

    #[test]
    fn spelling_decides_where_names_are_alike() {
        let alike = model(&["Cats", "cats", "cat", "\u{c4}pfel"], 4);
        let class = |prompt: &str| read(prompt, &alike);
        let named = |name: &str| Ok(Asked::Class(name.into()));
        assert_eq!(class("a photo of Cats"), named("Cats"));
        assert_eq!(class("a photo of cats"), named("cats"));
        assert_eq!(class("a photo of a cat"), named("cat"));
        assert_eq!(class("drei A\u{308}pfel"), named("\u{c4}pfel"));
        assert!(class("a photo of CATS").unwrap_err().contains("several classes, Cats, cats"));
        assert!(class("Cats and cats").unwrap_err().contains("several classes"));
        assert_eq!(class("none"), named("none"));
        assert!(class(&"x ".repeat(20_000)).unwrap_err().contains("longer than the 32000"));
    }

    #[test]
    fn a_prompt_names_a_class() {
        let clothes = model(&["T-shirt/top", "Dress", "Sneaker", "Bag", "Boot", "Ankle boot"], 6);
        let class = |prompt: &str| match read(prompt, &clothes).unwrap() {
            Asked::Class(name) => name,
            other => panic!("{prompt}: {other:?}"),
        };
        for (prompt, name) in [
            ("Bag", "Bag"),
            (" bag ", "Bag"),
            ("2", "Sneaker"),
            ("a pair of white sneakers, studio light", "Sneaker"),
            ("red T-Shirt!", "T-shirt/top"),
            ("a summer top", "T-shirt/top"),
            ("T-shirt/top", "T-shirt/top"),
            ("an ankle boot", "Ankle boot"),
            ("rubber boots", "Boot"),
            ("a long dress; a dress for summer", "Dress"),
        ] {
            assert_eq!(class(prompt), name, "{prompt}");
        }
        assert_eq!(read("", &clothes), Ok(Asked::EveryClass));
        let none = read("a horse in a stop sign", &clothes).unwrap_err();
        assert!(none.contains("Dress, Sneaker"), "{none}");
        let several = read("a bag and a dress", &clothes).unwrap_err();
        assert!(several.contains("Dress, Bag: name one of"), "{several}");
        // No word of it is one of these numbers.
        assert!(read("9", &clothes).is_err());
    }

    #[test]
    fn numbers_and_models_without_classes() {
        let digits = model(&["0", "1", "7"], 3);
        assert_eq!(read("the digit 7", &digits), Ok(Asked::Class("7".into())));
        let unnamed = model(&[], 10);
        assert_eq!(read("number 4 please", &unnamed), Ok(Asked::Class("4".into())));
        assert!(read("number 40", &unnamed).unwrap_err().contains("0 to 9"));
        assert_eq!(read("a castle", &model(&[], 0)), Ok(Asked::Anything));
    }
}
