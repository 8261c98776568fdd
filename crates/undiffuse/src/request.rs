//! What a person asks of a model, checked against the model: the command line and the service both read requests here.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde_json::{Map, Value, json};
use undiffuse_data::{Image, Options, transform};
use undiffuse_math::prelude::{SolverKind, SpacingKind};

use crate::Model;
pub use crate::condition::RequestError;
use crate::condition::{Ask, Cond, Conditioner, NEGATIVE};
use crate::image::from_image;
use crate::model::SampleDefaults;
use crate::words::Emphasis;

/// How a model is to be sampled; whatever is `None` is the model's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleSettings {
    /// How to step.
    pub solver: Option<SolverKind>,
    /// Which times.
    pub spacing: Option<SpacingKind>,
    /// Number of steps.
    pub steps: Option<usize>,
    /// The solver's eta: 0 is deterministic, 1 as noisy as the forward process.
    pub eta: Option<f64>,
    /// Classifier-free guidance scale; 1 is none.
    pub guidance: Option<f64>,
    /// How far guided answers are scaled back, from 0 to 1.
    pub guidance_rescale: Option<f64>,
    /// The noise levels with guidance.
    pub guidance_interval: Option<[f64; 2]>,
    /// Layers of the text encoder that are left out at its end.
    pub clip_skip: Option<usize>,
    /// What is made of words in brackets.
    pub emphasis: Option<Emphasis>,
}

impl SampleSettings {
    /// The model's settings with what was asked for in their place.
    ///
    /// # Errors
    /// Settings that the solver or the model does not have.
    pub fn over(&self, model: &Model) -> Result<SampleDefaults, RequestError> {
        let own = model.sample_defaults();
        let mut solver = self.solver.clone().unwrap_or(own.solver);
        if let Some(eta) = self.eta {
            let mut options = solver.options();
            if !options.contains_key("eta") {
                let tag = solver.tag();
                let problem = format!("the solver `{tag}` has no eta; ddim and euler-ancestral have");
                return Err(RequestError::new("eta", problem));
            }
            options.insert("eta".into(), json!(eta));
            options.insert("kind".into(), json!(solver.tag()));
            solver = SolverKind::from_value(options.into()).map_err(|e| RequestError::new("eta", e.to_string()))?;
        }
        let guidance = self.guidance.unwrap_or(own.guidance);
        let given = [
            ("guidance", self.guidance.is_some_and(|g| g != 1.0)),
            ("guidance_rescale", self.guidance_rescale.is_some_and(|r| r != 0.0)),
            ("guidance_interval", self.guidance_interval.is_some()),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, given)| *given && !model.conditioner.guides()) {
            let problem =
                "it needs a model that was also trained without its condition (train.label_dropout); this one was not";
            return Err(RequestError::new(field, problem));
        }
        if let Some((field, _)) = given[1..].iter().find(|(_, given)| *given && model.is_distilled()) {
            return Err(RequestError::new(
                field,
                "this network was taught to answer as if it were guided: nothing is added to it",
            ));
        }
        // Beyond this, pictures are noise of 32-bit numbers that overflow.
        if !(-1000.0..=1000.0).contains(&guidance) {
            return Err(RequestError::new("guidance", "must be a number from -1000 to 1000; 1 is none"));
        }
        let guidance_rescale = self.guidance_rescale.unwrap_or(own.guidance_rescale);
        if !(0.0..=1.0).contains(&guidance_rescale) {
            return Err(RequestError::new("guidance_rescale", "must be a number from 0, which is none, to 1"));
        }
        let guidance_interval = self.guidance_interval.or(own.guidance_interval);
        if guidance_interval.is_some_and(|[low, high]| !(low >= 0.0 && low < high)) {
            let problem = "takes two noise levels (sigma / alpha), the lower one first, such as 0.3 and 5";
            return Err(RequestError::new("guidance_interval", problem));
        }
        self.check_words(model)?;
        let spacing = self.spacing.clone().unwrap_or(own.spacing);
        Ok(SampleDefaults {
            solver,
            steps: self.steps.or(spacing.named()).unwrap_or(own.steps),
            spacing,
            guidance,
            guidance_rescale,
            guidance_interval,
            clip_skip: self.clip_skip.unwrap_or(own.clip_skip),
            emphasis: self.emphasis.unwrap_or(own.emphasis),
        })
    }

    /// Whether the model reads words as they are to be read.
    fn check_words(&self, model: &Model) -> Result<(), RequestError> {
        let layers = match &model.conditioner {
            Conditioner::Text(text) => text.layers(),
            _ => {
                let given = [("clip_skip", self.clip_skip.is_some()), ("emphasis", self.emphasis.is_some())];
                let given = given.into_iter().find(|(_, given)| *given);
                return given.map_or(Ok(()), |(field, _)| Err(RequestError::new(field, "this model reads no words")));
            }
        };
        match self.clip_skip {
            Some(skip) if skip >= layers => {
                let problem = format!("{skip} layers of the text encoder's {layers} leave none to read with");
                Err(RequestError::new("clip_skip", problem))
            }
            _ => Ok(()),
        }
    }
}

