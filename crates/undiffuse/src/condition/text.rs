//! Words: what a text encoder makes of a prompt, for a network that attends to it \[Rombach22, section 3.3\].

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Attends, Condition, Io, Reads, Tokens};
use undiffuse_nn::weights::WeightsError;

use super::{Ask, Conditioning, Field, Lesson, Member, Prompt, RequestError, Source, Told};
use crate::card::Card;
use crate::words::{Emphasis, Encoding, Reading, Words, of_class};

const NAME: &str = "prompt";
const KIND: &str = "text";
/// Captions that a model which was trained on some remembers, for who asks for nothing.
const EXAMPLES: usize = 10;
/// Captions are read as they are: what stands in brackets counts like the rest.
const PLAIN: Reading = Reading { clip_skip: 0, emphasis: Emphasis::None };
/// Most bytes of a prompt: more than fit into as many tokens as are read.
const LONGEST: usize = 1 << 14;

/// The prompts of a model.
#[derive(Clone, Debug)]
pub struct Text {
    words: Arc<Words>,
    how: Reading,
    /// Whether the network reads the vector of the whole text beside its tokens.
    pooled: bool,
    captions: Option<Captions>,
    /// SHA-256 (hexadecimal) of the vocabulary, or of an encoder that stays as it is, while the network learns.
    fingerprint: String,
}

/// Whether a card tells of a model that was trained on words, whose text encoder lies beside its network.
pub(crate) fn is_text(card: &Card) -> bool {
    card.condition.as_ref().is_some_and(|value| value["kind"] == KIND)
}

/// How many tokens of a text a card's model is told, where what fills them up is masked.
pub(crate) fn masked_length(card: &Card) -> Option<usize> {
    card.condition.as_ref()?.get("length")?.as_u64().and_then(|length| usize::try_from(length).ok())
}

/// What a model was trained on, in its card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Captions {
    kind: String,
    /// See [`Words::masked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    /// Some of them.
    examples: Vec<String>,
    /// See [`WordsConfig::template`](crate::words::WordsConfig::template).
    template: String,
}

/// Of the same text encoder, read alike.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.words, &other.words) && self.how == other.how && self.captions == other.captions
    }
}

/// The caption of picture `i` whose turn it is; that of its class where it has none and there is a template.
pub(crate) fn caption(data: &Dataset, i: usize, turn: u64, template: Option<&str>) -> Option<String> {
    let mut captions = data.captions(i);
    match captions.len() as u64 {
        0 => Some(of_class(template?, data.classes().get(data.label(i)? as usize)?)),
        several => captions.nth((turn % several) as usize).map(str::to_owned),
    }
}

