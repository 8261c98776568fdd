//! Embeddings: a vector of numbers a picture, such as continuous attributes.
//!
//! Where a training finds them (`condition = "embedding:FROM"`):
//!
//! | `FROM` | what it is |
//! |---|---|
//! | `brightness,width` | columns of the tables beside the pictures (`metadata.jsonl`), one after the other; each holds a number or a list of numbers. `embedding` when nothing is named |
//! | `FILE.safetensors` | the tensor `embedding [N, D]`: row `k` is picture `k` of the data, in the order of their names |
//!
//! Numbers are standardised by the training pictures, `z = (v - mean) / std`, and brought to the width that the network reads
//! by random Fourier features \[Tancik20, section 6.1\], `[cos(2 pi B z), sin(2 pi B z)]` with `B` normal and of standard
//! deviation [`SCALE`]` / sqrt(D)`: a fixed map, so that the network stays diffusers' own (`class_embed_type` "identity"). The
//! vector of no embedding is zero, which no embedding has.

pub(super) mod vectors;

use std::collections::BTreeSet;
use std::f64::consts::TAU;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undiffuse_data::Dataset;
use undiffuse_math::noise;
use undiffuse_nn::networks::{Condition, Io, Reads};

use super::{Ask, Conditioning, Field, Lesson, Member, RequestError, Source, Told};
use crate::card::Card;
use vectors::{WIDEST, check, fingerprint, rows, vectors};

/// Standard deviation of the frequencies for one standardised number: what is half a standard deviation apart is told apart.
const SCALE: f64 = 0.5;
/// The seed of the frequencies.
const SEED: u64 = 0x656d_6265_6464_696e;
/// The column, and the tensor of a file.
const NAME: &str = "embedding";
/// Vectors of training pictures that take turns when nothing is asked for.
const EXAMPLES: usize = 10;
/// Columns, or numbers of a vector, that a message names.
const LISTED: usize = 20;

/// The embeddings of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    stored: Stored,
    /// Numbers that the network reads.
    width: usize,
    /// `B [width / 2, D]`.
    frequencies: Arc<[f32]>,
}

/// What a card keeps of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    kind: String,
    from: String,
    numbers: Vec<Number>,
    examples: Vec<Vec<f32>>,
    fingerprint: String,
}

/// One number of the vectors, over the training pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number {
    name: String,
    mean: f64,
    std: f64,
    range: [f64; 2],
}

impl Number {
    fn of(name: String, values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap_or_default();
        let std = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Self { name, mean, std, range: [fold(f64::min), fold(f64::max)] }
    }
}

fn refused(problem: String) -> RequestError {
    RequestError::new(NAME, problem)
}

impl Embedding {
    fn dims(&self) -> usize {
        self.stored.numbers.len()
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.stored.numbers.iter().take(LISTED).map(|number| number.name.as_str()).collect();
        names.join(", ") + if self.dims() > LISTED { ", …" } else { "" }
    }

    /// A vector of as many finite numbers as the model takes.
    fn vector(&self, values: Vec<f32>) -> Result<Ask, RequestError> {
        if values.len() != self.dims() {
            let (given, takes) = (values.len(), self.dims());
            return Err(refused(format!("{given} numbers, the model takes {takes}: {}", self.names())));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(refused(format!("{bad} is not a finite number"))),
            None => Ok(Ask::Vector(values.into())),
        }
    }

    /// Appends `[cos(2 pi B z), sin(2 pi B z)]`.
    fn features(&self, vector: &[f32], out: &mut Vec<f32>) {
        let z: Vec<f64> =
            self.stored.numbers.iter().zip(vector).map(|(n, v)| (f64::from(*v) - n.mean) / n.std).collect();
        let angle = |row: &[f32]| TAU * row.iter().zip(&z).map(|(b, z)| f64::from(*b) * z).sum::<f64>();
        let angles: Vec<f64> = self.frequencies.chunks(self.dims()).map(angle).collect();
        out.extend(angles.iter().map(|angle| angle.cos() as f32));
        out.extend(angles.iter().map(|angle| angle.sin() as f32));
    }
}

