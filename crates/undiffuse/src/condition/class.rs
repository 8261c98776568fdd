//! Classes as people name them: the one place where a class is read from words and printed as a word.
//!
//! 1. A class is called by its name: as it is spelt; where none is spelt so, without regard to Unicode form; and where there is none
//!    either, without regard to case and to blanks around it, if only one class fits.
//! 2. `#3` is the class of label 3, and `none` is no class, where the model can do without. A class that is called so goes
//!    first; then `##3` is the label.
//! 3. A bare number is also a label, where no class's name is a number.
//!
//! What [`Classes::print`] prints, [`Classes::parse`] reads as the same label, whatever the classes are called.

use burn::tensor::Device;
use serde_json::{Map, Value, json};
use undiffuse_data::text::escaped;
use undiffuse_data::{Dataset, names};
use undiffuse_nn::networks::{Condition, Io, Reads};

use super::{Ask, Conditioning, Field, Lesson, Member, RequestError, Source, Told};
use crate::card::Card;

/// Names that a refusal lists.
const LISTED: usize = 40;
/// Names of the data's classes that a message shows.
const SHOWN: usize = 5;
/// Letters of a word that a refusal repeats.
const REPEATED: usize = 80;

/// The classes of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    rows: usize,
    null: Option<u32>,
}

impl Classes {
    /// No classes.
    pub const NONE: Self = Self { names: Vec::new(), rows: 0, null: None };

    /// The classes of a network with `rows` labels, the first of which have these names; `null` is the label of "no class".
    pub fn new(names: &[String], rows: usize, null: Option<u32>) -> Self {
        let names = names[..names.len().min(rows)].to_vec();
        Self { names, rows, null: null.filter(|&label| (label as usize) < rows) }
    }

    /// The label that the network reads for an ask. A network that has no label for "no class" reads its last.
    pub fn label(&self, ask: &Ask) -> u32 {
        match ask {
            Ask::Class(label) => *label,
            _ => self.null.unwrap_or(self.rows.saturating_sub(1) as u32),
        }
    }

    /// What asks for a label.
    pub fn asking(&self, label: u32) -> Ask {
        if Some(label) == self.null { Ask::None } else { Ask::Class(label) }
    }

    /// Their names, in the order of their labels; empty where they have none.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Labels of the network; `None` where it has none.
    pub fn rows(&self) -> Option<usize> {
        (self.rows > 0).then_some(self.rows)
    }

    /// Whether the model knows no classes.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The label that a word means.
    ///
    /// # Errors
    /// No class or several, with those there are.
    pub fn parse(&self, word: &str) -> Result<u32, RequestError> {
        let refused = |problem: String| Err(RequestError::new("class", problem));
        if self.is_empty() {
            return refused("this model was trained without classes".into());
        }
        match names::meant(&self.names, word)[..] {
            [one] => return Ok(one as u32),
            [] => {}
            ref several => {
                let several: Vec<_> = several.iter().map(|&k| format!("{} (#{k})", shown(&self.names[k]))).collect();
                let (word, several) = (repeated(word), several.join(", "));
                return refused(format!(
                    "`{word}` can mean several classes: {several}; spell it exactly or give its #"
                ));
            }
        }
        let bare = word.trim();
        let null = self.null.filter(|_| bare.eq_ignore_ascii_case("none"));
        if let Some(label) = null.or_else(|| self.escaped(bare)).or_else(|| self.number(bare)) {
            return Ok(label);
        }
        let hint = if digits(bare) && !self.names.is_empty() { "; `#0` is the class of label 0" } else { "" };
        refused(format!("the model has no class `{}`; it has {}{hint}", repeated(word), self.choices()))
    }

    /// `#3`.
    fn escaped(&self, word: &str) -> Option<u32> {
        let number = word.trim_start_matches('#');
        let label = number.parse().ok().filter(|_| number.len() < word.len() && digits(number));
        label.filter(|&label: &u32| (label as usize) < self.rows)
    }

    /// `3`, which is a class and not the lack of one.
    fn number(&self, word: &str) -> Option<u32> {
        let count = if self.names.is_empty() { self.rows } else { self.names.len() };
        let label = word.parse().ok().filter(|_| digits(word) && !self.names.iter().any(|name| digits(name.trim())));
        label.filter(|&label: &u32| (label as usize) < count && Some(label) != self.null)
    }