/// Every caption of the pictures `indices`.
pub(crate) fn captions(data: &Dataset, indices: &[usize], template: &str) -> Vec<String> {
    let all = |i: usize| {
        let turns = data.captions(i).len().max(1) as u64;
        (0..turns).filter_map(move |turn| caption(data, i, turn, Some(template)))
    };
    indices.iter().flat_map(|&i| all(i)).collect()
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

    /// What asks for what a caption says.
    fn plain(&self, words: &str) -> Ask {
        Ask::Text(Prompt { words: words.into(), how: Reading { clip_skip: self.how.clip_skip, ..PLAIN } })
    }

    fn template(&self) -> Option<&str> {
        self.captions.as_ref().map(|captions| captions.template.as_str())
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

    fn learn(Lesson { config, data, train, frozen }: Lesson) -> Result<Option<Self>, String> {
        let texts = captions(data, train, &config.words.template);
        if texts.is_empty() {
            return Err("the pictures have no captions and no classes: put captions beside them (metadata.jsonl with \
                        `file_name` and `text`, or a .txt file for each), or train with --set condition=none"
                .into());
        }
        let (words, fingerprint) = match frozen {
            Some(frozen) => {
                // Those of pictures that are held out, too: how they are told apart is no matter of the encoder's.
                let all: Vec<usize> = (0..data.len()).collect();
                let distinct: BTreeSet<String> = captions(data, &all, &config.words.template).into_iter().collect();
                let distinct: Vec<&str> = distinct.iter().map(String::as_str).collect();
                (frozen.of_captions(&distinct, config.words.length, data)?, frozen.fingerprint.clone())
            }
            None => {
                let words = config.words.reader(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
                let fingerprint = words.tokenizer().fingerprint();
                (words, fingerprint)
            }
        };
        // Spread over the data, each only once.
        let places: BTreeSet<usize> = (0..EXAMPLES).map(|k| k * texts.len() / EXAMPLES).collect();
        let captions = Captions {
            kind: KIND.into(),
            length: words.masked_length(),
            examples: places.into_iter().map(|at| texts[at].clone()).collect(),
            template: config.words.template.clone(),
        };
        Ok(Some(Self { words: Arc::new(words), how: PLAIN, pooled: true, captions: Some(captions), fingerprint }))
    }

    fn read(&Source { io, readers, card }: &Source) -> Result<Option<Self>, String> {
        let Some((words, Attends { width, length })) = readers.words.as_ref().zip(io.tokens) else { return Ok(None) };
        let own = card.condition.as_ref().filter(|value| value["kind"] == KIND);
        let pooled = io.reads == Reads::Vector(words.pooled()) && own.is_some();
        if io.reads != Reads::Nothing && !pooled {
            return Err("its network reads classes or a vector beside words, which nothing here can ask for".into());
        }
        if let Some((wanted, got)) = length.map(|wanted| (wanted, words.length())).filter(|(wanted, got)| wanted != got)
        {
            return Err(format!("its network attends to {wanted} tokens, and its card tells it {got} of a text"));
        }
        match words.width() == width {
            true => {
                let captions = own.map(|value| serde_json::from_value(value.clone())).transpose();
                let captions = captions.map_err(|e| format!("condition: {e}"))?;
                let words = Arc::clone(words);
                Ok(Some(Self { words, how: Reading::default(), pooled, captions, fingerprint: String::new() }))
            }
            false => Err(format!(
                "its network attends to tokens of {width} numbers, and its text encoder makes {}: they are of different models",
                words.width()
            )),
        }
    }

    fn with_network(self, io: &Io) -> Result<Self, String> {
        match io.tokens {
            Some(Attends { width, .. }) if width == self.words.width() && io.reads == self.reads() => Ok(self),
            _ => Err(format!("it attends to no tokens of {} numbers, so it can't be told words", self.words.width())),
        }
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
            Ask::Class(_) | Ask::Vector(_) | Ask::Small(_) => return Err(refused("the model takes words")),
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
        if self.pooled { Reads::Vector(self.words.pooled()) } else { Reads::Nothing }
    }

    fn attends(&self) -> Option<Attends> {
        Some(Attends { width: self.words.width(), length: self.words.masked_length() })
    }

    fn words(&self) -> Option<&Arc<Words>> {
        Some(&self.words)
    }

    fn tokens(&self, asks: &[Ask]) -> Option<Tokens> {
        self.words.learns().then(|| self.words.tokens(asks.iter().map(|ask| prompt(ask).0)))
    }

    fn encode(&self, asks: &[Ask], device: &Device) -> Condition {
        let encoded = self.encoded(asks);
        let length = encoded.first().map_or(0, |encoding| encoding.length);
        let values: Vec<f32> = encoded.iter().flat_map(|encoding| encoding.values.iter().copied()).collect();
        let tokens = TensorData::new(values, [asks.len(), length, self.words.width()]);
        let vector = self.pooled.then(|| {
            let values: Vec<f32> = encoded.iter().flat_map(|encoding| encoding.pooled.iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, [asks.len(), self.words.pooled()]), device)
        });
        let mask: Vec<f32> =
            encoded.iter().filter_map(|encoding| encoding.mask.as_deref()).flatten().copied().collect();
        let mask = (!mask.is_empty()).then(|| Tensor::from_data(TensorData::new(mask, [asks.len(), length]), device));
        Condition { tokens: Some(Tensor::from_data(tokens, device)), mask, vector, ..Condition::default() }
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

    /// Captions that it was trained on; the empty prompt of a model that does not say.
    fn all(&self) -> Vec<Ask> {
        match &self.captions {
            Some(Captions { examples, .. }) if !examples.is_empty() => {
                examples.iter().map(|words| self.plain(words)).collect()
            }
            _ => vec![self.nothing()],
        }
    }

    fn ask(&self, data: &Dataset, i: usize, turn: u64) -> Ask {
        caption(data, i, turn, self.template()).map_or(Ask::None, |words| self.plain(&words))
    }

    fn told_by(&self, data: &Dataset) -> Told {
        let without = (0..data.len()).filter(|&i| self.ask(data, i, 0) == Ask::None).count();
        let lacking = (without > 0).then(|| {
            format!(
                "{without} of {} pictures have no caption: for those the model is asked with an empty prompt",
                data.len()
            )
        });
        Told { lacking, ..Told::default() }
    }

    /// The words are in files of their own.
    fn note(&self, card: &mut Card) {
        let captions = |captions| serde_json::to_value(captions).expect("captions serialise");
        card.condition = self.captions.as_ref().map(captions);
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

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
