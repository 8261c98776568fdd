//! The command that makes a picture again: what commands write into their PNGs and what `inspect` reads, by one table each.

use std::path::Path;

use serde_json::{Map, Value};
use undiffuse::condition::Conditioner;
use undiffuse::model::Adapter;

use crate::output::command_line;

/// An option whose value a picture carries, under the option's name with `_` for `-`.
pub struct Setting<C> {
    /// The option's long name.
    pub option: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its value for picture number `k`; null where it had no part in it.
    pub value: fn(&C, usize) -> Value,
}

/// What the value of an option is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number, a word, or `true` for an option that takes none.
    Word,
    /// A file, or `true` where somebody else knows which.
    Path,
    /// LoRA files with their scales, an option each.
    Adapter,
    /// What was asked for: an option for each field of the registry, which their conditioner writes and reads.
    Ask,
}

/// What the options of a table were for picture number `k`.
pub fn told<C>(settings: &[Setting<C>], context: &C, k: usize) -> Map<String, Value> {
    let own = settings.iter().filter(|setting| setting.kind != Kind::Ask);
    own.map(|setting| (key(setting.option), (setting.value)(context, k))).collect()
}

fn key(option: &str) -> String {
    option.replace('-', "_")
}

/// The command that makes a picture again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Its words. What is not known stands there in capitals.
    words: Vec<String>,
    /// What is not known, or not to be had here, in sentences without a full stop.
    pub missing: Vec<String>,
}

impl Again {
    /// The command `undiffuse COMMAND OPERAND` with the options of a table, as the facts in a picture have them. `operand` is the
    /// fact that stands first, a path.
    pub fn new<C>(command: &str, operand: &str, settings: &[Setting<C>], facts: &Value) -> Self {
        let mut again = Self { words: vec!["undiffuse".into(), command.into()], missing: Vec::new() };
        let path = again.path(operand, &facts[operand], &operand.to_uppercase());
        // A path that looks like an option.
        again.words.push(if path.starts_with('-') { format!("./{path}") } else { path });
        for Setting { option, kind, .. } in settings {
            match kind {
                Kind::Ask => Conditioner::FIELDS.iter().for_each(|field| {
                    again.option(field.name, *kind, &(field.recorded)(facts).map_or(Value::Null, Value::from));
                }),
                _ => again.option(option, *kind, &facts[key(option)]),
            }
        }
        again
    }

    /// As a shell takes it.
    pub fn command(&self) -> String {
        command_line(&self.words)
    }

    /// As the program takes it.
    #[cfg(test)]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Adds a word as it is, right behind the operand.
    pub fn first(&mut self, words: &[&str]) {
        self.words.splice(3..3, words.iter().map(|&word| word.to_owned()));
    }

    fn option(&mut self, name: &str, kind: Kind, value: &Value) {
        let value = match value {
            Value::Null | Value::Bool(false) => return,
            value if kind == Kind::Path => self.path(&format!("--{name}"), value, "FILE"),
            Value::Array(adapters) if kind == Kind::Adapter => {
                return adapters.iter().for_each(|adapter| self.adapter(name, adapter));
            }
            Value::Bool(true) => return self.words.push(format!("--{name}")),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Array(_) | Value::Object(_) => {
                self.missing.push(format!("--{name}: what stands there is no value of this option"));
                name.to_uppercase()
            }
        };
        match value.starts_with('-') {
            true => self.words.push(format!("--{name}={value}")),
            false => self.words.extend([format!("--{name}"), value]),
        }
    }

    /// A file that is added to a model, if it is still the same.
    fn adapter(&mut self, name: &str, facts: &Value) {
        let path = self.path(&format!("--{name}"), &facts["file"], "FILE");
        let found = Adapter::sha256(Path::new(&path)).ok();
        if let (Some(told), Some(found)) = (facts["sha256"].as_str(), found)
            && told != found
        {
            let now = format!("its SHA-256 begins with {found}, not {told}");
            self.missing.push(format!("--{name}: `{path}` is another file now: {now}"));
        }
        let scale = facts["scale"].as_f64().map_or(String::new(), |scale| format!(":{scale}"));
        self.words.push(format!("--{name}={path}{scale}"));
    }

