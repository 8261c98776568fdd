//! Small pictures, which a model makes large \[Ho21; Ramesh22, section 2.1\].
//!
//! The network reads the small picture, resized to what it makes, behind the channels that it denoises, as diffusers'
//! `super_res_first` of unCLIP does. In training it is spoilt, so that the model forgives what another model's pictures have
//! wrong: `c_s = cos(pi s / 2) c + sin(pi s / 2) eps` with a level `s` that is uniform up to [`SmallConfig::noise`], and the
//! network is told `1000 s` as its class label of type "timestep" \[Ho21, section 4.2, without truncation\].
//!
//! How large the small pictures are is said by `condition = "small:SIDE"`, half of the data's side when nothing is.

use std::collections::BTreeSet;
use std::f64::consts::FRAC_PI_2;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undiffuse_data::{Dataset, Image, Options, transform};
use undiffuse_math::noise;
use undiffuse_nn::networks::{Condition, Io, Reads};

use super::{Ask, Conditioning, Field, Lesson, Member, RequestError, Source};
use crate::card::Card;
use crate::image::{URL, from_url, to_url};

const NAME: &str = "small";
/// Streams of the random numbers of a small picture's seed.
const LEVEL: u64 = 0;
const NOISE: u64 = 1;
/// Small pictures of training that take turns when nothing is asked for.
const EXAMPLES: usize = 10;
/// The smallest side of a small picture.
const SMALLEST: usize = 4;
/// The label of a level of 1, as of the last of a thousand timesteps; a network that is shown nothing is told that.
const LABELS: f64 = 1000.0;
/// Most letters of such a word.
const LONGEST: usize = 1 << 22;

/// `[condition.small]`: how small pictures are spoilt in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SmallConfig {
    /// The largest level of the noise on them, from 0, which is none, to 1, which leaves nothing of them.
    pub noise: f64,
}

impl Default for SmallConfig {
    fn default() -> Self {
        Self { noise: 0.5 }
    }
}

impl SmallConfig {
    /// What cannot work, with its key.
    pub fn problem(&self) -> Option<String> {
        let holds = (0.0..=1.0).contains(&self.noise);
        (!holds).then(|| format!("condition.small.noise = {} must be from 0 to 1", self.noise))
    }
}

/// A small picture, and how much noise is laid over it before a network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Small {
    /// As it is.
    pub picture: Image,
    /// The level of the noise, from 0 to 1.
    pub noise: f64,
    /// The seed of the noise.
    pub seed: u64,
}

/// The small pictures of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Smalls {
    stored: Stored,
    /// Height and width of what is made of them.
    large: [usize; 2],
}

/// What a card keeps of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    kind: String,
    side: usize,
    channels: usize,
    /// See [`SmallConfig::noise`].
    noise: f64,
    examples: Vec<String>,
}

fn refused(problem: impl Into<String>) -> RequestError {
    RequestError::new(NAME, problem)
}

impl Smalls {
    /// Of a picture, as it is seen.
    fn of(&self, picture: &Image, noise: f64, seed: u64) -> Ask {
        let Stored { side, channels, .. } = self.stored;
        let picture = picture.clone().flatten(Options::default().background).to_channels(channels);
        Ask::Small(Arc::new(Small { picture: transform::square(&picture, side), noise, seed }))
    }

    /// The word for a picture, and the noise level behind its last colon.
    fn levelled<'w>(&self, word: &'w str) -> Result<(&'w str, f64), RequestError> {
        let most = self.stored.noise;
        match word.rsplit_once(':').and_then(|(word, level)| Some((word, level.trim().parse::<f64>().ok()?))) {
            None => Ok((word, 0.0)),
            Some((word, level)) if (0.0..=most).contains(&level) => Ok((word, level)),
            Some((_, level)) => Err(refused(format!("{level} is no noise level of this model: from 0 to {most}"))),
        }
    }

    /// What the network sees of an ask: `[C, H, W]`, in the order of a tensor.
    fn seen(&self, ask: &Ask, out: &mut [f32]) {
        let ([height, width], Ask::Small(small)) = (self.large, ask) else { return };
        let large = transform::resize(&small.picture, width, height);
        let (plane, channels) = (height * width, large.channels);
        let angle = FRAC_PI_2 * small.noise;
        noise::normal(small.seed, NOISE, 0, out);
        let (alpha, sigma) = (angle.cos() as f32, if small.noise == 0.0 { 0.0 } else { angle.sin() as f32 });
        out.iter_mut().enumerate().for_each(|(k, value)| {
            let clean = f32::from(large.pixels[k % plane * channels + k / plane]) / 127.5 - 1.0;
            *value = alpha * clean + sigma * *value;
        });
    }
}

