//! What AUTOMATIC1111's clients ask for, in our words.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use undiffuse::data::encode_png;
use undiffuse::request::mask_options;

use crate::engine::from_base64;
use crate::job::{Generate, ModelInfo};
use crate::options::RequestLimits;
use crate::parameters;
use crate::problem::Problem;
use crate::prompt;
use crate::samplers::ours;

/// Width and height that clients send when nobody has chosen any: the model's own is meant.
const UNCHOSEN: usize = 512;
/// How much of the way is walked again from a picture, as the original has it.
const STRENGTH: f64 = 0.75;

/// The setting that says with which of the text encoder's last layers it ends, the last one being 1.
const CLIP_STOP: &str = "CLIP_stop_at_last_layers";

/// Our words for parts of a request, and those of this API, where they differ.
const WORDS: &[(&str, &str)] = &[
    ("model", "sd_model_checkpoint"),
    ("n", "batch_size"),
    ("class", "prompt"),
    ("negative", "negative_prompt"),
    ("solver", "sampler_name"),
    ("spacing", "scheduler"),
    ("guidance", "cfg_scale"),
    ("clip_skip", CLIP_STOP),
    ("init_image", "init_images"),
    ("strength", "denoising_strength"),
];

/// A request for pictures. What is not listed is taken and not used, as are empty values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = Automatic1111Request)]
pub struct Request {
    /// What the pictures should show, for models that take words; for others a class as `class` of `/api/v1/generate` names it, or
    /// a sentence that names one, and nothing for all of them in turn.
    pub prompt: Option<String>,
    /// What guidance leads away from, for models that take words; not used by others.
    pub negative_prompt: Option<String>,
    /// Seed of the first picture; -1 for any.
    pub seed: Option<i64>,
    /// Pictures at a time.
    #[schema(minimum = 1)]
    pub batch_size: Option<usize>,
    /// How many times.
    #[schema(minimum = 1)]
    pub n_iter: Option<usize>,
    /// Steps of the solver.
    #[schema(minimum = 1)]
    pub steps: Option<usize>,
    /// Classifier-free guidance; not used by models that cannot be guided.
    pub cfg_scale: Option<f64>,
    /// Width; the model's own when not given, and for models that take no words when it is 512 by 512.
    #[schema(minimum = 1)]
    pub width: Option<usize>,
    /// Height, likewise.
    #[schema(minimum = 1)]
    pub height: Option<usize>,
    /// The solver by one of the names of `/sdapi/v1/samplers`.
    pub sampler_name: Option<String>,
    /// An older word for `sampler_name`.
    pub sampler_index: Option<String>,
    /// Which times it visits, by one of the names of `/sdapi/v1/schedulers`.
    pub scheduler: Option<String>,
    /// The solver's eta, where it has one.
    pub eta: Option<f64>,
    /// How much of the way is walked again from the picture: 0 gives it back as it is.
    #[schema(minimum = 0, maximum = 1)]
    pub denoising_strength: Option<f64>,
    /// The picture to start from.
    #[schema(max_items = 1)]
    pub init_images: Option<Vec<String>>,
    /// Where to paint: white, and grey from 128 up; transparency counts as black.
    pub mask: Option<String>,
    /// 1 where black is to be painted, and what is transparent with it.
    #[schema(value_type = Option<i64>)]
    pub inpainting_mask_invert: Option<Flag>,
    /// Whether pictures are in the answer.
    pub send_images: Option<bool>,
    /// Settings for this request alone, of which there are `sd_model_checkpoint` and, for models that take words,
    /// `CLIP_stop_at_last_layers` (1 is the last one, and leaves none out) and `emphasis`.
    #[schema(value_type = Option<Object>)]
    pub override_settings: Option<Map<String, Value>>,
    /// Not here.
    pub enable_hr: Option<bool>,
    /// Not here.
    pub tiling: Option<bool>,
    /// Not here.
    pub restore_faces: Option<bool>,
    /// Not here.
    pub subseed_strength: Option<f64>,
    /// Not here.
    pub script_name: Option<String>,
    /// Not here.
    #[schema(value_type = Option<Object>)]
    pub alwayson_scripts: Option<Map<String, Value>>,
}

/// A truth value that some clients write as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// `true`.
    Bool(bool),
    /// `1`.
    Number(i64),
}

impl Flag {
    fn is_set(self) -> bool {
        matches!(self, Flag::Bool(true) | Flag::Number(1..))
    }
}

impl Request {
    /// The model that it names itself.
    pub fn checkpoint(&self) -> Option<&str> {
        self.setting("sd_model_checkpoint")?.as_str().filter(|name| !name.is_empty())
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.override_settings.as_ref()?.get(name).filter(|value| !value.is_null())
    }

