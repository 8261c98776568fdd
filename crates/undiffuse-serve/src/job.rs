//! A request for pictures and what becomes of it, as the API writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use undiffuse::condition::{Classes, Conditioner, NEGATIVE};
use undiffuse::request::Asks;
use utoipa::openapi::{RefOr, Schema};

/// A request for pictures. Whatever is left out is the model's own, or 1 picture of seed 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Generate {
    /// The model by its id; may be left out where there is one model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many pictures; as many as `seeds` when these are given, otherwise 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub n: Option<usize>,
    /// Seed of the first picture; the others count up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// One seed a picture, instead of `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// How to step, such as `dpmpp-2m` or `ddim:eta=0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solver: Option<String>,
    /// Which times to visit, such as `karras`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing: Option<String>,
    /// Steps of the solver.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub steps: Option<usize>,
    /// The solver's eta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Classifier-free guidance: 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// How far guided answers are scaled back to the deviation of those without guidance: 0 is not at all, 1 all the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub guidance_rescale: Option<f64>,
    /// The noise levels (sigma / alpha) with guidance, the lower one first, such as `[0.3, 5]`; all when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Layers that are left out at the end of the text encoder, of models that take words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// What is made of words in brackets, of models that take words: `original` scales a chunk back to its mean, `no-norm` does
    /// not, `none` reads brackets as they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emphasis: Option<String>,
    /// Width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub width: Option<usize>,
    /// Height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub height: Option<usize>,
    /// A picture to start from: base64, with or without a `data:` prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_image: Option<String>,
    /// How much of the way is walked again from `init_image`: 0 gives it back as it is, at the model's size, anything above walks
    /// at least the last step, 1 forgets it; 0.6 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub strength: Option<f64>,
    /// Where to paint: white; black and transparency keep `init_image`, of the same size. Grey counts as white from 128 up, at
    /// the model's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Keep every step: what the sampler holds and what the model guesses. For a few pictures at a time.
    #[serde(skip_serializing_if = "is_false")]
    pub frames: bool,
    /// What the pictures should show, each ask under the name of its field, and what guidance leads away from.
    #[serde(flatten, with = "asked")]
    #[schema(ignore)]
    pub asked: Asks,
}

impl Generate {
    /// The names of its fields.
    pub fn fields() -> Vec<String> {
        let own = match <Self as utoipa::PartialSchema>::schema() {
            RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
            _ => Vec::new(),
        };
        let asked = Conditioner::FIELDS.iter().map(|field| field.name).chain([NEGATIVE]);
        own.into_iter().chain(asked.map(str::to_owned)).collect()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What else is in a request, by the registry of what can be asked: words, or values that are read as words.
mod asked {
    use std::fmt;

    use serde::de::{Error, MapAccess, Visitor};
    use serde::{Deserializer, Serialize, Serializer};
    use serde_json::Value;
    use undiffuse::condition::{Conditioner, NEGATIVE};

    use super::{Asks, Generate, away};

    pub fn serialize<S: Serializer>(asked: &Asks, serializer: S) -> Result<S::Ok, S::Error> {
        asked.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Asks, D::Error> {
        reader.deserialize_map(Fields)
    }

    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = Asks;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the fields of a request")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Asks, A::Error> {
            let mut asked = Asks::default();
            let mut seen = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, Value>()? {
                let field = Conditioner::FIELDS.iter().find(|field| field.name == name);
                let known = field.map(|field| field.name).or(Some(NEGATIVE).filter(|own| *own == name));
                let Some(known) = known else {
                    let all = Generate::fields().join("`, `");
                    return Err(A::Error::custom(format!("unknown field `{name}`, expected one of `{all}`")));
                };
                if seen.contains(&known) {
                    return Err(A::Error::custom(format!("duplicate field `{name}`")));
                }
                seen.push(known);
                if !value.is_null() {
                    let words = match field {
                        Some(field) => (field.words)(&value),
                        None => away(&value),
                    };
                    let words = words.map_err(|e| A::Error::custom(format!("field `{name}`: {e}")))?;
                    asked.0.extend(Asks::of(known, words).0);
                }
            }
            Ok(asked)
        }
    }
}

/// What guidance leads away from, written as any field has it: only the model knows which.
fn away(value: &serde_json::Value) -> Result<Vec<String>, String> {
    let read = Conditioner::FIELDS.iter().find_map(|field| (field.words)(value).ok());
    read.ok_or_else(|| "write it as what the model is asked for, such as \"blurry\", or a list of that".into())
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits.
    Queued,
    /// Pictures of it are being made.
    Running,
    /// All pictures are there.
    Done,
    /// It could not be done; `error` says why.
    Failed,
    /// It was cancelled; pictures that were finished are there.
    Cancelled,
}

impl JobState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// The model's id.
    pub model: String,
    /// What was asked for, pictures left out.
    pub request: Generate,
    /// Whether it starts from a picture.
    pub from_image: bool,
    /// Pictures asked for.
    pub n: usize,
    /// Pictures finished.
    pub done: usize,
    /// Evaluations of the network for each picture.
    pub rows: usize,
    /// Jobs before it in the queue, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Seconds since 1970 when it came.
    pub created: f64,
    /// When its first picture was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<crate::problem::Problem>,
    /// What is to be said of the request, in sentences: words that do not fit into the model's prompt and are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The pictures that are finished.
    pub images: Vec<Made>,
}

