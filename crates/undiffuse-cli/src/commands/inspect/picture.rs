//! A PNG and the words in it.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use undiffuse::classes::recorded;
use undiffuse::data::read_png_text;

use super::{Findings, size};
use crate::output::{command_line, facts};

/// The text chunk in which this program writes its settings, as JSON.
const KEY: &str = "undiffuse";

pub fn inspect(path: &Path, bytes: &[u8]) -> anyhow::Result<Findings> {
    let chunks = read_png_text(bytes).with_context(|| format!("`{}`", path.display()))?;
    // The header comes first in every PNG that was just read to its end.
    let side = |at: usize| bytes[at..at + 4].iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
    let (width, height) = (side(16), side(20));
    let own = chunks.iter().find(|(key, _)| key == KEY);
    let settings = own.map(|(_, text)| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())));
    let mut found = vec![
        ("picture", path.display().to_string()),
        ("size", format!("{width}×{height} pixels, {}", size(bytes.len()))),
    ];
    if chunks.is_empty() {
        found.push(("settings", "none: this PNG carries no text, so nothing says how it was made".into()));
    }
    if let Some(settings) = &settings {
        found.push(("settings", format!("{settings:#}")));
        found.extend(again(settings).map(|command| ("again", command)));
    }
    for (key, text) in chunks.iter().filter(|(key, _)| key != KEY) {
        found.push(("text", format!("{key}: {text}")));
    }
    let text: serde_json::Map<String, Value> =
        chunks.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    let json = json!({
        "kind": "picture",
        "path": path.display().to_string(),
        "width": width,
        "height": height,
        "settings": settings,
        "again": settings.as_ref().and_then(again),
        "text": text,
    });
    Ok(Findings { text: facts(&found), json })
}

/// Options of `undiffuse sample` that a sample's settings hold under the same name.
const OPTIONS: [&str; 9] =
    ["seed", "solver", "spacing", "steps", "size", "init_noise", "init_image", "strength", "mask"];

/// The command that makes the picture again: as it was noted, or from the settings of a sample.
fn again(settings: &Value) -> Option<String> {
    if let Some(command) = settings["command"].as_str() {
        return Some(command.to_owned());
    }
    let word = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut words = vec!["undiffuse".to_owned(), "sample".into(), settings["model"].as_str()?.to_owned()];
    // Noise from a file says itself how many pictures it is for.
    if settings["init_noise"].is_null() {
        words.extend(["-n".into(), "1".into()]);
    }
    for name in OPTIONS {
        words.extend(word(&settings[name]).into_iter().flat_map(|v| [format!("--{}", name.replace('_', "-")), v]));
    }
    if let Some(class) = recorded(settings) {
        words.extend(["--class".into(), class]);
        words.extend(word(&settings["guidance"]).into_iter().flat_map(|v| ["--guidance".into(), v]));
    }
    Some(command_line(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_sample() {
        let settings = json!({
            "model": "runs/my photos", "seed": 7, "class": "Ankle boot", "label": 9, "solver": "heun",
            "spacing": "karras:rho=5", "steps": 25, "guidance": 1.5, "size": null, "init_noise": null,
        });
        let command = "undiffuse sample 'runs/my photos' -n 1 --seed 7 --solver heun --spacing karras:rho=5 --steps 25 \
                       --class 'Ankle boot' --guidance 1.5";
        assert_eq!(again(&settings).as_deref(), Some(command));
        assert_eq!(again(&json!({ "command": "undiffuse diffuse a.png" })).as_deref(), Some("undiffuse diffuse a.png"));
        assert_eq!(again(&json!({ "seed": 7 })), None);
        let unconditional =
            json!({ "model": "m", "seed": null, "label": null, "guidance": 1.0, "init_noise": "n.safetensors" });
        assert_eq!(again(&unconditional).as_deref(), Some("undiffuse sample m --init-noise n.safetensors"));
    }
}