    /// The labels of classes separated by commas. A name that has commas in it is taken as a whole.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn list(&self, text: &str) -> Result<Vec<u32>, RequestError> {
        let parts: Vec<&str> = text.split(',').collect();
        let commas = self.names.iter().map(|name| name.matches(',').count()).max().unwrap_or(0);
        let mut labels = Vec::new();
        let mut from = 0;
        while from < parts.len() {
            let longest = parts.len().min(from + commas + 1);
            let whole = (from + 2..=longest).rev().find_map(|to| Some((to, self.spelt(&parts[from..to].join(","))?)));
            let (to, label) = match whole {
                Some(found) => found,
                None => (from + 1, self.parse(parts[from])?),
            };
            labels.push(label);
            from = to;
        }
        Ok(labels)
    }

    /// The class that is spelt so, or so but for blanks around it.
    fn spelt(&self, text: &str) -> Option<u32> {
        let of = |text: &str| {
            let mut found = (0..self.names.len()).filter(|&k| self.names[k] == text);
            found.next().filter(|_| found.next().is_none())
        };
        of(text).or_else(|| of(text.trim())).map(|k| k as u32)
    }

    /// The word for a label: its name, `none`, its number, or what is left of these where the names are taken.
    pub fn print(&self, label: u32) -> String {
        let name = self.names.get(label as usize).cloned();
        let null = (Some(label) == self.null).then(|| "none".to_owned());
        let number = [label.to_string()].into_iter().chain((1..).map(|n| format!("{}{label}", "#".repeat(n))));
        let words = name.into_iter().chain(null).chain(number);
        // Names are finitely many, so one of the numbers is none of them; a label that the model does not have is read by nobody.
        let mut words = words.take(self.names.len() + 4);
        words.find(|word| self.parse(word).as_ref() == Ok(&label)).unwrap_or_else(|| format!("#{label}"))
    }

    /// The labels that stand for a class, in order.
    pub fn labels(&self) -> Vec<u32> {
        match self.names.len() {
            0 => (0..self.rows as u32).filter(|&label| Some(label) != self.null).collect(),
            named => (0..named as u32).collect(),
        }
    }

    /// The label of what other data call `others[k]`: by its name, and by its number where one side has numbers for names, as idx
    /// files do. Two sets of words that differ mean nothing to each other.
    pub fn of(&self, others: &[String], k: u32) -> Option<u32> {
        let name = others.get(k as usize)?;
        let numbers = |names: &[String]| names.iter().all(|name| digits(name));
        if self.names.is_empty() {
            // Its names are its labels.
            let in_order = || self.labels().get(k as usize).copied().filter(|_| others.len() == self.labels().len());
            return if numbers(others) { self.number(name) } else { in_order() };
        }
        match names::meant(&self.names, name)[..] {
            // Where two names of the data are like one of ours, it is the one that is nearer.
            [one] => (names::meant(others, &self.names[one])[..] == [k as usize]).then_some(one as u32),
            [] => (others.len() == self.names.len() && numbers(others) != numbers(&self.names)).then_some(k),
            _ => None,
        }
    }

    /// The classes there are, for people.
    pub fn choices(&self) -> String {
        if self.names.is_empty() {
            let labels = self.labels();
            return format!("{} to {}", labels.first().unwrap_or(&0), labels.last().unwrap_or(&0));
        }
        let mut all: Vec<String> = self.names.iter().take(LISTED).map(|name| shown(name)).collect();
        if self.names.len() > LISTED {
            all.push(format!("and {} more", self.names.len() - LISTED));
        }
        all.join(", ")
    }
}

impl Member for Classes {
    const FIELD: Field = Field {
        name: "class",
        value: "CLASS",
        plural: "classes",
        help: "Class, or several that take turns: separated by commas, or each with its own --class. All in turn when not given",
        more: "A class is named as it is spelt, or without regard to case where that can mean one class only; a name with commas in it \
               is taken as a whole. `#3`, or a bare 3 where no class's name is a number, is the class of label 3; `none` is no class, \
               where the model can do without. A class that is called `#3` or `none` goes first; then `##3` is the label.",
        without: "this model was trained without classes",
        schema: || {
            let class = json!({ "oneOf": [{ "type": "string" }, { "type": "integer", "minimum": 0 }] });
            json!({
                "description": "A class, or a list of classes that take turns; all do when there are none. A class is named as it is \
                                spelt, or without regard to case where that can mean one class only; `#3`, or a bare 3 where no \
                                class's name is a number, is the class of label 3; `none` is no class. A class that is called `#3` \
                                or `none` goes first; then `##3` is the label.",
                "oneOf": [class["oneOf"][0], class["oneOf"][1], { "type": "array", "items": class }],
            })
        },
        words: |value| {
            let word = |value: &Value| match value {
                Value::String(word) => Some(word.clone()),
                value => value.as_u64().filter(|&label| u32::try_from(label).is_ok()).map(|label| label.to_string()),
            };
            let words = match value {
                Value::Array(several) => several.iter().map(word).collect(),
                one => word(one).map(|word| vec![word]),
            };
            let expected = "a class is a name, such as \"dog\", or a label, such as 3; or give a list of these";
            words.ok_or_else(|| expected.into())
        },
        recorded,
    };

    fn learn(Lesson { data, .. }: Lesson) -> Result<Option<Self>, String> {
        let (names, n) = (data.classes(), data.classes().len());
        Ok((n > 1).then(|| Self::new(names, n + 1, Some(n as u32))))
    }

    fn read(&Source { card, io, .. }: &Source) -> Result<Option<Self>, String> {
        let rows = match io.reads {
            Reads::Labels(rows) => rows,
            _ => 0,
        };
        if card.classes.len() > rows {
            let named = card.classes.len();
            return Err(format!("it names {named} classes, and the network has num_class_embeds = {rows}"));
        }
        match card.null_class {
            Some(null) if null as usize >= rows => {
                Err(format!("null_class is {null}, and the network has num_class_embeds = {rows}"))
            }
            null => Ok((rows > 0).then(|| Self::new(&card.classes, rows, null))),
        }
    }

