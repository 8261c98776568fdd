//! `model_index.json`: what a diffusers pipeline is made of.

use serde_json::{Map, Value};
use undiffuse_nn::networks::FOLDERS;

/// Parts that turn what a network makes into pictures.
const CODECS: [&str; 4] = ["vae", "vqvae", "movq", "vqgan"];

/// What stands in the way of making pictures with a network and a scheduler alone, if anything does.
pub(super) fn foreign(index: &Map<String, Value>) -> Option<String> {
    let parts = || index.iter().filter_map(|(name, value)| Some((name.as_str(), class(value)?)));
    let pipeline = index.get("_class_name").and_then(Value::as_str).unwrap_or("pipeline");
    let codec = parts().find(|(name, _)| CODECS.contains(name));
    let other = parts().find(|(name, _)| *name != "scheduler" && !FOLDERS.contains(name));
    match (codec, other) {
        (Some((name, class)), _) => Some(format!(
            "this {pipeline} makes latents, pictures only to its {class} (`{name}`), which this program can't decode"
        )),
        (None, Some((name, class))) => {
            Some(format!("this {pipeline} needs its {class} (`{name}`), which this program can't run"))
        }
        (None, None) => None,
    }
}

/// The class of a part, which is `[library, class]`; parts that were left out are `[null, null]`, and other values are
/// settings.
fn class(value: &Value) -> Option<&str> {
    match value.as_array()?.as_slice() {
        [_, class] => class.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        foreign(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn pipelines_of_a_network_and_a_scheduler_pass() {
        for name in ["DDPMPipeline", "DDIMPipeline", "SomebodysOwn"] {
            let text = format!(
                r#"{{"_class_name": "{name}", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "X"],
                    "safety_checker": [null, null], "requires_safety_checker": true}}"#
            );
            assert_eq!(problem(&text), None);
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        let latent = r#"{"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]}"#;
        let latent = problem(latent).unwrap();
        assert!(
            latent.contains("LDMPipeline") && latent.contains("VQModel") && latent.contains("can't decode"),
            "{latent}"
        );
        let words =
            r#"{"_class_name": "X", "text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "U"]}"#;
        let words = problem(words).unwrap();
        assert!(words.contains("CLIPTextModel") && words.contains("can't run"), "{words}");
    }
}
