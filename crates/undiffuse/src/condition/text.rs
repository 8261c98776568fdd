//! Words: what a text encoder makes of a prompt, for a network that attends to it \[Rombach22, section 3.3\].

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Attends, Condition, Reads};
use undiffuse_nn::weights::WeightsError;

use super::{Ask, ConditionConfig, Conditioning, Field, Member, Prompt, RequestError, Source, Told};
use crate::card::Card;
use crate::words::{Encoding, Reading, Words};

const NAME: &str = "prompt";
/// Most bytes of a prompt: more than fit into as many tokens as are read.
const LONGEST: usize = 1 << 14;

/// The prompts of a model.
#[derive(Clone, Debug)]
pub struct Text {
    words: Arc<Words>,
    how: Reading,
}

/// Of the same text encoder, read alike.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.words, &other.words) && self.how == other.how
    }
}

fn refused(problem: impl Into<String>) -> RequestError {
    RequestError::new(NAME, problem)
}

/// The words that ask for something, and how they are read; none are the empty prompt.
fn prompt(ask: &Ask) -> (&str, Reading) {
    match ask {
        Ask::Text(Prompt { words, how }) => (words, *how),
        _ => ("", Reading::default()),
    }
}

impl Text {
    /// Layers of the text encoder.
    pub fn layers(&self) -> usize {
        self.words.layers()
    }

    fn encoding(&self, ask: &Ask) -> Result<Encoding, WeightsError> {
        let (words, how) = prompt(ask);
        self.words.encode(words, how)
    }

    /// What has been prepared, or is made now.
    ///
    /// # Panics
    /// On weights that cannot be read, which [`prepare`](Conditioning::prepare) says first.
    fn encoded(&self, asks: &[Ask]) -> Vec<Encoding> {
        asks.iter().map(|ask| self.encoding(ask).unwrap_or_else(|e| panic!("{e}"))).collect()
    }
}

impl Member for Text {
    const FIELD: Field = Field {
        name: NAME,
        value: "TEXT",
        plural: "prompts",
        help: "What the pictures should show, in words; several take turns, each with its own --prompt. Nothing in particular when \
               not given",
        more: "`(words)` count 1.1 times as much, `[words]` 1.1 times less, `(words:1.3)` 1.3 times as much, and `\\(` is a bracket. A \
               prompt that is longer than the text encoder reads at a time goes on in further chunks, and `BREAK` begins one.",
        without: "this model was not trained on words",
        schema: || {
            let text = json!({ "type": "string" });
            json!({
                "description": "What the pictures should show, in words, or a list of prompts that take turns. `(words:1.3)` count \
                                1.3 times as much, `(words)` 1.1 times, `[words]` 1.1 times less; `\\(` is a bracket, and `BREAK` begins \
                                another chunk of tokens.",
                "oneOf": [text, { "type": "array", "items": text }],
            })
        },
        words: |value| {
            let words = match value {
                Value::Array(several) => several.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
                one => one.as_str().map(|text| vec![text.to_owned()]),
            };
            words.ok_or_else(|| "a prompt is a text, such as \"a red heart\"; or give a list of these".into())
        },
        recorded: |facts| facts[NAME].as_str().map(str::to_owned),
    };

    fn learn(_: &ConditionConfig, _: &Dataset, _: &[usize]) -> Result<Option<Self>, String> {
        Err("no network is trained on words yet: condition = \"class\", \"embedding\" and \"none\" are".into())
    }

    fn read(&Source { io, words, .. }: &Source) -> Result<Option<Self>, String> {
        let Some((words, Attends { width, .. })) = words.zip(io.tokens) else { return Ok(None) };
        if io.reads != Reads::Nothing {
            return Err("its network reads classes or a vector beside words, which nothing here can ask for".into());
        }
        match words.width() == width {
            true => Ok(Some(Self { words: Arc::clone(words), how: Reading::default() })),
            false => Err(format!(
                "its network attends to tokens of {width} numbers, and its text encoder makes {}: they are of different models",
                words.width()
            )),
        }
    }

