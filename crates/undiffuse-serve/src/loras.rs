//! LoRA files: those of one folder, which prompts name as `<lora:NAME:SCALE>`. A name is looked up, and never joined to a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Value, json};
use undiffuse::model::Adapter;
use undiffuse::request::Asks;
use undiffuse::words::prompt::loras;

use crate::problem::Problem;

/// The field of a request in which they are named.
const PROMPT: &str = "prompt";
/// How a name in a prompt begins.
const BEGIN: &str = "<lora:";
/// How their files end.
pub(crate) const SUFFIX: &str = ".safetensors";
/// As many may be added at a time.
const MOST: usize = 16;
/// One is added no more times than this, nor taken away.
const TIMES: f64 = 10.0;
/// Names that a refusal tells of those there are.
const FEW: usize = 8;

/// The files of a folder by what prompts call them: regular ones that lie in it, no links, and none whose name no prompt can hold.
pub(crate) fn found(folder: Option<&Path>) -> BTreeMap<String, PathBuf> {
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path());
    let named = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned();
        can_be_named(&name).then_some((name, path))
    });
    named.collect()
}

fn can_be_named(name: &str) -> bool {
    let read = loras(&named("", [(name, 1.0)]));
    read == (String::new(), vec![(name.to_owned(), 1.0)]) && !name.starts_with('.') && !name.contains(char::is_control)
}

/// Words, and behind them the LoRAs of these names, each so many times, as a prompt has them.
pub(crate) fn named<'a>(words: &str, all: impl IntoIterator<Item = (&'a str, f64)>) -> String {
    let tags = all.into_iter().map(|(name, times)| format!("{BEGIN}{name}:{times}>"));
    let words = Some(words.to_owned()).filter(|words| !words.is_empty());
    words.into_iter().chain(tags).collect::<Vec<_>>().join(" ")
}

/// The same of LoRAs as the facts of a picture have them.
pub(crate) fn told(words: &str, facts: Option<&Value>) -> String {
    let lora = |facts: &Value| {
        let file = facts["file"].as_str()?.rsplit(['/', '\\']).next()?;
        Some((file.strip_suffix(SUFFIX).unwrap_or(file).to_owned(), facts["scale"].as_f64()?))
    };
    let all: Vec<(String, f64)> = facts.and_then(Value::as_array).into_iter().flatten().filter_map(lora).collect();
    named(words, all.iter().map(|(name, times)| (name.as_str(), *times)))
}

/// What pictures say of what was added to their model; where it lies is nobody's business.
///
/// # Errors
/// What the system says.
pub(crate) fn facts(adapters: &[Adapter]) -> io::Result<Vec<Value>> {
    let fact = |adapter: &Adapter| {
        let mut facts = adapter.facts()?;
        facts["file"] = json!(file(adapter));
        Ok(facts)
    };
    adapters.iter().map(fact).collect()
}

