//! The text `parameters` that AUTOMATIC1111's web interface and its kin put into pictures: read, and turned into what can be
//! had here; and written beside our own settings, so that their tools show the words of our pictures.
//!
//! ```text
//! a boot, studio light
//! Negative prompt: blurry
//! Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: boots, Lora hashes: "a: 12, b: 34"
//! ```

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};
use undiffuse::data::COMMENT;

use crate::job::{Generate, ModelInfo};
use crate::loras;
use crate::prompt::{self, Asked};
use crate::samplers::{ours, theirs};
use crate::words;

/// The text of a picture in which this program writes what made it, as JSON.
pub const OWN: &str = "undiffuse";
/// The texts in which other programs do.
pub const FOREIGN: [&str; 2] = ["parameters", COMMENT];

/// More is not read of a text, in bytes: such texts are a few hundred.
const LONGEST: usize = 64 << 10;
/// Settings without which a last line belongs to the prompt, as the original has it.
const FEWEST: usize = 3;
/// Letters of a foreign word in a sentence of ours.
const SHOWN: usize = 60;
/// Settings that say nothing which a picture here could be made by.
const IDLE: [&str; 2] = ["Version", "Model hash"];

/// AUTOMATIC1111's words for what is made of brackets, and ours.
pub const EMPHASIS: [(&str, &str); 3] = [("Original", "original"), ("No norm", "no-norm"), ("None", "none")];

/// Our word for one of these.
pub fn emphasis(theirs: &str) -> Option<&'static str> {
    EMPHASIS.iter().find(|(word, _)| *word == theirs).map(|(_, ours)| *ours)
}

/// What such a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// What was asked for.
    pub prompt: String,
    /// What was not.
    pub negative: String,
    /// The last line: names and values, in order.
    pub settings: Vec<(String, String)>,
}

impl Parameters {
    /// Reads a text. Whatever it holds, something is made of it: lines that are no settings are prompt.
    pub fn parse(text: &str) -> Self {
        // The settings stand at the end.
        let text = text[text.ceil_char_boundary(text.len().saturating_sub(LONGEST))..].trim();
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let settings = settings(last);
        let (words, settings) = if settings.len() < FEWEST { (text, Vec::new()) } else { (before, settings) };
        let (prompt, negative) = match words.strip_prefix("Negative prompt:") {
            Some(negative) => ("", negative),
            None => words.split_once("\nNegative prompt:").unwrap_or((words, "")),
        };
        Self { prompt: prompt.trim().into(), negative: negative.trim().into(), settings }
    }

