//! What a CLIP sees in a picture: the vector by which a decoder of DALL·E 2 is asked for others like it \[Ramesh22, section 2.1\].
//!
//! `condition = "picture:CLIP"` names the folder of a CLIP, whose networks stay as they are. Its vector `v` of a picture is taken at
//! length 1, less the training pictures' mean, over their deviation, `z = (v / |v| - mean) / std`, and the network reads `z [D]`
//! twice, as the paper's decoder does: added to the embedding of the time, and as a token to attend to. No picture in particular
//! is a vector of zeros. A model carries its CLIP, so it is asked with pictures.

mod vectors;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undiffuse_data::{Dataset, Image, Options, names};
use undiffuse_nn::networks::{Attends, Condition, Io, Reads};

use super::embedding::vectors::rows;
use super::{Ask, Conditioning, Field, Lesson, Member, RequestError, Source, Told};
use crate::card::Card;
use crate::clip::{ClipModel, Vectors};
use crate::image::{URL, from_url};
use vectors::{fingerprint, vectors};

const NAME: &str = "picture";
/// Vectors of training pictures that take turns when nothing is asked for.
const EXAMPLES: usize = 10;
/// Most letters of a word: a vector of numbers, or the URL of a picture.
const LONGEST: usize = 1 << 22;

/// The pictures that a model is asked with.
#[derive(Clone, Debug)]
pub struct Pictures {
    stored: Stored,
    clip: Arc<ClipModel>,
}

/// Of the same CLIP, standardised alike.
impl PartialEq for Pictures {
    fn eq(&self, other: &Self) -> bool {
        self.stored == other.stored
    }
}

/// What a card keeps of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    kind: String,
    /// Name of the CLIP: where it lay is nobody's business.
    from: String,
    /// See [`ClipModel::fingerprint`].
    clip: String,
    /// SHA-256 of the training data's vectors.
    fingerprint: String,
    /// Of the training pictures' vectors at length 1, number by number.
    mean: Vec<f64>,
    /// Of all their numbers, each off its own mean.
    std: f64,
    examples: Vec<Vec<f32>>,
}

/// Whether a card tells of a model that is asked with pictures, whose CLIP lies beside its network.
pub(crate) fn is_picture(card: &Card) -> bool {
    card.condition.as_ref().is_some_and(|value| value["kind"] == NAME)
}

fn refused(problem: impl Into<String>) -> RequestError {
    RequestError::new(NAME, problem)
}

impl Pictures {
    /// The CLIP that reads pictures and, by its other half, words.
    pub fn clip(&self) -> &Arc<ClipModel> {
        &self.clip
    }

    /// What asks for pictures like this one.
    ///
    /// # Errors
    /// Weights of the CLIP that cannot be read.
    pub fn like(&self, picture: &Image) -> Result<Ask, RequestError> {
        let seen = self.clip.pictures(std::slice::from_ref(picture)).map_err(|e| refused(e.to_string()))?;
        self.vector(seen.row(0).to_vec())
    }

    /// What asks for pictures with this vector.
    ///
    /// # Errors
    /// As many numbers as the CLIP's vectors do not have, no finite ones, or nothing but zeros.
    pub fn vector(&self, values: Vec<f32>) -> Result<Ask, RequestError> {
        let (given, width) = (values.len(), self.clip.width());
        if given != width {
            return Err(refused(format!("{given} numbers; its CLIP makes vectors of {width}")));
        }
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(refused(format!("{bad} is not a finite number")));
        }
        match values.iter().any(|value| *value != 0.0) {
            true => Ok(Ask::Vector(values.into())),
            false => Err(refused("a vector of zeros has no direction; `none` asks for nothing")),
        }
    }

    /// Appends what the network reads of a vector.
    fn standardised(&self, vector: &[f32], out: &mut Vec<f32>) {
        let unit = Vectors::of(vector.len(), vector.to_vec()).unit();
        let Stored { mean, std, .. } = &self.stored;
        out.extend(unit.row(0).iter().zip(mean).map(|(v, mean)| ((f64::from(*v) - mean) / std) as f32));
    }
}