impl Member for Embedding {
    const FIELD: Field = Field {
        name: NAME,
        value: "NUMBERS",
        plural: "embedding",
        help: "A vector of numbers separated by commas, or several that take turns, each with its own --embedding. Those of \
               training pictures in turn when not given",
        more: "The numbers are in the units of the data; `undiffuse inspect MODEL` lists their names and ranges. A .safetensors file \
               gives the rows of its tensor `embedding`, and `none` asks for nothing.",
        without: "this model was trained without embeddings",
        schema: || {
            let (numbers, word) =
                (json!({ "type": "array", "items": { "type": "number" } }), json!({ "type": "string" }));
            json!({
                "description": "A vector of numbers, or a list of vectors that take turns; those of training pictures do when \
                                there are none. A vector may be a text, its numbers separated by commas; `none` asks for \
                                nothing. The model's `ask` lists the numbers.",
                "oneOf": [word, numbers, { "type": "array", "items": { "oneOf": [word, numbers] } }],
            })
        },
        words: |value| {
            let vector = |value: &Value| match value {
                Value::String(word) => Some(word.clone()),
                Value::Array(numbers) if !numbers.is_empty() => {
                    let numbers = numbers.iter().map(|n| n.as_f64().map(|n| (n as f32).to_string()));
                    numbers.collect::<Option<Vec<_>>>().map(|numbers| numbers.join(","))
                }
                _ => None,
            };
            let words = match value {
                Value::Array(several) if several.iter().all(|item| !item.is_number()) => {
                    several.iter().map(vector).collect()
                }
                one => vector(one).map(|word| vec![word]),
            };
            words.ok_or_else(|| "an embedding is a list of numbers, such as [0.3, -1]; or give a list of these".into())
        },
        recorded: |facts| facts[NAME].as_str().map(str::to_owned),
    };

    fn learn(Lesson { config, data, train, .. }: Lesson) -> Result<Option<Self>, String> {
        let mut from = if config.from.is_empty() { NAME.to_owned() } else { config.from.clone() };
        if from.ends_with(".safetensors") {
            // The run may go on from elsewhere.
            from = std::fs::canonicalize(&from).map_or(from, |full| full.display().to_string());
        }
        let vectors = vectors(data, &from)?;
        let width = check(data, &from, &vectors)?;
        let of = |i: usize| vectors[i].as_deref().unwrap_or_default();
        let names: Vec<&str> = from.split(',').map(str::trim).collect();
        let name = |k: usize| match names.len() == width {
            true => names[k].to_owned(),
            false => format!("number {}", k + 1),
        };
        let number = |k: usize| Number::of(name(k), &train.iter().map(|&i| f64::from(of(i)[k])).collect::<Vec<_>>());
        // Spread over the data, each only once.
        let places: BTreeSet<usize> = (0..EXAMPLES).map(|k| train[k * train.len() / EXAMPLES]).collect();
        let stored = Stored {
            kind: NAME.into(),
            numbers: (0..width).map(number).collect(),
            examples: places.into_iter().map(|i| of(i).to_vec()).collect(),
            fingerprint: fingerprint(&vectors),
            from,
        };
        Ok(Some(Self { stored, width: 0, frequencies: Arc::default() }))
    }

    fn read(&Source { card, io, .. }: &Source) -> Result<Option<Self>, String> {
        let Some(value) = card.condition.as_ref().filter(|value| value["kind"] == NAME) else { return Ok(None) };
        let stored: Stored = serde_json::from_value(value.clone()).map_err(|e| format!("condition: {e}"))?;
        let sound = |n: &Number| n.mean.is_finite() && n.std > 0.0 && n.std.is_finite();
        let wide = (1..=WIDEST).contains(&stored.numbers.len());
        if !wide || !stored.numbers.iter().all(sound) || stored.examples.iter().any(|v| v.len() != stored.numbers.len())
        {
            return Err("condition: its numbers need a mean and a std each, and examples of as many".into());
        }
        Self { stored, width: 0, frequencies: Arc::default() }.with_network(io).map(Some)
    }

