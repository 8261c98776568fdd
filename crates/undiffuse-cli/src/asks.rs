//! What can be asked of a model, as options: one for each field of the registry, and what goes with all of them.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value};
use undiffuse::condition::{Ask, Cond, Conditioner, Field, NEGATIVE};
use undiffuse::files;

use crate::common::usage;
use crate::sampling::refused;

/// The option that names a file of asks.
pub const FILE: &str = "prompts";
/// Most bytes of such a file.
const LIMIT: u64 = 64 << 20;

/// `--class` and the like: what was given, in the order of the registry.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    asks: Vec<(&'static Field, String)>,
    negatives: Vec<String>,
    file: Option<PathBuf>,
}

impl Asking {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty() && self.file.is_none()
    }

    /// What takes turns.
    ///
    /// # Errors
    /// An option that the model does not take, a word that means nothing to it.
    pub fn asks(&self, conditioner: &Conditioner) -> anyhow::Result<Vec<Ask>> {
        let mut asks = Vec::new();
        for (field, text) in &self.asks {
            conditioner.takes(field).map_err(refused)?;
            asks.extend(conditioner.list(text).map_err(refused)?);
        }
        Ok(asks)
    }

    /// What `n` pictures should show, as many as there are asks where `n` is not given, and what they are led away from.
    ///
    /// # Errors
    /// As [`asks`](Self::asks); a file that can't be read.
    pub fn cond(&self, conditioner: &Conditioner, n: Option<usize>) -> anyhow::Result<Cond> {
        let mut asks = self.asks(conditioner)?;
        let mut negatives = self.negatives.clone();
        if let Some(path) = &self.file {
            for (line, negative) in read(path, conditioner)? {
                asks.push(line);
                negatives.extend(negative);
            }
            if negatives.len() > 1 && negatives.len() != asks.len() {
                return Err(usage(format!(
                    "--{FILE} `{}`: some lines have a `{NEGATIVE}` and others have none; give it to all or to none",
                    path.display()
                )));
            }
        }
        let n = n.unwrap_or(asks.len().max(1));
        conditioner.away(conditioner.turns(asks, n), &negatives).map_err(refused)
    }
}

/// The asks in a file, each with what it is led away from if that is said: a line each, as the option takes it or as a JSON object.
fn read(path: &Path, conditioner: &Conditioner) -> anyhow::Result<Vec<(Ask, Option<String>)>> {
    let shown = path.display();
    let Some(field) = conditioner.field() else {
        return Err(usage(format!("--{FILE} `{shown}`: nothing can be asked of this model")));
    };
    let text = String::from_utf8(files::read(path, LIMIT)?);
    let text = text.map_err(|_| usage(format!("--{FILE} `{shown}` is not UTF-8 text")))?;
    let mut asks = Vec::new();
    for (k, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: String| usage(format!("--{FILE} `{shown}`, line {}: {problem}", k + 1));
        let (word, negative) = match line.trim_start().starts_with('{') {
            true => object(line, field).map_err(wrong)?,
            false => (line.to_owned(), None),
        };
        asks.push((conditioner.parse(&word).map_err(|e| wrong(e.to_string()))?, negative));
    }
    match asks.is_empty() {
        true => Err(usage(format!("--{FILE} `{shown}` is empty"))),
        false => Ok(asks),
    }
}

/// `{"prompt": "a red heart", "negative": "blue"}`.
fn object(line: &str, field: &Field) -> Result<(String, Option<String>), String> {
    let mut fields: Map<String, Value> =
        serde_json::from_str(line).map_err(|e| format!("it is no JSON object: {e}"))?;
    let told = fields.remove(field.name).ok_or_else(|| format!("it has no `{}`", field.name))?;
    let word = match &(field.words)(&told)?[..] {
        [word] => word.clone(),
        _ => return Err(format!("`{}`: one of them a line", field.name)),
    };
    let negative = match fields.remove(NEGATIVE) {
        Some(Value::String(negative)) => Some(negative),
        None => None,
        Some(_) => return Err(format!("`{NEGATIVE}` is a text")),
    };
    match fields.keys().next() {
        Some(unknown) => Err(format!("it has a field `{unknown}`; known are `{}` and `{NEGATIVE}`", field.name)),
        None => Ok((word, negative)),
    }
}

impl clap::Args for Asking {
    fn augment_args(command: Command) -> Command {
        let text = |name: &'static str, value: &'static str| {
            Arg::new(name).long(name).value_name(value).action(ArgAction::Append).allow_hyphen_values(true)
        };
        let option = |field: &Field| {
            let long = format!("{}\n\n{}", field.help, field.more);
            text(field.name, field.value).help(field.help).long_help(long)
        };
        let negative = "What guidance leads away from, in the same words as what is asked for; several take turns. Nothing in \
                        particular when not given";
        let file = "A file of what is asked for, a line each: words as the option takes them, or a JSON object such as {\"prompt\": \"a \
                    red heart\", \"negative\": \"blue\"}";
        let file = Arg::new(FILE).long(FILE).value_name("FILE").value_parser(value_parser!(PathBuf)).help(file);
        let options = Conditioner::FIELDS.iter().map(|field| option(field));
        command.args(options).arg(text(NEGATIVE, "TEXT").help(negative)).arg(file)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Asking {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned();
        let given = |field: &'static Field| all(field.name).map(move |text| (field, text));
        Ok(Self {
            asks: Conditioner::FIELDS.iter().flat_map(|field| given(field)).collect(),
            negatives: all(NEGATIVE).collect(),
            file: matches.get_one(FILE).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