    fn with_network(self, io: &Io) -> Result<Self, String> {
        match io.reads {
            Reads::Labels(rows) if rows >= self.rows => Ok(self),
            _ => Err("it reads no class labels: train it without classes (--set condition=none)".into()),
        }
    }
}

impl Conditioning for Classes {
    fn field(&self) -> Option<&'static Field> {
        Some(&Self::FIELD)
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        let problem = match ask {
            Ask::None if self.null.is_some() => return Ok(()),
            Ask::Class(label) if (*label as usize) < self.rows => return Ok(()),
            Ask::None => format!("the model has not learned to go without a class; it has {}", self.choices()),
            Ask::Class(label) => format!("the model has no label {label}; it has {}", self.choices()),
            Ask::Vector(_) | Ask::Text(_) | Ask::Small(_) => {
                format!("the model takes classes; it has {}", self.choices())
            }
        };
        Err(RequestError::new("class", problem))
    }

    fn guides(&self) -> bool {
        self.null.is_some()
    }

    fn reads(&self) -> Reads {
        Reads::Labels(self.rows)
    }

    fn encode(&self, asks: &[Ask], _: &Device) -> Condition {
        Condition::labels(asks.iter().map(|ask| self.label(ask) as f32).collect())
    }

    fn all(&self) -> Vec<Ask> {
        let labels = self.labels();
        match labels.is_empty() {
            // A network whose one label is that of no class.
            true => vec![Ask::None],
            false => labels.into_iter().map(|label| self.asking(label)).collect(),
        }
    }

    fn ask(&self, data: &Dataset, i: usize, _: u64) -> Ask {
        let of = |k| if data.classes() == self.names { Some(k) } else { self.of(data.classes(), k) };
        data.label(i).and_then(of).map_or(Ask::None, |label| self.asking(label))
    }

    fn told_by(&self, data: &Dataset) -> Told {
        let known = (0..data.classes().len()).any(|k| self.of(data.classes(), k as u32).is_some());
        let (has, more) = (data.classes().iter().take(SHOWN), if data.classes().len() > SHOWN { ", …" } else { "" });
        let has: Vec<String> = has.map(|name| shown(name)).collect();
        let lacking = || match has.is_empty() {
            true => format!("the pictures have no classes; the model's are {}", self.choices()),
            false => {
                format!("none of the classes is the model's: {}{more}; those are {}", has.join(", "), self.choices())
            }
        };
        Told { lacking: (!known).then(lacking), ..Told::default() }
    }

    fn note(&self, card: &mut Card) {
        (card.classes, card.null_class) = (self.names.clone(), self.null);
    }

    fn parse(&self, word: &str) -> Result<Ask, RequestError> {
        Classes::parse(self, word).map(|label| self.asking(label))
    }

    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError> {
        Ok(Classes::list(self, text)?.into_iter().map(|label| self.asking(label)).collect())
    }

    fn print(&self, ask: &Ask) -> String {
        Classes::print(self, self.label(ask))
    }

    fn facts(&self, ask: &Ask) -> Map<String, Value> {
        let facts = [("class", json!(Conditioning::print(self, ask))), ("label", json!(self.label(ask)))];
        facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }

    fn schema(&self) -> Value {
        let none = self.null.map(|_| Ask::None);
        let words: Vec<String> = self.all().iter().chain(&none).map(|ask| Conditioning::print(self, ask)).collect();
        json!({ "title": "Class", "type": "array", "items": { "enum": words } })
    }

    fn longest(&self) -> usize {
        self.names.iter().map(String::len).max().unwrap_or(0)
    }

    fn describe(&self) -> Option<String> {
        let null = self.null.map(|null| format!(" (no class: {null})")).unwrap_or_default();
        (!self.names.is_empty()).then(|| format!("{}{null}: {}", self.names.len(), self.names.join(", ")))
    }

    fn classes(&self) -> &Classes {
        self
    }
}

/// The word for the class of a picture, from the facts in its PNG; `None` where it has none.
fn recorded(facts: &Value) -> Option<String> {
    let class = facts["class"].as_str()?;
    // Formerly a label without a name was noted as `none`, as no class was; but models of others had no label for that.
    let nameless = class == "none" && facts["trained"].is_null();
    let label = facts["label"].as_u64().filter(|_| nameless);
    Some(label.map_or_else(|| class.to_owned(), |label| format!("#{label}")))
}

/// Whether it is a whole number.
fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name in a list of names.
fn shown(name: &str) -> String {
    let plain =
        !name.contains([',', '"']) && name.trim() == name && !name.is_empty() && !name.contains(char::is_control);
    if plain { name.to_owned() } else { format!("{name:?}") }
}

/// A word of a request in a refusal.
fn repeated(word: &str) -> String {
    escaped(&word.chars().take(REPEATED).collect::<String>()).into_owned()
}
