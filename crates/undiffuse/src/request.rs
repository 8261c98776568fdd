//! What a person asks of a model, checked against the model: the command line and the service both read requests here.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde_json::{Map, Value, json};
use undiffuse_data::{Image, Options, transform};
use undiffuse_math::prelude::{SolverKind, SpacingKind};

use crate::Model;
pub use crate::condition::RequestError;
use crate::condition::{Ask, Cond, Conditioner};
use crate::image::from_image;
use crate::model::SampleDefaults;

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
        if self.guidance.is_some_and(|g| g != 1.0) && !model.conditioner.guides() {
            let problem =
                "it needs a model that was also trained without its condition (train.label_dropout); this one was not";
            return Err(RequestError::new("guidance", problem));
        }
        // Beyond this, pictures are noise of 32-bit numbers that overflow.
        if !(-1000.0..=1000.0).contains(&guidance) {
            return Err(RequestError::new("guidance", "must be a number from -1000 to 1000; 1 is none"));
        }
        let spacing = self.spacing.clone().unwrap_or(own.spacing);
        Ok(SampleDefaults { solver, spacing, steps: self.steps.unwrap_or(own.steps), guidance })
    }
}

/// What is asked for in words: those of each [`Field`](crate::condition::Field) by its name, an ask each.
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
        Ok(conditioner.turns(asks, n))
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

/// What made a picture, for the text chunk `undiffuse` of its PNG: program, `model` by name, `seed`, what was asked for
/// ([`Conditioning::facts`](crate::condition::Conditioning::facts)), `solver`, `spacing`, `steps`, `guidance`, and what the model was trained on. Whoever knows more adds it.
pub fn facts(model: &Model, name: &str, settings: &SampleDefaults, seed: u64, ask: Option<&Ask>) -> Map<String, Value> {
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
    let mut facts = ask.map(|ask| model.conditioner.facts(ask)).unwrap_or_default();
    facts.extend(made.as_object().cloned().unwrap_or_default());
    facts
}