    /// A path that is to be there, or the word that stands for one that is not known.
    fn path(&mut self, what: &str, value: &Value, unknown: &str) -> String {
        let Some(path) = value.as_str() else {
            self.missing.push(format!("{what}: the picture does not say which file it was"));
            return unknown.into();
        };
        if path.contains(char::REPLACEMENT_CHARACTER) {
            self.missing
                .push(format!("{what}: the name is no UTF-8, and the picture holds only what could be read of it"));
        } else if !Path::new(path).exists() {
            self.missing
                .push(format!("{what}: there is no `{path}` here; go where the picture was made, or name another"));
        }
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: &[Setting<()>] = &[
        Setting { option: "seed", kind: Kind::Word, value: |(), k| json!(k) },
        Setting { option: "ask", kind: Kind::Ask, value: |(), _| Value::Null },
        Setting { option: "guidance", kind: Kind::Word, value: |(), _| json!(-2.5) },
        Setting { option: "init-image", kind: Kind::Path, value: |(), _| Value::Null },
        Setting { option: "histogram", kind: Kind::Word, value: |(), _| json!(true) },
    ];

    fn again(facts: &Value) -> Again {
        Again::new("sample", "model", TABLE, facts)
    }

    #[test]
    fn what_is_told_is_read() {
        let mut facts = Value::from(told(TABLE, &(), 7));
        facts["model"] = json!(".");
        let again = again(&facts);
        assert_eq!(again.command(), "undiffuse sample . --seed 7 --guidance=-2.5 --histogram");
        assert_eq!(again.missing, [""; 0]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let made = again(&json!({ "model": "-no such", "init_image": true, "seed": [1] }));
        assert_eq!(made.command(), "undiffuse sample './-no such' --seed SEED --init-image FILE");
        let said = made.missing.join("\n");
        for words in ["no `-no such` here", "--seed: what stands there", "--init-image: the picture does not say"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(again(&json!({ "model": "a\u{fffd}" })).missing[0].contains("UTF-8"));
        assert_eq!(again(&json!({})).command(), "undiffuse sample MODEL");
    }

    #[test]
    fn files_that_are_added_are_known_again() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("ink");
        std::fs::write(&file, "abc").unwrap();
        let path = file.display().to_string();
        let told = |sha256: &str| {
            let files = [json!({ "file": path, "sha256": sha256, "scale": -0.5 }), json!({ "file": path })];
            json!({ "model": ".", "lora": files })
        };
        let table: &[Setting<()>] = &[Setting { option: "lora", kind: Kind::Adapter, value: |(), _| Value::Null }];
        // The SHA-256 of "abc", as FIPS 180-4 gives it.
        let same = Again::new("sample", "model", table, &told("ba7816bf8f01"));
        assert_eq!(same.command(), format!("undiffuse sample . --lora={path}:-0.5 --lora={path}"));
        assert_eq!(same.missing, [""; 0]);
        let other = Again::new("sample", "model", table, &told("000000000000"));
        assert!(other.missing[0].contains("another file now"), "{:?}", other.missing);
    }

    /// Nothing that a stranger's picture holds is more than an argument.
    #[test]
    fn hostile_settings_stay_words() {
        let facts = json!({ "model": "$(rm -rf ~)", "seed": "1; ls", "class": "--overwrite", "label": 0,
                            "histogram": "a\u{1b}]0;x\u{7}'b" });
        let expected = "undiffuse sample '$(rm -rf ~)' --seed '1; ls' --class=--overwrite \
                        --histogram $'a\\x1b]0;x\\x07\\'b'";
        assert_eq!(again(&facts).command(), expected);
    }
}