    /// Layers of the text encoder that are left out.
    fn clip_skip(&self) -> Result<Option<usize>, Problem> {
        let Some(value) = self.setting(CLIP_STOP) else { return Ok(None) };
        // Clients of some languages know no whole numbers.
        let stop = value.as_f64().filter(|stop| (1.0..=1e6).contains(stop) && stop.fract() == 0.0);
        let problem = || Problem::invalid(CLIP_STOP, "must be a whole number from 1 on, which leaves no layer out");
        stop.map(|stop| Some(stop as usize - 1)).ok_or_else(problem)
    }

    /// What is made of brackets.
    fn emphasis(&self) -> Result<Option<String>, Problem> {
        let Some(value) = self.setting("emphasis") else { return Ok(None) };
        let ours = value.as_str().and_then(parameters::emphasis);
        let known = || parameters::EMPHASIS.map(|(theirs, _)| theirs).join(", ");
        ours.map(|word| Some(word.to_owned()))
            .ok_or_else(|| Problem::invalid("emphasis", format!("it can be one of {}", known())))
    }

    /// How many pictures.
    pub fn n(&self) -> usize {
        self.batch_size.unwrap_or(1).saturating_mul(self.n_iter.unwrap_or(1))
    }

    /// The sampler by the client's name for it.
    pub fn sampler(&self) -> Option<&str> {
        [&self.sampler_name, &self.sampler_index]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|name| !name.is_empty())
    }

    /// What is asked of the engine.
    ///
    /// # Errors
    /// 422: what is not here, a prompt that names no class, pictures that cannot be read.
    pub fn order(
        &self,
        model: &ModelInfo,
        limits: &RequestLimits,
        any_seed: impl Fn() -> u64,
    ) -> Result<Generate, Problem> {
        self.refuse()?;
        let asked = prompt::read(self.prompt.as_deref().unwrap_or_default(), model);
        let asked = asked.map_err(|problem| Problem::invalid("prompt", problem))?;
        let negative = self.negative_prompt.as_deref().filter(|_| model.takes_words()).unwrap_or_default();
        let asked = prompt::led_away(asked.asks(), negative);
        let size = (self.width, self.height);
        // A model that takes words was made for those who know its sizes.
        let unchosen = size == (Some(UNCHOSEN), Some(UNCHOSEN)) && !model.takes_words();
        let (width, height) = if unchosen { (None, None) } else { size };
        let (solver, spacing) = ours(self.sampler(), self.scheduler.as_deref());
        // Clients send an eta with every sampler, and a mask and a strength only mean something beside a picture.
        let chosen = crate::words::solver(solver.as_deref().unwrap_or(&model.defaults.solver));
        let has_eta = chosen.is_ok_and(|solver| solver.options().contains_key("eta"));
        let init_image = self.init()?;
        Ok(Generate {
            model: Some(model.id.clone()),
            n: Some(self.n()),
            seed: Some(self.seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or_else(any_seed)),
            solver,
            spacing,
            steps: self.steps,
            eta: self.eta.filter(|_| has_eta),
            guidance: self.cfg_scale.filter(|_| model.guidance),
            clip_skip: self.clip_skip()?.filter(|_| model.takes_words()),
            emphasis: self.emphasis()?.filter(|_| model.takes_words()),
            asked,
            width,
            height,
            strength: init_image.as_ref().map(|_| self.denoising_strength.unwrap_or(STRENGTH)),
            mask: self.mask(limits)?.filter(|_| init_image.is_some()),
            init_image,
            ..Generate::default()
        })
    }

    /// Refuses what would change the pictures and is not here.
    fn refuse(&self) -> Result<(), Problem> {
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty() && text != "None");
        let asked = [
            ("enable_hr", self.enable_hr == Some(true)),
            ("tiling", self.tiling == Some(true)),
            ("restore_faces", self.restore_faces == Some(true)),
            ("subseed_strength", self.subseed_strength.is_some_and(|strength| strength > 0.0)),
            ("script_name", text(&self.script_name)),
            ("alwayson_scripts", self.alwayson_scripts.as_ref().is_some_and(|scripts| !scripts.is_empty())),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((field, _)) => Err(Problem::invalid(field, format!("`{field}` is not here: leave it out"))),
            None => Ok(()),
        }
    }

    fn init(&self) -> Result<Option<String>, Problem> {
        match self.init_images.as_deref().unwrap_or_default() {
            [] => Ok(None),
            [image] => Ok(Some(image.clone())),
            images => Err(Problem::invalid("init_images", format!("{} pictures: give one", images.len()))),
        }
    }

    /// The mask with white where to paint.
    fn mask(&self, limits: &RequestLimits) -> Result<Option<String>, Problem> {
        let inverted = self.inpainting_mask_invert.is_some_and(Flag::is_set);
        let Some(mask) = self.mask.as_ref().filter(|mask| !mask.is_empty()) else { return Ok(None) };
        if !inverted {
            return Ok(Some(mask.clone()));
        }
        let mut image = from_base64("mask", mask, mask_options(), limits)?;
        image.pixels.iter_mut().for_each(|value| *value = 255 - *value);
        let png = encode_png(&image, &[]).map_err(|e| Problem::invalid("mask", e.to_string()))?;
        Ok(Some(BASE64_STANDARD.encode(png)))
    }

    /// A refusal of what [`order`](Self::order) made of this request, in the words of this request.
    pub fn blamed(&self, problem: Problem) -> Problem {
        let Some(ours) = &problem.field else { return problem };
        let Some((_, theirs)) = WORDS.iter().find(|(word, _)| word == ours) else { return problem };
        let theirs = match *theirs {
            "batch_size" if self.batch_size.is_none() && self.n_iter.is_some() => "n_iter",
            "sampler_name" if self.sampler_name.is_none() && self.sampler_index.is_some() => "sampler_index",
            theirs => theirs,
        };
        let detail = WORDS.iter().fold(problem.detail.clone(), |detail, (ours, theirs)| {
            detail.replace(&format!("`{ours}`"), &format!("`{theirs}`"))
        });
        Problem { field: Some(theirs.into()), detail, ..problem }
    }

    /// The request as answers repeat it: without its pictures.
    pub fn echoed(&self) -> Self {
        Self { init_images: None, mask: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::prompt::tests::{model, names, words};
    use undiffuse::data::Image;
    use undiffuse::request::Asks;

    proptest! {
        #[test]
        fn every_class_can_be_asked_for(names in names()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let model = model(&names, names.len());
            for (word, label) in words(&model) {
                let generate = order(&json!({ "prompt": word }).to_string(), &model).unwrap();
                prop_assert_eq!(model.known().parse(&generate.asked.words("class")[0]), Ok(label), "{:?} of {:?}", word, names);
            }
        }
    }

    fn read(text: &str) -> Request {
        serde_json::from_str(text).unwrap()
    }

    fn order(text: &str, model: &ModelInfo) -> Result<Generate, Problem> {
        read(text).order(model, &RequestLimits::default(), || 77)
    }

    #[test]
    fn a_request_becomes_a_job() {
        let clothes = model(&["Bag", "Boot"], 2);
        let text = r#"{"prompt": "a boot", "seed": 5, "batch_size": 2, "n_iter": 3, "steps": 9, "cfg_scale": 7, "width": 512,
            "height": 512, "sampler_name": "Euler a", "eta": 1.0, "denoising_strength": 0.7, "styles": [], "script_name": null,
            "alwayson_scripts": {}, "tiling": false, "s_churn": 0, "subseed_strength": -1}"#;
        let made = order(text, &clothes).unwrap();
        let expected = Generate {
            model: Some("m".into()),
            n: Some(6),
            seed: Some(5),
            solver: Some("euler-ancestral".into()),
            steps: Some(9),
            eta: made.eta,
            guidance: Some(7.0),
            asked: Asks::of("class", ["Boot"]),
            ..Generate::default()
        };
        assert_eq!(made, expected);
        let made =
            order(r#"{"seed": -1, "width": 64, "height": 32, "sampler_name": "Heun", "eta": 1}"#, &model(&[], 0))
                .unwrap();
        assert_eq!(
            (made.seed, made.width, made.height, made.eta, made.guidance),
            (Some(77), Some(64), Some(32), None, None)
        );
        for (text, field) in [
            (r#"{"prompt": "a cat"}"#, "prompt"),
            (r#"{"enable_hr": true}"#, "enable_hr"),
            (r#"{"script_name": "x/y/z plot"}"#, "script_name"),
            (r#"{"init_images": ["", ""]}"#, "init_images"),
            (r#"{"mask": "???", "inpainting_mask_invert": 1}"#, "mask"),
        ] {
            assert_eq!(order(text, &clothes).unwrap_err().field.as_deref(), Some(field), "{text}");
        }
    }

    #[test]
    fn masks_are_turned_when_black_is_to_be_painted() {
        let mask = Image::new(2, 1, 1, vec![0, 200]);
        let encoded = BASE64_STANDARD.encode(encode_png(&mask, &[]).unwrap());
        let turned = |invert: &str| {
            let text = format!(r#"{{"init_images": ["x"], "mask": "{encoded}", "inpainting_mask_invert": {invert}}}"#);
            let made = order(&text, &model(&[], 0)).unwrap();
            assert_eq!((made.init_image.as_deref(), made.strength), (Some("x"), Some(0.75)));
            from_base64("mask", &made.mask.unwrap(), mask_options(), &RequestLimits::default()).unwrap().pixels
        };
        assert_eq!((turned("0"), turned("1"), turned("true")), (vec![0, 200], vec![255, 55], vec![255, 55]));
    }
}