    /// What the facts of a picture of this width and height say; `None` where it was not made of words.
    pub fn of(facts: &Map<String, Value>, (width, height): (usize, usize)) -> Option<Self> {
        let word = |name: &str| facts.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| {
            let text = facts.get(name).filter(|value| value.is_number()).map(Value::to_string);
            text.map(|text| text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
        };
        let (sampler, scheduler) = theirs(word("solver"), word("spacing"));
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let emphasis = EMPHASIS.iter().find(|(_, ours)| *ours == word("emphasis"));
        let skipped = facts.get("clip_skip").and_then(Value::as_u64);
        let settings = [
            ("Steps", number("steps")),
            ("Sampler", text(sampler)),
            ("Schedule type", text(scheduler)),
            ("CFG scale", number("guidance")),
            ("Seed", number("seed")),
            ("Size", Some(format!("{width}x{height}"))),
            ("Model", text(called(word("model")).to_owned())),
            ("Denoising strength", number("strength")),
            // The original counts from the last layer, which is 1.
            ("Clip skip", skipped.map(|layers| layers.saturating_add(1).to_string())),
            ("Emphasis", emphasis.map(|(theirs, _)| (*theirs).to_owned())),
            ("Version", text(word("program").to_owned())),
        ];
        let told = settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let prompt = loras::told(facts.get("prompt")?.as_str()?, facts.get("lora"));
        Some(Self { prompt, negative: word("negative").to_owned(), settings: told.collect() })
    }

    /// A setting by its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What of it can be had, of the model of that name among `models`, or otherwise of `chosen`.
    pub fn restored(&self, models: &[ModelInfo], chosen: Option<&ModelInfo>) -> Restored {
        let named = self.get("Model").and_then(|name| models.iter().find(|model| model.id == name));
        let mut found = Restored::default();
        found.settings.model = named.map(|model| model.id.clone());
        match (named, self.get("Model")) {
            (Some(_), _) => {}
            (None, Some(name)) => found.note(format!("The model {} is not here.", quoted(name))),
            (None, None) => found.note("It does not say which model made it."),
        }
        self.sampling(&mut found);
        self.picture(named, &mut found);
        self.class(named.or(chosen), &mut found);
        self.reading(named.or(chosen), &mut found);
        if let Some(cfg) = self.number("CFG scale", &mut found) {
            match named.or(chosen).is_some_and(|model| !model.guidance) && cfg != 1.0 {
                true => found.note("This model cannot be guided: the CFG scale is left out."),
                false => found.settings.guidance = Some(cfg),
            }
        }
        if !self.negative.is_empty() {
            match named.or(chosen).is_some_and(ModelInfo::takes_words) {
                true => {
                    found.settings.asked = prompt::led_away(std::mem::take(&mut found.settings.asked), &self.negative)
                }
                false => found.note("There is nothing to steer away from here: the negative prompt is left out."),
            }
        }
        let read = |name: &str| READ.iter().chain(&IDLE).any(|known| known.eq_ignore_ascii_case(name));
        let rest: Vec<String> =
            self.settings.iter().map(|(name, _)| name).filter(|name| !read(name)).map(|n| quoted(n)).collect();
        if !rest.is_empty() {
            let more = if rest.len() > 8 { " and more" } else { "" };
            found.note(format!("Not to be had here: {}{more}.", rest[..rest.len().min(8)].join(", ")));
        }
        found
    }

    fn sampling(&self, found: &mut Restored) {
        let (sampler, scheduler) = (self.get("Sampler"), self.get("Schedule type"));
        let (solver, spacing) = ours(sampler, scheduler);
        if let Some(word) = solver {
            match words::solver(&word) {
                Ok(solver) if !solver.rises() => found.settings.solver = Some(word),
                _ => found.note(format!("The sampler {} is not here.", quoted(sampler.unwrap_or(&word)))),
            }
        }
        if let Some(word) = spacing {
            match words::spacing(&word) {
                Ok(_) => found.settings.spacing = Some(word),
                Err(_) => found.note(format!("The schedule {} is not here.", quoted(scheduler.unwrap_or(&word)))),
            }
        }
        found.settings.steps =
            self.whole("Steps", found).and_then(|steps| usize::try_from(steps).ok()).filter(|&n| n > 0);
        found.settings.seed = self.whole("Seed", found);
        let solver = found.settings.solver.as_deref().and_then(|word| words::solver(word).ok());
        if solver.is_some_and(|solver| solver.options().contains_key("eta")) {
            found.settings.eta = self.number("Eta", found);
        }
    }

    /// Size, and what it was started from.
    fn picture(&self, named: Option<&ModelInfo>, found: &mut Restored) {
        let size = self.get("Size").and_then(|size| size.split_once('x'));
        let size = size.and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
        match (size, named) {
            (Some((w, h)), Some(model)) if [h, w] == model.shape[1..] => {}
            (Some((w, h)), Some(_)) => (found.settings.width, found.settings.height) = (Some(w), Some(h)),
            (Some((w, h)), None) => found.note(format!("Its size, {w} by {h}, was another model's and is left out.")),
            (None, _) => {}
        }
        // The second pass of a larger picture is not a picture that was handed in.
        let second_pass = self.settings.iter().any(|(name, _)| name.starts_with("Hires"));
        if let (false, Some(strength)) = (second_pass, self.number("Denoising strength", found)) {
            match (0.0..=1.0).contains(&strength) {
                true => {
                    found.settings.strength = Some(strength);
                    found.note("It was started from another picture, which is not in the file.");
                }
                false => found.note("Its denoising strength is not between 0 and 1, and is left out."),
            }
        }
    }

    fn class(&self, model: Option<&ModelInfo>, found: &mut Restored) {
        let Some(model) = model else {
            if !self.prompt.is_empty() {
                found.note("Whether its prompt names a class depends on the model.");
            }
            return;
        };
        match prompt::read(&self.prompt, model) {
            Ok(asked @ (Asked::Class(_) | Asked::Words(..))) => found.settings.asked = asked.asks(),
            Ok(Asked::Anything) if !self.prompt.is_empty() => {
                found.note("This model takes no prompt: it makes what it was trained on.");
            }
            Ok(Asked::Anything | Asked::EveryClass) => {}
            Err(_) => found.note("Its prompt names no class of this model, or several."),
        }
    }

    /// How words are read, of a model that takes some.
    fn reading(&self, model: Option<&ModelInfo>, found: &mut Restored) {
        if model.is_some_and(|model| !model.takes_words()) {
            return;
        }
        let stop = self.whole("Clip skip", found).and_then(|stop| usize::try_from(stop).ok());
        found.settings.clip_skip = stop.and_then(|stop| stop.checked_sub(1));
        if let Some(word) = self.get("Emphasis") {
            match emphasis(word) {
                Some(ours) => found.settings.emphasis = Some(ours.to_owned()),
                None => found.note(format!("The emphasis {} is not here.", quoted(word))),
            }
        }
    }

    fn number(&self, name: &str, found: &mut Restored) -> Option<f64> {
        let text = self.get(name)?;
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            found.note(format!("{name}: {} is no number.", quoted(text)));
        }
        number
    }

