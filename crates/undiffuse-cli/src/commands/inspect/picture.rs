//! A picture and the words in it.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};
use undiffuse::data::{Options, decode, read_texts};
use undiffuse::model::Outline;
use undiffuse_serve::engine::model_in;
use undiffuse_serve::parameters::{FOREIGN, OWN, Parameters};

use super::{Findings, size};
use crate::again::Again;
use crate::commands::{diffuse, sample};
use crate::output::{escaped, facts};

pub fn inspect(path: &Path, bytes: &[u8]) -> anyhow::Result<Findings> {
    let at = || format!("`{}`", path.display());
    let chunks = read_texts(bytes, &Options::default()).with_context(at)?;
    let (width, height) = decode::dimensions(bytes, &Options::default()).with_context(at)?;
    let chunk = |name: &str| chunks.iter().find(|(key, _)| key == name).map(|(_, text)| text);
    let own = chunk(OWN).map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())));
    let parameters = FOREIGN.iter().find_map(|name| chunk(name)).map(|text| Parameters::parse(text));
    let parameters = parameters.filter(|parameters| !parameters.settings.is_empty());
    let (foreign, notes) = parameters.as_ref().filter(|_| own.is_none()).map(alike).unzip();
    let again = own.as_ref().and_then(again).or(foreign);
    let notes: Vec<String> = notes.unwrap_or_default();
    let mut found = vec![
        ("picture", escaped(&path.display().to_string()).into_owned()),
        ("size", format!("{width}×{height} pixels, {}", size(bytes.len()))),
    ];
    if chunks.is_empty() {
        found.push(("settings", "none: this picture carries no text, so nothing says how it was made".into()));
    }
    found.extend(own.as_ref().map(|settings| ("settings", format!("{settings:#}"))));
    for (key, text) in chunks.iter().filter(|(key, _)| key != OWN) {
        let lines: Vec<String> = text.lines().map(|line| escaped(line).into_owned()).collect();
        found.push(("text", format!("{}: {}", escaped(key), lines.join("\n"))));
    }
    found.extend(notes.iter().map(|note| ("note", escaped(note).into_owned())));
    if let Some(again) = &again {
        found.push(("again", again.command()));
        found.extend(again.missing.iter().map(|missing| ("missing", escaped(missing).into_owned())));
    }
    let text: Map<String, Value> = chunks.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    let json = json!({
        "kind": "picture",
        "path": path.display().to_string(),
        "width": width,
        "height": height,
        "settings": own,
        "prompt": parameters.as_ref().map(|parameters| &parameters.prompt),
        "negative": parameters.as_ref().map(|parameters| &parameters.negative),
        "again": again.as_ref().map(Again::command),
        "missing": again.as_ref().map(|again| &again.missing),
        "notes": notes,
        "text": text,
    });
    Ok(Findings { text: facts(&found), json })
}

/// The command that makes a picture of this program again.
fn again(settings: &Value) -> Option<Again> {
    if settings["model"].is_string() {
        let mut again = sample::again(settings);
        again.missing.extend(other_model(settings));
        return Some(again);
    }
    settings["image"].is_string().then(|| diffuse::again(settings))
}

/// Says that another model lies where the one that made a picture was.
fn other_model(settings: &Value) -> Option<String> {
    let path = settings["model"].as_str()?;
    let now = serde_json::to_value(Outline::read(path, settings["variant"].as_str()).ok()?.card.provenance).ok()?;
    let then = &settings["trained"];
    let differs = ["data_fingerprint", "seed", "images_seen"].iter().any(|&part| now[part] != then[part]);
    (differs && !then.is_null())
        .then(|| format!("model: what lies at `{path}` was trained otherwise than what made the picture"))
}

/// The nearest command to the settings of another program, and what it leaves out.
fn alike(parameters: &Parameters) -> (Again, Vec<String>) {
    let name = parameters.get("Model").unwrap_or_default();
    // As a path, or as `train` would have called it.
    let paths = [name.to_owned(), format!("runs/{name}")];
    let here =
        paths.iter().filter(|_| !name.is_empty()).find_map(|path| Some((path, model_in(name, Path::new(path))?)));
    let (path, models) = here.map(|(path, model)| (path, vec![model])).unzip();
    let mut found = parameters.restored(&models.unwrap_or_default(), None);
    found.notes.insert(0, "Another program made it: this is the nearest that can be had, not the same picture.".into());
    let settings = &found.settings;
    let mut facts = json!({
        "model": path,
        "seed": settings.seed,
        "solver": settings.solver,
        "spacing": settings.spacing,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "clip_skip": settings.clip_skip,
        "emphasis": settings.emphasis,
        "size": settings.width.zip(settings.height).map(|(w, h)| format!("{w}x{h}")),
        "init_image": settings.strength.map(|_| true),
        "strength": settings.strength,
    });
    settings.asked.0.iter().for_each(|(field, words)| facts[field] = json!(words.first()));
    let mut again = sample::again(&facts);
    if let Some(eta) = settings.eta {
        again.first(&[&format!("--eta={eta}")]);
    }
    (again, found.notes)
}