/// A finished picture of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Made {
    /// Its number in the job, from 0.
    pub index: usize,
    /// Its seed.
    pub seed: u64,
    /// What it shows, as a request asks for it, a word under the name of the field, and what guidance led away from.
    #[serde(flatten)]
    #[schema(ignore)]
    pub shows: BTreeMap<String, String>,
    /// Where its PNG is.
    pub url: String,
}

impl Made {
    /// The word for what it was asked to show.
    pub fn asked(&self) -> Option<&String> {
        self.shows.iter().find(|(name, _)| *name != NEGATIVE).map(|(_, word)| word)
    }
}

/// How far a running job has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobProgress {
    /// Pictures finished.
    pub done: usize,
    /// Pictures asked for.
    pub n: usize,
    /// Evaluations done for the pictures that are being made.
    pub row: usize,
    /// Evaluations for each picture.
    pub rows: usize,
    /// A PNG as a `data:` address: the model's present guess of the pictures that are being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// One step of a walk, for jobs with `frames`; pictures of several seeds lie side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Frame {
    /// Evaluations done; 0 is the start, which has no guess.
    pub row: usize,
    /// Evaluations in all.
    pub rows: usize,
    /// Share of the picture in `x`.
    pub alpha: f64,
    /// Share of the noise in `x`.
    pub sigma: f64,
    /// What the sampler holds after the step, as a `data:` address of a PNG, scaled to unit variance where it is larger.
    pub x: String,
    /// What the model took the clean picture for in this step, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denoised: Option<String>,
}

/// What a watcher of a job is told; the name is the event's in the stream of server-sent events.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// `state`: the job in its new state. The last one is final.
    State(Box<Job>),
    /// `progress`.
    Progress(JobProgress),
    /// `frame`.
    Frame(Arc<Frame>),
    /// `image`: a picture is finished.
    Image(Made),
}