    fn whole(&self, name: &str, found: &mut Restored) -> Option<u64> {
        let text = self.get(name)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            found.note(format!("{name}: {} is no whole number.", quoted(text)));
        }
        number
    }
}

/// As the original writes it.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &str| match value.contains([',', ':', '\n']) {
            true => json!(value).to_string(),
            false => value.to_owned(),
        };
        let settings: Vec<String> =
            self.settings.iter().map(|(name, text)| format!("{name}: {}", value(text))).collect();
        let negative = Some(format!("Negative prompt: {}", self.negative)).filter(|_| !self.negative.is_empty());
        let lines = Some(self.prompt.clone()).into_iter().chain(negative).chain([settings.join(", ")]);
        f.write_str(lines.collect::<Vec<_>>().join("\n").trim())
    }
}

/// The texts of a PNG with these facts, of this width and height.
pub fn texts(facts: &Map<String, Value>, size: (usize, usize)) -> Vec<(String, String)> {
    let foreign = Parameters::of(facts, size).map(|parameters| (FOREIGN[0].to_owned(), parameters.to_string()));
    [(OWN.to_owned(), json!(facts).to_string())].into_iter().chain(foreign).collect()
}

/// The name of a model, which may be known by where it lies.
fn called(path: &str) -> &str {
    let path = path.trim_end_matches(['/', '\\']);
    let path = path.strip_suffix("/model").or_else(|| path.strip_suffix("\\model")).unwrap_or(path);
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Settings that are read above.
const READ: [&str; 11] = [
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Seed",
    "Size",
    "Model",
    "Denoising strength",
    "Eta",
    "Clip skip",
    "Emphasis",
];

/// What of a text can be had here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Restored {
    /// As a request for pictures; what is not known is left out.
    pub settings: Generate,
    /// What could not be filled, in sentences.
    pub notes: Vec<String>,
}

impl Restored {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// A foreign word in a sentence.
fn quoted(word: &str) -> String {
    let mut letters = word.trim().chars();
    let start: String = letters.by_ref().take(SHOWN).collect();
    format!("\u{201c}{start}{}\u{201d}", if letters.next().is_some() { "…" } else { "" })
}

/// `Name: value, Name: "quoted, with commas", …`; what is none of these is passed over.
fn settings(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = rest.split_once(':') {
        // A name is the last part before its colon: what stands before a comma is a value that nobody named.
        let name = name.rsplit(',').next().unwrap_or_default().trim();
        let (value, after) = value(after.trim_start());
        if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || " -_/".contains(c)) {
            found.push((name.to_owned(), value));
        }
        rest = after;
    }
    found
}

/// A value, up to its comma, and what follows.
fn value(text: &str) -> (String, &str) {
    if let Some((quoted, after)) = text.strip_prefix('"').and_then(unquoted) {
        let after = after.trim_start();
        return (quoted, after.strip_prefix(',').unwrap_or(after));
    }
    let (value, after) = text.split_once(',').unwrap_or((text, ""));
    (value.trim().to_owned(), after)
}

/// What stands before the closing quote, as JSON has it, and what follows that; `None` where it is never closed.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (inside, after) = (&text[..end], &text[end + 1..]);
    let value = serde_json::from_str(&format!("\"{inside}\"")).unwrap_or_else(|_| inside.to_owned());
    Some((value, after))
}

#[cfg(test)]
mod tests {
    use undiffuse::request::Asks;

    use super::*;
    use crate::prompt::tests::model;

    /// As version 1.10 writes it.
    const TEXT: &str = "an ankle boot, studio light\nsecond line\nNegative prompt: blurry, two boots\nSteps: 20, Sampler: DPM++ 2M, \
        Schedule type: Karras, CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model hash: 84d76a0328, Model: m, \
        Denoising strength: 0.4, Lora hashes: \"a: 12, b: \\\"34\\\"\", Version: v1.10.1";

    #[test]
    fn a_text_is_read() {
        let read = Parameters::parse(TEXT);
        assert_eq!(read.prompt, "an ankle boot, studio light\nsecond line");
        assert_eq!(read.negative, "blurry, two boots");
        assert_eq!(read.settings.len(), 11);
        assert_eq!((read.get("Lora hashes"), read.get("seed")), (Some("a: 12, b: \"34\""), Some("965400086")));
        // Three settings make a line of settings; fewer are words.
        assert_eq!(Parameters::parse("ratio 1:2, 3:4").prompt, "ratio 1:2, 3:4");
        let bare = Parameters::parse("Negative prompt: x\nSteps: 1, Seed: 2, Size: 8x8");
        assert_eq!((bare.prompt.as_str(), bare.negative.as_str(), bare.settings.len()), ("", "x", 3));
    }

