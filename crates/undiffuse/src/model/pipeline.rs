//! `model_index.json`: what a diffusers pipeline is made of.

use serde_json::{Map, Value};
use undiffuse_nn::networks::FOLDERS;

/// A class of pipelines whose network attends to words and diffuses latents, with what its class says of sampling.
#[derive(Debug, PartialEq)]
pub(super) struct Pipeline {
    /// Its name in diffusers.
    pub class: &'static str,
    /// Guidance unless asked otherwise.
    pub guidance: f64,
    /// Steps unless asked otherwise.
    pub steps: usize,
}

/// Those that are read, a line each. The parts of all are the same: see [`PARTS`].
const PIPELINES: &[Pipeline] = &[
    Pipeline { class: "StableDiffusionPipeline", guidance: 7.5, steps: 50 },
    Pipeline { class: "StableDiffusionImg2ImgPipeline", guidance: 7.5, steps: 50 },
    Pipeline { class: "StableDiffusionInpaintPipeline", guidance: 7.5, steps: 50 },
    Pipeline { class: "LatentConsistencyModelPipeline", guidance: 8.5, steps: 4 },
    Pipeline { class: "LatentConsistencyModelImg2ImgPipeline", guidance: 8.5, steps: 4 },
];

/// Folders of the parts of those pipelines, beside the network's.
pub(super) const VAE: &str = "vae";
pub(super) const TEXT_ENCODER: &str = "text_encoder";
pub(super) const TOKENIZER: &str = "tokenizer";
pub(super) const IMAGE_ENCODER: &str = "image_encoder";
pub(super) const FEATURE_EXTRACTOR: &str = "feature_extractor";
const SCHEDULER: &str = "scheduler";
const PARTS: [&str; 4] = [VAE, TEXT_ENCODER, TOKENIZER, SCHEDULER];

/// Parts that nothing needs to make pictures, and what is said of them.
const UNUSED: [(&str, Option<&str>); 3] = [
    ("safety_checker", Some("the folder's safety checker is not run: nothing looks at what the pictures show")),
    (FEATURE_EXTRACTOR, None),
    (IMAGE_ENCODER, Some("the folder's image encoder is not used: pictures are asked for in words only")),
];

/// How the names of classes begin that are not read, and what is missing for them.
const MISSING: &[(&str, &str)] = &[
    ("StableDiffusionXL", "SDXL's second text encoder and the sizes that its U-Net reads"),
    ("StableDiffusion3", "three text encoders, T5 among them, and a transformer that reads words and pictures as one"),
    ("Flux", "T5 and a transformer that reads words and pictures as one"),
    ("UnCLIP", "a chain of a prior, a decoder and upsamplers"),
    ("StableUnCLIP", "a decoder that reads the embedding of a picture beside words"),
    ("Kandinsky", "a chain of a prior and a decoder"),
    ("StableDiffusionUpscale", "a U-Net that reads a small picture beside latents"),
    ("StableDiffusionLatentUpscale", "a U-Net that reads a small picture beside latents"),
    ("StableDiffusionInstructPix2Pix", "a U-Net that reads a picture beside latents"),
    ("StableDiffusionDepth2Img", "a U-Net that reads depths beside latents"),
    ("StableDiffusionControlNet", "a ControlNet"),
    ("PixArt", "T5 and its transformer"),
    ("IF", "T5 and a chain of three models"),
];

/// What is said of a folder by its index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Its class, where that has more than a network and a scheduler.
    pub pipeline: Option<&'static Pipeline>,
    /// What is not done that its parts are for.
    pub notes: Vec<String>,
}

/// What an index says.
///
/// # Errors
/// What stands in the way of making pictures.
pub(super) fn read(index: &Map<String, Value>) -> Result<Told, String> {
    let name = index.get("_class_name").and_then(Value::as_str).unwrap_or("pipeline");
    let Some(pipeline) = PIPELINES.iter().find(|pipeline| pipeline.class == name) else {
        if let Some((_, missing)) = MISSING.iter().find(|(begins, _)| name.starts_with(begins)) {
            return Err(format!("this {name} needs what this program does not have yet: {missing}"));
        }
        return foreign(name, index).map_or(Ok(Told::default()), Err);
    };
    let parts = || index.iter().filter_map(|(name, value)| Some((name.as_str(), class(value)?)));
    let unused = |part: &str| UNUSED.iter().find(|(name, _)| *name == part);
    let foreign = |part: &str| !PARTS.contains(&part) && !FOLDERS.contains(&part) && unused(part).is_none();
    if let Some((part, class)) = parts().find(|(part, _)| foreign(part)) {
        return Err(format!("this {name} has a {class} (`{part}`), which this program can't run"));
    }
    if let Some(part) = PARTS.iter().find(|part| index.get(**part).and_then(class).is_none()) {
        return Err(format!("this {name} has no `{part}`, which its pictures are not made without"));
    }
    let notes = parts().filter_map(|(part, _)| unused(part)?.1.map(str::to_owned)).collect();
    Ok(Told { pipeline: Some(pipeline), notes })
}

/// Parts that turn what a network makes into pictures.
const CODECS: [&str; 4] = ["vae", "vqvae", "movq", "vqgan"];

/// What stands in the way of making pictures with a network and a scheduler alone, if anything does.
fn foreign(pipeline: &str, index: &Map<String, Value>) -> Option<String> {
    let parts = || index.iter().filter_map(|(name, value)| Some((name.as_str(), class(value)?)));
    let codec = parts().find(|(name, _)| CODECS.contains(name));
    let other = parts().find(|(name, _)| *name != SCHEDULER && !FOLDERS.contains(name));
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
        read(&serde_json::from_str(text).unwrap()).err()
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

    const PARTS: &str = r#""vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"]"#;

    #[test]
    fn pipelines_of_words_are_known_by_their_class() {
        for pipeline in PIPELINES {
            let checker = r#""safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]"#;
            let text = format!(
                r#"{{"_class_name": "{}", {PARTS}, "scheduler": ["diffusers", "PNDMScheduler"], {checker},
                    "feature_extractor": ["transformers", "CLIPImageProcessor"], "image_encoder": [null, null]}}"#,
                pipeline.class
            );
            let told = read(&serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(told.pipeline, Some(pipeline));
            assert!(told.notes.len() == 1 && told.notes[0].contains("safety checker"), "{told:?}");
            let without = problem(&text.replace(r#""vae": ["diffusers", "AutoencoderKL"]"#, r#""vae": [null, null]"#));
            assert!(without.unwrap().contains("has no `vae`"));
            let more = problem(&text.replace("image_encoder\": [null, null]", "movq\": [\"diffusers\", \"VQModel\"]"));
            assert!(more.unwrap().contains("VQModel (`movq`)"));
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for class in [
            "StableDiffusionXLPipeline",
            "StableDiffusion3Pipeline",
            "FluxPipeline",
            "UnCLIPPipeline",
            "KandinskyV22Pipeline",
        ] {
            let refused = problem(&format!(r#"{{"_class_name": "{class}", {PARTS}}}"#)).unwrap();
            assert!(refused.contains(class) && refused.contains("does not have yet"), "{refused}");
        }
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