impl Member for Smalls {
    const FIELD: Field = Field {
        name: NAME,
        value: "FILE[:NOISE]",
        plural: "small pictures",
        help: "The small picture that a large one is made from; several take turns, each with its own --small. Those of training in \
               turn when not given",
        more: "A picture of another size is cropped to a square and resized. What follows a colon is the level of the noise that is laid \
               over it, from 0, which is none: with more, what another model's picture has wrong is forgiven, and more of it made up.",
        without: "this model makes no small pictures large",
        schema: || {
            let text = json!({ "type": "string" });
            json!({
                "description": "The small picture that a large one is made from, or a list of them that take turns, as \
                                data:image/png;base64,…; with :0.1 behind it, noise of this level is laid over it.",
                "oneOf": [text, { "type": "array", "items": text }],
            })
        },
        words: |value| {
            let words = match value {
                Value::Array(several) => several.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
                one => one.as_str().map(|text| vec![text.to_owned()]),
            };
            words.ok_or_else(|| "a small picture is a text, data:image/png;base64,…; or give a list of these".into())
        },
        recorded: |facts| facts[NAME].as_str().map(str::to_owned),
    };

    fn learn(Lesson { config, data, train, .. }: Lesson) -> Result<Option<Self>, String> {
        let most = data.height().saturating_sub(1);
        let side = match config.from.as_str() {
            "" => data.height() / 2,
            from => from.trim().parse().unwrap_or(0),
        };
        if !(SMALLEST..=most).contains(&side) {
            return Err(format!(
                "condition.from = {:?} is the side of the small pictures: a number from {SMALLEST} to {most}, less than the {} pixels of the \
                 large ones",
                config.from,
                data.height()
            ));
        }
        let stored = Stored {
            kind: NAME.into(),
            side,
            channels: data.channels(),
            noise: config.small.noise,
            examples: Vec::new(),
        };
        let mut smalls = Self { stored, large: [data.height(), data.width()] };
        // Spread over the data, each only once.
        let places: BTreeSet<usize> = (0..EXAMPLES).map(|k| train[k * train.len() / EXAMPLES]).collect();
        let word = |i| smalls.print(&smalls.of(&data.image(i), 0.0, 0));
        smalls.stored.examples = places.into_iter().map(word).collect();
        Ok(Some(smalls))
    }

    fn read(&Source { card, io, .. }: &Source) -> Result<Option<Self>, String> {
        let Some(value) = card.condition.as_ref().filter(|value| value["kind"] == NAME) else { return Ok(None) };
        let stored: Stored = serde_json::from_value(value.clone()).map_err(|e| format!("condition: {e}"))?;
        let sizes = [1, 3].contains(&stored.channels) && (SMALLEST..=1 << 16).contains(&stored.side);
        if !sizes || !(0.0..=1.0).contains(&stored.noise) {
            return Err("condition: small pictures have a side, 1 or 3 channels and a noise level up to 1".into());
        }
        let smalls = Self { stored, large: [0; 2] }.with_network(io)?;
        for word in &smalls.stored.examples {
            smalls.parse(word).map_err(|e| format!("condition: examples: {e}"))?;
        }
        Ok(Some(smalls))
    }

    fn with_network(mut self, io: &Io) -> Result<Self, String> {
        let channels = self.stored.channels;
        if io.reads != Reads::Labels(0) || io.channels_in != 2 * channels {
            return Err(format!(
                "it does not read a picture of {channels} channels beside what it denoises and how noisy that is, so it can't make small \
                 pictures large: network.kind = \"unet\" can"
            ));
        }
        self.large = io.sample_size.ok_or("it does not say how large its pictures are (sample_size)")?;
        Ok(self)
    }
}