    fn with_network(self, _: Reads) -> Result<Self, String> {
        Err("no network is trained on words yet".into())
    }

    fn reading(self, how: Reading) -> Self {
        Self { how, ..self }
    }
}

impl Conditioning for Text {
    fn field(&self) -> Option<&'static Field> {
        Some(&Self::FIELD)
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        let Prompt { words, how } = match ask {
            Ask::None => return Ok(()),
            Ask::Text(prompt) => prompt,
            Ask::Class(_) | Ask::Vector(_) => return Err(refused("the model takes words")),
        };
        if words.len() > LONGEST {
            return Err(refused(format!("{} bytes are more than any prompt has: at most {LONGEST}", words.len())));
        }
        if how.clip_skip >= self.layers() {
            return Err(refused(format!("{} layers of {} are to be left out", how.clip_skip, self.layers())));
        }
        self.words.tokenize(words, how.emphasis).map(drop).map_err(refused)
    }

    fn guides(&self) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn encode(&self, asks: &[Ask], device: &Device) -> Condition {
        let encoded = self.encoded(asks);
        let length = encoded.first().map_or(0, |encoding| encoding.length);
        let values: Vec<f32> = encoded.iter().flat_map(|encoding| encoding.values.iter().copied()).collect();
        let tokens = TensorData::new(values, [asks.len(), length, self.words.width()]);
        Condition { tokens: Some(Tensor::from_data(tokens, device)), ..Condition::default() }
    }

    /// Those of as many tokens. None are filled up for the sake of others, so a picture does not depend on what is made beside it.
    fn together(&self, asks: &[Ask]) -> Vec<Vec<usize>> {
        let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
        for (k, Encoding { length, .. }) in self.encoded(asks).into_iter().enumerate() {
            match groups.iter_mut().find(|(of, _)| *of == length) {
                Some((_, group)) => group.push(k),
                None => groups.push((length, vec![k])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn prepare(&self, asks: &mut dyn Iterator<Item = &Ask>) -> Result<(), WeightsError> {
        for ask in asks {
            self.encoding(ask)?;
        }
        Ok(())
    }

    fn held(&self) -> u64 {
        self.words.held()
    }

    fn release(&self) {
        self.words.release();
    }

    fn lost(&self, ask: &Ask) -> Option<String> {
        let (words, how) = prompt(ask);
        let cut = self.words.tokenize(words, how.emphasis).ok()?.cut?;
        Some(format!("the prompt is too long for the model, and this of it is cut off: {cut}"))
    }

    fn all(&self) -> Vec<Ask> {
        vec![self.nothing()]
    }

    fn ask(&self, _: &Dataset, _: usize) -> Ask {
        Ask::None
    }

    fn told_by(&self, _: &Dataset) -> Told {
        let lacking =
            "nothing is read of what is said of the pictures in words yet, so the model is asked with an empty prompt";
        Told { lacking: Some(lacking.into()), ..Told::default() }
    }

    /// The words are in files of their own.
    fn note(&self, _: &mut Card) {}

    fn nothing(&self) -> Ask {
        match self.how == Reading::default() {
            true => Ask::None,
            false => Ask::Text(Prompt { words: "".into(), how: self.how }),
        }
    }

    fn parse(&self, word: &str) -> Result<Ask, RequestError> {
        if word.is_empty() {
            return Ok(self.nothing());
        }
        let ask = Ask::Text(Prompt { words: word.into(), how: self.how });
        self.accepts(&ask).map(|()| ask)
    }

    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError> {
        self.parse(text).map(|ask| vec![ask])
    }

    fn print(&self, ask: &Ask) -> String {
        prompt(ask).0.to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "title": "Prompt", "type": "array", "items": { "type": "string", "maxLength": LONGEST } })
    }

    fn longest(&self) -> usize {
        LONGEST
    }

    fn describe(&self) -> Option<String> {
        Some(self.words.describe())
    }
}