    fn with_network(mut self, io: &Io) -> Result<Self, String> {
        let (Reads::Vector(width), dims) = (io.reads, self.dims()) else {
            return Err("it reads no vectors, so it can't be told embeddings: network.kind = \"unet\" can".into());
        };
        let mut frequencies = vec![0.0; width / 2 * dims];
        noise::normal(SEED, 0, 0, &mut frequencies);
        let scale = SCALE / (dims as f64).sqrt();
        frequencies.iter_mut().for_each(|b| *b = (f64::from(*b) * scale) as f32);
        (self.width, self.frequencies) = (width, frequencies.into());
        Ok(self)
    }
}

impl Conditioning for Embedding {
    fn field(&self) -> Option<&'static Field> {
        Some(&Self::FIELD)
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        match ask {
            Ask::None => Ok(()),
            Ask::Vector(values) => self.vector(values.to_vec()).map(drop),
            Ask::Class(_) | Ask::Text(_) | Ask::Small(_) => Err(refused(format!(
                "the model takes no classes and no words, but {} numbers: {}",
                self.dims(),
                self.names()
            ))),
        }
    }

    fn guides(&self) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::Vector(self.width)
    }

    fn encode(&self, asks: &[Ask], device: &Device) -> Condition {
        let mut values = Vec::with_capacity(asks.len() * self.width);
        for ask in asks {
            match ask {
                Ask::Vector(vector) => self.features(vector, &mut values),
                _ => values.extend(std::iter::repeat_n(0.0, self.width)),
            }
        }
        Condition::vector(Tensor::from_data(TensorData::new(values, [asks.len(), self.width]), device))
    }

    fn all(&self) -> Vec<Ask> {
        self.stored.examples.iter().map(|vector| Ask::Vector(vector.as_slice().into())).collect()
    }

    fn ask(&self, data: &Dataset, i: usize, _: u64) -> Ask {
        let vector = vectors(data, &self.stored.from).ok().and_then(|vectors| vectors[i].clone());
        vector.and_then(|vector| self.vector(vector).ok()).unwrap_or_default()
    }

    fn told_by(&self, data: &Dataset) -> Told {
        let from = &self.stored.from;
        match vectors(data, from) {
            Err(problem) => Told { lacking: Some(problem), ..Told::default() },
            Ok(vectors) => {
                let other = |width| {
                    let (takes, names) = (self.dims(), self.names());
                    format!("the pictures have {width} numbers under `{from}`, the model takes {takes}: {names}")
                };
                let lacking = match check(data, from, &vectors) {
                    Ok(width) => (width != self.dims()).then(|| other(width)),
                    Err(problem) => Some(problem),
                };
                Told { fingerprint: fingerprint(&vectors), lacking }
            }
        }
    }

    fn note(&self, card: &mut Card) {
        card.condition = serde_json::to_value(&self.stored).ok();
    }

    fn parse(&self, word: &str) -> Result<Ask, RequestError> {
        if word.trim().eq_ignore_ascii_case("none") {
            return Ok(Ask::None);
        }
        let number =
            |part: &str| part.trim().parse().map_err(|_| refused(format!("`{}` is not a number", part.trim())));
        self.vector(word.split(',').map(number).collect::<Result<_, _>>()?)
    }

    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError> {
        match text.ends_with(".safetensors") {
            true => rows(Path::new(text)).map_err(refused)?.into_iter().map(|row| self.vector(row)).collect(),
            false => Ok(vec![self.parse(text)?]),
        }
    }

    fn print(&self, ask: &Ask) -> String {
        match ask {
            Ask::Vector(values) => values.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
            _ => "none".into(),
        }
    }

    fn schema(&self) -> Value {
        let item = |number: &Number| {
            let [low, high] = number.range;
            json!({ "title": number.name, "type": "number", "minimum": low, "maximum": high, "default": number.mean })
        };
        let items: Vec<Value> = self.stored.numbers.iter().map(item).collect();
        json!({ "title": "Embedding", "type": "array", "prefixItems": items })
    }

    fn longest(&self) -> usize {
        48 * self.dims()
    }

    fn fingerprint(&self) -> &str {
        &self.stored.fingerprint
    }

    fn describe(&self) -> Option<String> {
        let one = |n: &Number| format!("{} ({} to {}, mean {:.4})", n.name, n.range[0], n.range[1], n.mean);
        let shown: Vec<String> = self.stored.numbers.iter().take(LISTED).map(one).collect();
        let more = if self.dims() > LISTED { ", …" } else { "" };
        Some(format!("{} numbers: {}{more}", self.dims(), shown.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use undiffuse_data::source::{Entry, Memory, Payload};
    use undiffuse_data::{Image, Options};

    use super::*;
    use crate::condition::{ConditionConfig, Conditioner, Readers};

    fn embedding() -> Embedding {
        let number = |name: &str, mean, std| Number { name: name.into(), mean, std, range: [-1.0, 1.0] };
        let stored = Stored {
            kind: NAME.into(),
            from: NAME.into(),
            numbers: vec![number("a", 0.0, 1.0), number("b", 1.0, 2.0)],
            examples: vec![vec![0.5, 1.0]],
            fingerprint: String::new(),
        };
        Embedding { stored, width: 0, frequencies: Arc::default() }.with_network(&io(Reads::Vector(512))).unwrap()
    }

    /// A network that reads so.
    fn io(reads: Reads) -> Io {
        let (channels_in, channels_out, sample_size) = (3, 3, None);
        Io { channels_in, channels_out, sample_size, reads, tokens: None, timestep_cond: None }
    }

    /// The kernel of the features is the Gaussian that random features stand for: `exp(-2 pi^2 |B's std|^2 |z - z'|^2)`
    /// (Bochner's theorem), here within the error of 256 frequencies.
    #[test]
    fn features_have_their_kernel() {
        let model = embedding();
        let of = |vector: &[f32]| {
            let mut out = Vec::new();
            model.features(vector, &mut out);
            out
        };
        for (a, b) in [([0.0f32, 1.0], [0.0f32, 1.0]), ([0.0, 1.0], [0.5, 1.0]), ([0.3, 2.0], [0.0, 1.0])] {
            let dot: f32 = of(&a).iter().zip(of(&b)).map(|(x, y)| x * y).sum::<f32>() / 256.0;
            let distance = f64::from(a[0] - b[0]).powi(2) + f64::from((a[1] - b[1]) / 2.0).powi(2);
            let expected = (-0.5 * TAU * TAU * SCALE * SCALE / 2.0 * distance).exp();
            assert!((f64::from(dot) - expected).abs() < 0.12, "{a:?} {b:?}: {dot} {expected}");
        }
        let condition = model.encode(&[Ask::None, Ask::Vector([0.0, 1.0].into())], &Device::flex());
        let values: Vec<f32> = condition.vector.unwrap().into_data().try_into_vec_as().unwrap();
        assert!(values[..512].iter().all(|v| *v == 0.0) && values[512..768].iter().all(|v| *v == 1.0));
    }

    #[test]
    fn words_and_their_refusals() {
        let model = Conditioner::from(embedding());
        for word in ["0.3,-1", "none", "1e-7,3.4028235e38"] {
            let ask = model.parse(word).unwrap();
            assert_eq!(model.parse(&model.print(&ask)), Ok(ask), "{word}");
        }
        for (word, problem) in [
            ("1", "1 numbers, the model takes 2: a, b"),
            ("1,x", "`x` is not a number"),
            ("1,inf", "inf is not a finite"),
        ] {
            let said = model.parse(word).unwrap_err().to_string();
            assert!(said.starts_with("embedding: ") && said.contains(problem), "{said}");
        }
        assert!(model.accepts(&Ask::Class(3)).unwrap_err().to_string().contains("no classes"));
        let words = |value: Value| (Embedding::FIELD.words)(&value);
        assert_eq!(words(json!([0.3, -1])).unwrap(), ["0.3,-1"]);
        assert_eq!(words(json!([[0.3, -1], "none"])).unwrap(), ["0.3,-1", "none"]);
        assert!(words(json!({ "a": 1 })).is_err() && words(json!([[true]])).is_err());
        let mut card = Card::default();
        model.note(&mut card);
        let read = |reads| Conditioner::read(&Source { card: &card, io: &io(reads), readers: &Readers::default() });
        assert_eq!(read(Reads::Vector(512)).unwrap(), model);
        assert!(read(Reads::Labels(3)).unwrap_err().contains("reads no vectors"));
    }

    #[test]
    fn bad_data_are_named() {
        let entry = |k: usize| Entry {
            name: format!("{k}.png"),
            payload: Payload::Pixels(Image::new(4, 4, 1, vec![k as u8; 16]), "memory"),
            label: None,
            captions: Vec::new(),
        };
        let options = Options { size: Some(4), ..Options::default() };
        let data = |vectors: &[Option<&[f32]>]| {
            let mut source = Memory::new((0..vectors.len()).map(entry).collect());
            let data = Dataset::from_source("memory", &mut source, &options).unwrap();
            let column = vectors.iter().map(|vector| vector.map(<[f32]>::to_vec)).collect();
            data.column::<()>("embedding:x", |_| Ok(column)).unwrap();
            data
        };
        let config = ConditionConfig { kind: NAME.into(), from: "x".into(), ..ConditionConfig::default() };
        let learn = |vectors: &[Option<&[f32]>]| {
            Embedding::learn(Lesson { config: &config, data: &data(vectors), train: &[0, 1], frozen: None })
        };
        for (vectors, problem) in [
            (&[None, None][..], "2 of 2 pictures have no numbers under `x`: 0.png, 1.png"),
            (&[Some(&[1.0][..]), None, None], "2 of 3 pictures have no numbers under `x`: 1.png, 2.png"),
            (&[Some(&[1.0]), Some(&[1.0, 2.0])], "`1.png` has 2 numbers under `x`, `0.png` has 1"),
            (&[Some(&[1.0]), Some(&[f32::INFINITY])], "1 pictures have numbers that are not finite: 1.png"),
        ] {
            let said = learn(vectors).unwrap_err();
            assert!(said.contains(problem), "{said}");
        }
        let learned = learn(&[Some(&[1.0]), Some(&[3.0])]).unwrap().unwrap();
        // What other data tell it, or lack.
        let told = |vectors: &[Option<&[f32]>]| learned.told_by(&data(vectors));
        assert_eq!(told(&[Some(&[1.0]), Some(&[3.0])]).lacking, None);
        for (vectors, problem) in [
            (&[Some(&[1.0][..]), None][..], "1 of 2 pictures have no numbers under `x`: 1.png"),
            (&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0])], "have 2 numbers under `x`, the model takes 1: x"),
        ] {
            assert!(told(vectors).lacking.unwrap().contains(problem), "{:?}", told(vectors));
        }
        let swapped = [&[Some(&[1.0][..]), Some(&[3.0])][..], &[Some(&[3.0]), Some(&[1.0])], &[Some(&[1.0]), None]];
        let fingerprints: BTreeSet<String> = swapped.map(|vectors| told(vectors).fingerprint).into();
        assert_eq!(fingerprints.len(), 3);
        assert_eq!((learned.stored.numbers[0].mean, learned.stored.numbers[0].std), (2.0, 1.0));
        assert_eq!(learned.stored.numbers[0].name, "x");
    }
}
