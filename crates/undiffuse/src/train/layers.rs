//! The layers of a configuration, as TOML: each is a part of it, in today's words or in those of older programs.

use toml::{Table, Value};

/// Keys of `[train]` of which one is given.
const LENGTHS: [&str; 3] = ["budget", "images", "epochs"];

/// The lengths that a layer gives.
pub fn lengths(layer: &Table) -> Vec<(&'static str, &Value)> {
    let train = layer.get("train").and_then(Value::as_table);
    LENGTHS.into_iter().filter_map(|key| Some((key, train?.get(key)?))).collect()
}

/// What is wrong with lengths that are all none: those of the preset do not count then.
pub fn no_length(given: Vec<(&'static str, &Value)>) -> Option<String> {
    let none = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Integer(n) => *n == 0,
        Value::Float(x) => *x == 0.0,
        _ => false,
    };
    let (key, value) = given.first().filter(|_| given.iter().all(|(_, value)| none(value)))?;
    Some(format!("train.{key} = {value} is no length: give more than 0"))
}

/// `train.lr=3e-4` as a nested table. Values are TOML; what is not TOML is a string.
///
/// # Errors
/// A setting that is none, with how one is written.
pub fn parse_setting(setting: &str) -> Result<Table, String> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| format!("`{setting}` is not of the form key=value, such as train.lr=3e-4"))?;
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let value = key.trim().rsplit('.').fold(value, |value, part| {
        let mut table = Table::new();
        table.insert(part.trim().to_owned(), value);
        Value::Table(table)
    });
    match value {
        Value::Table(table) => Ok(table),
        _ => Err(format!("`{setting}` has no key")),
    }
}

/// Options of the optimizer that were keys of `[train]` once.
const OPTIMIZER: [&str; 3] = ["betas", "eps", "weight_decay"];

/// Today's word for an old value, where it has one.
type NewWord = fn(&Value) -> Option<&'static str>;

/// A layer as it is resolved, with the words of older programs in today's; a condition may be one word.
///
/// # Errors
/// Old words beside the new ones, all of them.
pub fn modern(mut layer: Table) -> Result<Table, Vec<String>> {
    let mut problems = Vec::new();
    let mut both =
        |old: &str, new: &str| problems.push(format!("{old} is {new} now, and both are given: leave {old} out"));
    // Whether the network was told classes was a matter of the data once, the variance that it learns one of the noise.
    let classes = |value: &Value| value.as_bool().map(|classes| if classes { "class" } else { "none" });
    let variance = |value: &Value| match value.as_str()? {
        "learned" => Some("hybrid"),
        "fixed" => Some("denoising"),
        _ => None,
    };
    let renamed: [(_, _, _, NewWord); 2] =
        [("data", "classes", "condition", classes), ("noise", "variance", "loss", variance)];
    for (section, key, new, word) in renamed {
        let Some(table) = layer.get_mut(section).and_then(Value::as_table_mut) else { continue };
        let Some(word) = table.get(key).and_then(word) else { continue };
        table.remove(key);
        match layer.contains_key(new) {
            true => both(&format!("{section}.{key}"), new),
            false => drop(layer.insert(new.into(), word.into())),
        }
    }
    for key in OPTIMIZER {
        let Some(value) = layer.get_mut("train").and_then(|train| train.as_table_mut()?.remove(key)) else { continue };
        match layer.entry("optimizer").or_insert_with(|| Table::new().into()) {
            Value::Table(options) if !options.contains_key(key) => drop(options.insert(key.into(), value)),
            _ => both(&format!("train.{key}"), &format!("optimizer.{key}")),
        }
    }
    if let Some(Value::String(word)) = layer.get("condition") {
        let (kind, from) = word.split_once(':').unwrap_or((word, ""));
        let parts = [("kind", kind), ("from", from)].map(|(key, part)| (key.to_owned(), Value::from(part.trim())));
        layer.insert("condition".into(), Value::Table(parts.into_iter().collect()));
    }
    if problems.is_empty() { Ok(layer) } else { Err(problems) }
}

/// Lays `over` on `table`: tables merge, everything else replaces. Giving one length of the run
/// takes the others back.
pub fn merge(table: &mut Table, over: Table) {
    if let Some(given) = LENGTHS.iter().find(|key| over.contains_key(**key)) {
        for key in LENGTHS.iter().filter(|key| *key != given) {
            if let Some(old) = table.get_mut(*key) {
                *old = if *key == "budget" { Value::String(String::new()) } else { Value::Integer(0) };
            }
        }
    }
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            // A part's options belong to its kind, so another kind starts afresh.
            (Some(Value::Table(old)), Value::Table(new)) if !new.contains_key("kind") => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