impl Member for Pictures {
    const FIELD: Field = Field {
        name: NAME,
        value: "FILE",
        plural: "pictures",
        help: "Pictures like this one; several take turns, each with its own --picture. Those of training in turn when not given",
        more: "What its CLIP sees in the picture is kept, and the rest made up. The numbers of a vector of that CLIP, separated by \
               commas, or a .safetensors file whose tensor `embedding` has vectors in its rows, do as well; `none` asks for nothing.",
        without: "this model can't be asked with pictures: it was not trained with a CLIP",
        schema: || {
            let (numbers, word) =
                (json!({ "type": "array", "items": { "type": "number" } }), json!({ "type": "string" }));
            json!({
                "description": "A picture as data:image/png;base64,… that others are to be like, or a vector of the model's CLIP, or a \
                                list of these that take turns; those of training pictures do when there are none. `none` asks for \
                                nothing.",
                "oneOf": [word, numbers, { "type": "array", "items": { "oneOf": [word, numbers] } }],
            })
        },
        words: |value| {
            let wrong =
                "a picture is written data:image/png;base64,…, or as its vector of numbers; or give a list of these";
            (super::Embedding::FIELD.words)(value).map_err(|_| wrong.into())
        },
        recorded: |facts| facts[NAME].as_str().map(str::to_owned),
    };

    fn learn(Lesson { config, data, train, .. }: Lesson) -> Result<Option<Self>, String> {
        let from = config.from.as_str();
        if from.is_empty() {
            return Err("condition.from is not given: name the folder of a CLIP, --set condition.from=CLIP; `undiffuse train --preset \
                        clip` makes one"
                .into());
        }
        let clip = Arc::new(ClipModel::read(from, &Device::flex()).map_err(|e| e.to_string())?);
        let own = clip.fingerprint().map_err(|e| e.to_string())?;
        let all = vectors(data, &clip, &own).map_err(|e| e.to_string())?;
        let unit = |i: usize| Vectors::of(clip.width(), all[i].clone().unwrap_or_default()).unit();
        let units: Vec<Vectors> = train.iter().map(|&i| unit(i)).collect();
        let (n, width) = (units.len() as f64, clip.width());
        let mean = |k: usize| units.iter().map(|unit| f64::from(unit.row(0)[k])).sum::<f64>() / n;
        let mean: Vec<f64> = (0..width).map(mean).collect();
        let off = |unit: &Vectors| unit.row(0).iter().zip(&mean).map(|(v, m)| (f64::from(*v) - m).powi(2)).sum::<f64>();
        let variance = units.iter().map(off).sum::<f64>() / (n * width as f64);
        if !(variance > 0.0 && variance.is_finite()) {
            return Err(format!("condition.from = {from:?}: this CLIP sees the same in all of the pictures"));
        }
        // Spread over the data, each only once.
        let places: BTreeSet<usize> = (0..EXAMPLES).map(|k| train[k * train.len() / EXAMPLES]).collect();
        let stored = Stored {
            kind: NAME.into(),
            from: names::of(Path::new(from)),
            clip: own,
            fingerprint: fingerprint(&all),
            mean,
            std: variance.sqrt(),
            examples: places.into_iter().filter_map(|i| all[i].clone()).collect(),
        };
        clip.release();
        Ok(Some(Self { stored, clip }))
    }

    fn read(&Source { card, io, readers }: &Source) -> Result<Option<Self>, String> {
        let Some(value) = card.condition.as_ref().filter(|value| value["kind"] == NAME) else { return Ok(None) };
        let stored: Stored = serde_json::from_value(value.clone()).map_err(|e| format!("condition: {e}"))?;
        let Some(clip) = &readers.clip else {
            return Err("condition: it is asked with pictures, and has no CLIP".into());
        };
        let (width, own) = (stored.mean.len(), clip.width());
        if width != own {
            return Err(format!(
                "condition: it was trained with vectors of {width} numbers, and its CLIP makes {own}: they are of different models"
            ));
        }
        let sound = stored.std > 0.0 && stored.std.is_finite() && stored.mean.iter().all(|mean| mean.is_finite());
        let pictures = Self { stored, clip: Arc::clone(clip) };
        let examples = pictures.stored.examples.iter().all(|vector| pictures.vector(vector.clone()).is_ok());
        match sound && examples {
            true => pictures.with_network(io).map(Some),
            false => Err("condition: its mean, its std or its examples are no numbers of such vectors".into()),
        }
    }

    fn with_network(self, io: &Io) -> Result<Self, String> {
        let width = self.clip.width();
        match (io.reads, io.tokens) {
            (Reads::Vector(reads), Some(Attends { width: attends, .. })) if (reads, attends) == (width, width) => {
                Ok(self)
            }
            _ => Err(format!(
                "it does not read vectors of {width} numbers and attend to them, so it can't be asked with pictures: network.kind = \
                 \"unet\" can"
            )),
        }
    }
}