/// What is asked for in words: those of each [`Field`](crate::condition::Field) by its name, an ask each, and under
/// [`NEGATIVE`] what guidance is to lead away from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks(pub BTreeMap<&'static str, Vec<String>>);

impl Asks {
    /// Words of the field of this name; nothing where there are none.
    pub fn of(field: &'static str, words: impl IntoIterator<Item: Into<String>>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        Self([(field, words)].into_iter().filter(|(_, words)| !words.is_empty()).collect())
    }

    /// The words of a field.
    pub fn words(&self, field: &str) -> &[String] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }

    /// What each of `n` pictures should show: the asks take turns, all there are where none is given. Empty for models that
    /// can't be asked for anything.
    ///
    /// # Errors
    /// A field that the model can't be asked by, or a word that means nothing to it.
    pub fn cond(&self, conditioner: &Conditioner, n: usize) -> Result<Cond, RequestError> {
        let mut asks = Vec::new();
        for field in Conditioner::FIELDS {
            for word in self.words(field.name) {
                conditioner.takes(field)?;
                asks.push(conditioner.parse(word)?);
            }
        }
        conditioner.away(conditioner.turns(asks, n), self.words(NEGATIVE))
    }
}

/// The picture at the model's size: cropped to a square for square models, stretched otherwise.
pub fn fit(image: &Image, width: usize, height: usize) -> Image {
    if width == height { transform::square(image, width) } else { transform::resize(image, width, height) }
}

/// A person's picture as a model takes it, `[1, C, H, W]`: at its size, with its channels, in its pixel range. Transparency
/// shows white, as everywhere where nothing else is said.
pub fn picture(model: &Model, image: &Image) -> Tensor<4> {
    let [c, h, w] = model.picture_shape();
    let image = image.clone().flatten(Options::default().background);
    model.from_unit(from_image(&fit(&image.to_channels(c), w, h), &model.network.device()))
}

/// How a picture is decoded that says where to paint: what is transparent in it counts as black, and keeps.
pub fn mask_options() -> Options {
    Options { background: [0; 3], ..Options::default() }
}

/// Where to paint, `[1, 1, H, W]`: 1 where the mask is white, 0 where it is black or transparent and the picture is kept. Grey
/// counts as white from 128 up, after the mask was brought to the model's size.
pub fn mask(model: &Model, mask: &Image) -> Tensor<4> {
    let [_, h, w] = model.picture_shape();
    let grey = mask.clone().flatten(mask_options().background).to_grey();
    from_image(&fit(&grey, w, h), &model.network.device()).greater_elem(0.0).float()
}

/// What made picture `k` of some, for the text chunk `undiffuse` of its PNG: program, `model` by name, `seed`, what was asked for
/// ([`Conditioning::facts`](crate::condition::Conditioning::facts)) and what it was led away from, `solver`, `spacing`, `steps`,
/// `guidance`, and what the model was trained on. Whoever knows more adds it.
pub fn facts(
    model: &Model,
    name: &str,
    settings: &SampleDefaults,
    seed: u64,
    cond: &Cond,
    k: usize,
) -> Map<String, Value> {
    let made = json!({
        "program": concat!("undiffuse ", env!("CARGO_PKG_VERSION")),
        "model": name,
        "seed": seed,
        "solver": settings.solver.to_string(),
        "spacing": settings.spacing.to_string(),
        "steps": settings.steps,
        "guidance": settings.guidance,
        "trained": model.card.provenance,
    });
    let mut facts = cond.asks.get(k).map(|ask| model.conditioner.facts(ask)).unwrap_or_default();
    if let Some(negative) = negative(model, cond, k) {
        facts.insert(NEGATIVE.into(), negative.into());
    }
    facts.extend(made.as_object().cloned().unwrap_or_default());
    facts.extend(unusual(settings));
    facts
}

/// The word for what guidance leads picture `k` away from, where that is something in particular.
pub fn negative(model: &Model, cond: &Cond, k: usize) -> Option<String> {
    let negative = Some(cond.negative(k)).filter(|ask| **ask != model.conditioner.nothing() && **ask != Ask::None)?;
    Some(model.conditioner.print(negative))
}

/// The settings that most pictures are made without, where they are not left at that, by their fields in requests.
pub fn unusual(settings: &SampleDefaults) -> Map<String, Value> {
    let usual = SampleDefaults::new(settings.solver.clone(), settings.spacing.clone(), settings.steps);
    let fields = |of: &SampleDefaults| {
        [
            ("guidance_rescale", json!(of.guidance_rescale)),
            (
                "guidance_interval",
                of.guidance_interval.map_or(Value::Null, |[low, high]| json!(format!("{low}:{high}"))),
            ),
            ("clip_skip", json!(of.clip_skip)),
            ("emphasis", json!(of.emphasis.word())),
        ]
    };
    let pairs = fields(settings).into_iter().zip(fields(&usual));
    pairs.filter(|(own, usual)| own != usual).map(|((name, value), _)| (name.to_owned(), value)).collect()
}