    #[test]
    fn what_is_written_is_read() {
        let facts = json!({
            "program": "undiffuse 0.0.0", "model": "runs/boots/model", "seed": u64::MAX, "solver": "euler-ancestral",
            "spacing": "karras:rho=5", "steps": 20, "guidance": 7.0, "prompt": "a boot, (red:1.2)\nof 1890",
            "negative": "blurry", "strength": null,
        });
        let facts = facts.as_object().unwrap();
        let written = Parameters::of(facts, (512, 768)).unwrap();
        let text = "a boot, (red:1.2)\nof 1890\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Schedule type: \
                    \"karras:rho=5\", CFG scale: 7, Seed: 18446744073709551615, Size: 512x768, Model: boots, \
                    Version: undiffuse 0.0.0";
        assert_eq!(written.to_string(), text);
        assert_eq!(Parameters::parse(text), written);
        let own = texts(facts, (512, 768));
        assert_eq!((own[0].0.as_str(), own[1].0.as_str(), own.len()), ("undiffuse", "parameters", 2));
        // Nothing that a viewer of words could show.
        let class = json!({ "class": "Boot", "seed": 1 });
        assert_eq!(texts(class.as_object().unwrap(), (8, 8)).len(), 1);
        assert_eq!(["m", "runs/a b/model/", "C:\\x\\model", "/"].map(called), ["m", "a b", "x", ""]);
    }

    #[test]
    fn what_can_be_had_is_filled_and_the_rest_is_said() {
        let clothes = model(&["Bag", "Ankle boot"], 2);
        let found = Parameters::parse(TEXT).restored(std::slice::from_ref(&clothes), None);
        let expected = Generate {
            model: Some("m".into()),
            seed: Some(965_400_086),
            solver: Some("dpmpp-2m".into()),
            spacing: Some("karras".into()),
            steps: Some(20),
            guidance: Some(7.5),
            asked: Asks::of("class", ["Ankle boot"]),
            width: Some(512),
            height: Some(768),
            strength: Some(0.4),
            ..Generate::default()
        };
        assert_eq!(found.settings, expected);
        let said = found.notes.join(" ");
        for words in ["started from another picture", "negative prompt", "Not to be had here: “Lora hashes”."] {
            assert!(said.contains(words), "`{words}` is missing in {said}");
        }
        assert!(!said.contains("Version") && !said.contains("hash,"), "{said}");
        // Another model's pictures: its size means nothing here, and a model that is chosen reads the prompt.
        let other =
            TEXT.replace("Model: m,", "Model: epic,").replace("DPM++ 2M", "DPM fast").replace("Seed: 9", "Seed: -9");
        let found = Parameters::parse(&other).restored(&[], Some(&clothes));
        let Generate { model, seed, solver, asked, width, .. } = &found.settings;
        assert_eq!((model, seed, solver, width), (&None, &None, &None, &None));
        assert_eq!(asked.words("class"), ["Ankle boot"]);
        let said = found.notes.join(" ");
        for words in ["“epic” is not here", "512 by 768", "“DPM fast”", "“-965400086” is no whole number"] {
            assert!(said.contains(words), "`{words}` is missing in {said}");
        }
    }

    #[test]
    fn nothing_hostile_breaks_it() {
        let many = format!("Steps: 1, Seed: 2, {}", "x: \"\\".repeat(100_000));
        let long = format!("é{}", "x".repeat(LONGEST - 1));
        for text in
            ["", "\n", ":", ",,,:::", "a: \"", "a: \"\\\", b: c, d: e", "\u{0}: \u{1b}[2J, a: b, c: d", &many, &long]
        {
            let read = Parameters::parse(text);
            read.restored(&[], Some(&model(&["Bag"], 1)));
        }
        // Every text of a few pieces, so that every state is met in every order.
        let pieces = ["Seed", ": ", ", ", "\"", "\\", "\n", "Negative prompt:", "7", "é", "Size: 3x", "CFG scale: nan"];
        for code in 0..pieces.len().pow(4) {
            let text: String = (0..4).map(|k| pieces[code / pieces.len().pow(k) % pieces.len()]).collect();
            Parameters::parse(&format!("a: b, c: d, e: f, {text}")).restored(&[], None);
        }
        let huge = Parameters::parse(
            "Steps: 99999999999999999999, Seed: 1e3, CFG scale: inf, Denoising strength: 7, Size: 9x9x9",
        );
        let found = huge.restored(&[], None);
        assert_eq!(found.settings, Generate::default());
        assert!(found.notes.len() >= 4, "{:?}", found.notes);
    }
}