impl Conditioning for Pictures {
    fn field(&self) -> Option<&'static Field> {
        Some(&Self::FIELD)
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        match ask {
            Ask::None => Ok(()),
            Ask::Vector(values) => self.vector(values.to_vec()).map(drop),
            _ => Err(refused("the model is asked with pictures, or with vectors of its CLIP, and takes nothing else")),
        }
    }

    fn guides(&self) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::Vector(self.clip.width())
    }

    fn attends(&self) -> Option<Attends> {
        Some(Attends { width: self.clip.width(), length: None })
    }

    fn clip(&self) -> Option<&Arc<ClipModel>> {
        Some(&self.clip)
    }

    fn encode(&self, asks: &[Ask], device: &Device) -> Condition {
        let width = self.clip.width();
        let mut values = Vec::with_capacity(asks.len() * width);
        for ask in asks {
            match ask {
                Ask::Vector(vector) => self.standardised(vector, &mut values),
                _ => values.extend(std::iter::repeat_n(0.0, width)),
            }
        }
        let vector = Tensor::<2>::from_data(TensorData::new(values, [asks.len(), width]), device);
        let tokens = Some(vector.clone().reshape([asks.len(), 1, width]));
        Condition { tokens, ..Condition::vector(vector) }
    }

    fn held(&self) -> u64 {
        self.clip.held()
    }

    fn release(&self) {
        self.clip.release();
    }

    fn all(&self) -> Vec<Ask> {
        self.stored.examples.iter().map(|vector| Ask::Vector(vector.as_slice().into())).collect()
    }

    fn ask(&self, data: &Dataset, i: usize, _: u64) -> Ask {
        let vectors = vectors(data, &self.clip, &self.stored.clip).ok();
        let vector = vectors.and_then(|vectors| vectors[i].clone());
        vector.and_then(|vector| self.vector(vector).ok()).unwrap_or_default()
    }

    fn told_by(&self, data: &Dataset) -> Told {
        match vectors(data, &self.clip, &self.stored.clip) {
            Ok(vectors) => Told { fingerprint: fingerprint(&vectors), lacking: None },
            Err(problem) => Told { lacking: Some(problem.to_string()), ..Told::default() },
        }
    }

    fn note(&self, card: &mut Card) {
        card.condition = serde_json::to_value(&self.stored).ok();
    }

    fn parse(&self, word: &str) -> Result<Ask, RequestError> {
        let word = word.trim();
        if word.eq_ignore_ascii_case("none") {
            return Ok(Ask::None);
        }
        if word.starts_with(URL) {
            return self.like(&from_url(word).map_err(refused)?);
        }
        let number =
            |part: &str| part.trim().parse().map_err(|_| refused(format!("`{}` is not a number", part.trim())));
        self.vector(word.split(',').map(number).collect::<Result<_, _>>()?)
    }

    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError> {
        let path = Path::new(text);
        if text.ends_with(".safetensors") {
            return rows(path).map_err(refused)?.into_iter().map(|row| self.vector(row)).collect();
        }
        let numbers = text.split(',').all(|part| part.trim().parse::<f32>().is_ok());
        if path.exists() || !(numbers || text.starts_with(URL) || text.trim().eq_ignore_ascii_case("none")) {
            let picture = Image::open(path, &Options::default()).map_err(|e| refused(e.to_string()))?;
            return Ok(vec![self.like(&picture)?]);
        }
        Ok(vec![self.parse(text)?])
    }

    fn print(&self, ask: &Ask) -> String {
        match ask {
            Ask::Vector(values) => values.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
            _ => "none".into(),
        }
    }

    fn title(&self, _: &Ask) -> String {
        String::new()
    }

    fn schema(&self) -> Value {
        json!({ "title": "Picture", "type": "array", "items": { "type": "string", "contentMediaType": "image/png", "maxLength": LONGEST } })
    }

    fn longest(&self) -> usize {
        LONGEST
    }

    fn fingerprint(&self) -> &str {
        &self.stored.fingerprint
    }

    fn describe(&self) -> Option<String> {
        let Stored { from, mean, .. } = &self.stored;
        Some(format!("by vectors of {} numbers that the CLIP `{from}` makes of them", mean.len()))
    }
}