impl Conditioning for Smalls {
    fn field(&self) -> Option<&'static Field> {
        Some(&Self::FIELD)
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        let Stored { side, channels, .. } = self.stored;
        match ask {
            Ask::None => Ok(()),
            Ask::Small(small) => {
                let Image { width, height, channels: of, .. } = small.picture;
                let fits = (width, height, of) == (side, side, channels);
                let problem =
                    || format!("{width}×{height} pixels of {of} channels; the model takes {side}×{side} of {channels}");
                if fits { Ok(()) } else { Err(refused(problem())) }
            }
            _ => Err(refused(format!("the model makes small pictures of {side}×{side} large, and takes nothing else"))),
        }
    }

    /// \[Ramesh22\] use none for their upsamplers.
    fn guides(&self) -> bool {
        false
    }

    fn reads(&self) -> Reads {
        Reads::Labels(0)
    }

    fn beside(&self) -> usize {
        self.stored.channels
    }

    fn encode(&self, asks: &[Ask], device: &Device) -> Condition {
        let ([height, width], channels) = (self.large, self.stored.channels);
        let mut values = vec![0.0; asks.len() * channels * height * width];
        values.par_chunks_mut(channels * height * width).zip(asks).for_each(|(out, ask)| self.seen(ask, out));
        let label = |ask: &Ask| match ask {
            Ask::Small(small) => (LABELS * small.noise) as f32,
            _ => LABELS as f32,
        };
        let beside = Tensor::from_data(TensorData::new(values, [asks.len(), channels, height, width]), device);
        Condition { beside: Some(beside), ..Condition::labels(asks.iter().map(label).collect()) }
    }

    fn all(&self) -> Vec<Ask> {
        self.stored.examples.iter().filter_map(|word| self.parse(word).ok()).collect()
    }

    fn ask(&self, data: &Dataset, i: usize, _: u64) -> Ask {
        self.of(&data.image(i), 0.0, 0)
    }

    fn drawn(&self, ask: Ask, x0: &[f32], seed: u64) -> Ask {
        let ([height, width], channels) = (self.large, self.stored.channels);
        match ask {
            Ask::Small(_) => {
                let level = self.stored.noise * noise::uniform(seed, LEVEL, 0);
                self.of(&Image::from_chw(width, height, channels, x0), level, seed)
            }
            other => other,
        }
    }

    fn note(&self, card: &mut Card) {
        card.condition = serde_json::to_value(&self.stored).ok();
    }

    fn parse(&self, word: &str) -> Result<Ask, RequestError> {
        if word.trim().eq_ignore_ascii_case("none") {
            return Ok(Ask::None);
        }
        let (url, noise) = self.levelled(word.trim())?;
        Ok(self.of(&from_url(url).map_err(refused)?, noise, 0))
    }

    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError> {
        if text.starts_with(URL) || text.trim().eq_ignore_ascii_case("none") {
            return Ok(vec![self.parse(text)?]);
        }
        let (file, noise) = if Path::new(text).exists() { (text, 0.0) } else { self.levelled(text)? };
        let picture = Image::open(Path::new(file), &Options::default()).map_err(|e| refused(e.to_string()))?;
        Ok(vec![self.of(&picture, noise, 0)])
    }

    fn print(&self, ask: &Ask) -> String {
        match ask {
            Ask::Small(small) if small.noise == 0.0 => to_url(&small.picture),
            Ask::Small(small) => format!("{}:{}", to_url(&small.picture), small.noise),
            _ => "none".into(),
        }
    }

    fn title(&self, _: &Ask) -> String {
        String::new()
    }

    fn schema(&self) -> Value {
        json!({ "title": "Small picture", "type": "array", "items": { "type": "string", "contentMediaType": "image/png", "maxLength": LONGEST } })
    }

    fn longest(&self) -> usize {
        LONGEST
    }

    fn describe(&self) -> Option<String> {
        let Stored { side, noise, .. } = self.stored;
        let [height, width] = self.large;
        Some(format!("of {side}×{side}, made {width}×{height}; with noise up to level {noise}"))
    }
}