/// A model that pictures can be asked of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelInfo {
    /// Its id: the name of its folder, made unique.
    pub id: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How many classes there are, named or not.
    pub class_count: usize,
    /// How requests name no class, where the model can do without: `none`, unless a class is called so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_class: Option<String>,
    /// How it is asked for something, where it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskInfo>,
    /// What it can be asked for.
    #[serde(skip)]
    pub conditioner: Conditioner,
    /// Whether it can be guided.
    pub guidance: bool,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// How it is sampled unless asked otherwise.
    pub defaults: Defaults,
    /// Its schedule.
    pub schedule: String,
    /// Numbers in the network.
    pub parameters: u64,
    /// Side of the largest square picture that it may be asked for.
    pub max_side: usize,
    /// What the sides of pictures of other sizes are multiples of; nothing where it makes its own size only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side_step: Option<usize>,
    /// Whether it is in memory.
    pub loaded: bool,
    /// The run that it comes from, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What it was trained on: program, data, run, pictures seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub provenance: Option<serde_json::Value>,
}

impl ModelInfo {
    /// The classes that can be asked for.
    pub fn known(&self) -> &Classes {
        self.conditioner.classes()
    }

    /// Whether it can be asked for anything that can be said in words.
    pub fn takes_words(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.schema["items"]["type"] == "string")
    }
}

/// How a model is asked for something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AskInfo {
    /// The field of a request.
    pub field: String,
    /// The JSON schema of its values for this model: which words there are, or which numbers in what ranges.
    #[schema(value_type = Object)]
    pub schema: serde_json::Value,
}

/// How a model is sampled unless asked otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Defaults {
    /// How to step.
    pub solver: String,
    /// Which times.
    pub spacing: String,
    /// Number of steps.
    pub steps: usize,
    /// Classifier-free guidance.
    pub guidance: f64,
    /// How far guided answers are scaled back.
    pub guidance_rescale: f64,
    /// The noise levels with guidance, where these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Layers that are left out at the end of the text encoder, of models that take words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// What is made of words in brackets, of models that take words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emphasis: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::prompt::tests::{model, names, words};

    fn class(body: &str) -> Result<Vec<String>, String> {
        let read = serde_json::from_str::<Generate>(body).map_err(|e| e.to_string());
        read.map(|generate| generate.asked.words("class").to_vec())
    }

    #[test]
    fn one_class_or_several() {
        for (body, words) in [
            (r#"{"class": "Bag"}"#, &["Bag"][..]),
            (r#"{"class": 3}"#, &["3"]),
            (r#"{"class": ["Bag", 3, "none"]}"#, &["Bag", "3", "none"]),
            (r#"{"class": []}"#, &[]),
            (r#"{"class": null}"#, &[]),
            ("{}", &[]),
        ] {
            assert_eq!(class(body).unwrap(), words, "{body}");
        }
        let read = |body: &str| serde_json::from_str::<Generate>(body).map(|generate| generate.asked);
        let words = read(r#"{"prompt": ["a", "b"], "negative": "c"}"#).unwrap();
        assert_eq!(
            (words.words("prompt"), words.words("negative")),
            (&["a".into(), "b".into()][..], &["c".into()][..])
        );
        assert_eq!(read(r#"{"negative": [3, "none"]}"#).unwrap().words("negative"), ["3", "none"]);
        assert!(read(r#"{"negative": {"a": 1}}"#).unwrap_err().to_string().contains("field `negative`"));
        for body in
            [r#"{"class": true}"#, r#"{"class": [["Bag"]]}"#, r#"{"class": -1}"#, r#"{"class": {"name": "Bag"}}"#]
        {
            assert!(class(body).unwrap_err().contains("a class is a name, such as"), "{body}");
        }
    }

    proptest! {
        #[test]
        fn every_class_can_be_asked_for(names in names()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let model = model(&names, names.len());
            for (word, label) in words(&model) {
                for body in [json!({ "class": word }), json!({ "class": [word] })] {
                    // As it is asked, and as the store keeps it.
                    let asked: Generate = serde_json::from_str(&body.to_string()).unwrap();
                    let kept: Generate = serde_json::from_slice(&serde_json::to_vec(&asked).unwrap()).unwrap();
                    prop_assert_eq!(model.known().parse(&kept.asked.words("class")[0]), Ok(label), "{:?} of {:?}", word, names);
                }
            }
        }
    }
}
