//! Prompts of other services' clients: which class of a model a sentence names.

use crate::job::ModelInfo;

/// What a prompt asks of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The model knows no classes: whatever the prompt says, it makes what it makes.
    Anything,
    /// Nothing in particular: the classes take turns.
    EveryClass,
    /// This class, as a request for pictures names it.
    Class(String),
}

/// Reads a prompt: the name or the number of a class, a sentence in which exactly one class is named, or nothing.
///
/// A name with slashes, such as `T-shirt/top`, may be called by any part of it; a plural is as good as the singular; and a name
/// within a longer one that is there, too, is not meant: an ankle boot is no boot.
///
/// # Errors
/// No class or several, in a sentence that lists those there are.
pub fn read(prompt: &str, model: &ModelInfo) -> Result<Asked, String> {
    let text = prompt.trim();
    if model.class_count == 0 {
        return Ok(Asked::Anything);
    }
    if text.is_empty() {
        return Ok(Asked::EveryClass);
    }
    let names = &model.classes;
    let by_number = |text: &str| text.parse::<usize>().ok().filter(|&k| k < model.class_count);
    if let Some(k) = names.iter().position(|name| name.eq_ignore_ascii_case(text)).or_else(|| by_number(text)) {
        return Ok(Asked::Class(name(model, k)));
    }
    let prompt = words(text);
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (k, name) in names.iter().enumerate() {
        for name in std::iter::once(name.as_str()).chain(name.split('/')).map(words).filter(|name| !name.is_empty()) {
            let starts = prompt.windows(name.len()).enumerate().filter(|(_, part)| *part == name);
            found.extend(starts.map(|(start, _)| (k, start, start + name.len())));
        }
    }
    if names.is_empty() {
        found.extend(prompt.iter().enumerate().filter_map(|(i, word)| Some((by_number(word)?, i, i + 1))));
    }
    let within =
        |a: &(usize, usize, usize), b: &(usize, usize, usize)| b.1 <= a.1 && a.2 <= b.2 && b.2 - b.1 > a.2 - a.1;
    let mut classes: Vec<usize> =
        found.iter().filter(|a| !found.iter().any(|b| within(a, b))).map(|&(k, ..)| k).collect();
    classes.sort_unstable();
    classes.dedup();
    match classes[..] {
        [k] => Ok(Asked::Class(name(model, k))),
        [] => Err(format!("the prompt names no class that this model knows: {}", choices(model))),
        _ => {
            let several: Vec<String> = classes.iter().map(|&k| name(model, k)).collect();
            Err(format!("the prompt names several classes, {}: name one of {}", several.join(", "), choices(model)))
        }
    }
}

fn name(model: &ModelInfo, k: usize) -> String {
    model.classes.get(k).cloned().unwrap_or_else(|| k.to_string())
}

fn choices(model: &ModelInfo) -> String {
    match &model.classes[..] {
        [] => format!("0 to {}", model.class_count - 1),
        names => names.join(", "),
    }
}

/// The words of a text without case and without the `s` of a plural.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let singular =
        |word: String| word.strip_suffix('s').filter(|rest| rest.len() > 1).map(str::to_owned).unwrap_or(word);
    words.map(|word| singular(word.to_lowercase())).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::Defaults;

    pub(crate) fn model(classes: &[&str], count: usize) -> ModelInfo {
        let defaults = Defaults { solver: "ddim".into(), spacing: "trailing".into(), steps: 20, guidance: 1.0 };
        ModelInfo {
            id: "m".into(),
            classes: classes.iter().map(|&c| c.into()).collect(),
            class_count: count,
            guidance: count > 0,
            shape: [1, 28, 28],
            defaults,
            schedule: "cosine".into(),
            parameters: 1,
            max_side: 28,
            loaded: false,
            run: None,
            provenance: None,
        }
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