/// The name of an adapter's file.
pub(crate) fn file(adapter: &Adapter) -> String {
    adapter.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// LoRAs by name, each with how many times it is added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Loras(BTreeMap<String, f64>);

impl Loras {
    /// What is asked for without the LoRAs that its prompts name, and these.
    ///
    /// # Errors
    /// 422: prompts that name different ones, as one job is one model's; names in another field; too many, too often.
    pub fn take(asks: &Asks) -> Result<(Asks, Self), Problem> {
        let mut rest = asks.clone();
        let mut all: Vec<Self> = Vec::new();
        for (field, words) in &mut rest.0 {
            if *field == PROMPT {
                all = words.iter_mut().map(Self::cut).collect::<Result<_, _>>()?;
            } else if words.iter().any(|word| word.contains(BEGIN)) {
                return Err(Problem::invalid(field, "`<lora:…>`: only `prompt` names LoRAs; leave it out here"));
            }
        }
        all.dedup();
        if all.len() > 1 {
            let detail = "its prompts name different LoRAs, and one model makes all pictures of a request: name the same in each, or \
                          ask for them one after the other";
            return Err(Problem::invalid(PROMPT, detail));
        }
        Ok((rest, all.pop().unwrap_or_default()))
    }

    /// Cuts those out of a prompt that it names.
    fn cut(prompt: &mut String) -> Result<Self, Problem> {
        if !prompt.contains(BEGIN) {
            return Ok(Self::default());
        }
        let (words, named) = loras(prompt);
        if words.contains(BEGIN) {
            let detail = "`<lora:…>` with no name or number that can be read: write `<lora:ink>` or `<lora:ink:0.8>`";
            return Err(Problem::invalid(PROMPT, detail));
        }
        let mut all = BTreeMap::new();
        for (name, times) in named {
            *all.entry(name).or_insert(0.0) += times;
        }
        if all.len() > MOST {
            return Err(Problem::invalid(
                PROMPT,
                format!("{} LoRAs are more than the {MOST} that may be added", all.len()),
            ));
        }
        if let Some((name, times)) = all.iter().find(|(_, times)| !(-TIMES..=TIMES).contains(*times)) {
            let detail = format!("`<lora:{}:{times}>`: {TIMES} times are allowed, or -{TIMES}", short(name));
            return Err(Problem::invalid(PROMPT, detail));
        }
        *prompt = words.trim().to_owned();
        Ok(Self(all))
    }

    /// Their files, of those in a folder.
    ///
    /// # Errors
    /// 422: a name that is not among them.
    pub fn adapters(&self, folder: Option<&Path>) -> Result<Vec<Adapter>, Problem> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let found = found(folder);
        let adapter = |(name, &scale): (&String, &f64)| {
            let path = found.get(name).cloned().ok_or_else(|| unknown(name, &found))?;
            Ok(Adapter { path, scale })
        };
        self.0.iter().map(adapter).collect()
    }

    /// Words with these behind them, as a prompt names them.
    pub fn behind(&self, words: &str) -> String {
        named(words, self.0.iter().map(|(name, &times)| (name.as_str(), times)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn unknown(name: &str, found: &BTreeMap<String, PathBuf>) -> Problem {
    let few: Vec<&str> = found.keys().take(FEW).map(String::as_str).collect();
    let there_are = match (few.len(), found.len()) {
        (0, _) => "none is served here: `undiffuse serve --loras FOLDER` serves those of a folder".to_owned(),
        (shown, all) => format!("there are: {}{}", few.join(", "), if all > shown { ", …" } else { "" }),
    };
    Problem::invalid(PROMPT, format!("there is no LoRA `{}`; {there_are}", short(name)))
}

fn short(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(prompts: &[&str]) -> Result<(Vec<String>, String), Problem> {
        let asks = Asks::of(PROMPT, prompts.iter().copied());
        Loras::take(&asks).map(|(rest, loras)| (rest.words(PROMPT).to_vec(), loras.behind("")))
    }

    #[test]
    fn names_are_cut_out_of_prompts() {
        for (prompts, rest, loras) in [
            (&["a cat"][..], &["a cat"][..], ""),
            (&[" a cat "], &[" a cat "], ""),
            (&["a cat <lora:ink:0.8>"], &["a cat"], "<lora:ink:0.8>"),
            (&["<lora:b> a <lora:a:-0.5>", "<lora:a:-.5><lora:b:1> b"], &["a", "b"], "<lora:a:-0.5> <lora:b:1>"),
            (&["<lora:a:0.5><lora:a:0.25>"], &[""], "<lora:a:0.75>"),
            (&["<lora:a:-0>"], &[""], "<lora:a:0>"),
        ] {
            let rest: Vec<String> = rest.iter().map(|&words| words.to_owned()).collect();
            assert_eq!(take(prompts), Ok((rest, loras.to_owned())), "{prompts:?}");
        }
        let many: String = (0..17).map(|k| format!("<lora:{k}>")).collect();
        for (prompts, told) in [
            (&["<lora:a> b", "b"][..], "different LoRAs"),
            (&["<lora:a:1>", "<lora:a:1.5>"], "different LoRAs"),
            (&["<lora:a:10.5>"], "`<lora:a:10.5>`"),
            (&["<lora:a:1e308><lora:a:1e308><lora:a:-1e308>"], "10 times"),
            (&["<lora:a:much>"], "no name or number"),
            (&["<lora:a"], "no name or number"),
            (&[many.as_str()], "17 LoRAs"),
        ] {
            let problem = take(prompts).unwrap_err();
            assert!(problem.detail.contains(told), "{prompts:?}: {problem:?}");
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some(PROMPT)));
        }
        let elsewhere = Loras::take(&Asks::of("class", ["<lora:a>"])).unwrap_err();
        assert_eq!(elsewhere.field.as_deref(), Some("class"));
    }

    #[test]
    fn only_files_of_the_folder_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["ink.safetensors", "more ink.safetensors", ".x.safetensors", "a:b.safetensors", "ink.ckpt"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir_all(path("folder.safetensors")).unwrap();
        fs::write(path("folder.safetensors/deeper.safetensors"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(path("ink.safetensors"), path("link.safetensors")).unwrap();
        let names: Vec<String> = found(Some(folder.path())).into_keys().collect();
        assert_eq!(names, ["ink", "more ink"]);
        assert!(found(None).is_empty() && found(Some(&path("nothing"))).is_empty());
        let (_, loras) = Loras::take(&Asks::of(PROMPT, ["<lora:more ink:2>"])).unwrap();
        let adapters = loras.adapters(Some(folder.path())).unwrap();
        assert_eq!(adapters, [Adapter { path: path("more ink.safetensors"), scale: 2.0 }]);
        for name in ["../x", "/etc/passwd", "folder.safetensors/deeper", "Ink", "link", "a\0", "ink.safetensors"] {
            let (_, loras) = Loras::take(&Asks::of(PROMPT, [format!("<lora:{name}>")])).unwrap();
            let problem = loras.adapters(Some(folder.path())).unwrap_err();
            assert!(problem.detail.ends_with("there are: ink, more ink"), "{problem:?}");
        }
    }

    #[test]
    fn pictures_tell_them_as_prompts_do() {
        let facts =
            json!([{ "file": "a/b\\ink.safetensors", "scale": 0.8 }, { "file": "old", "scale": 1 }, { "scale": 1 }]);
        assert_eq!(told("a cat", Some(&facts)), "a cat <lora:ink:0.8> <lora:old:1>");
        assert_eq!((told("a cat", None), told("", Some(&json!(7)))), ("a cat".to_owned(), String::new()));
    }
}
