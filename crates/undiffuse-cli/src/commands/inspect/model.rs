//! A model folder.

use std::path::Path;

use serde_json::json;
use undiffuse::burn::tensor::Device;
use undiffuse::clip::ClipModel;
use undiffuse::codec::{AnyCodec, CodecKind};
use undiffuse::condition::Conditioner;
use undiffuse::math::parameterization::ParameterizationKind;
use undiffuse::math::recipe::{Clip, Recipe};
use undiffuse::model::{self, Model, ModelError, ModelFolder, Provenance, SampleDefaults};
use undiffuse::nn::networks::{Component, ComponentConfig};
use undiffuse::nn::weights::Hold;
use undiffuse::nn::{NetworkConfig, params};

use super::Findings;
use crate::output::{facts, millions};

/// Facts for people, in order.
type Facts = Vec<(&'static str, String)>;

pub fn inspect(path: &Path, variant: Option<&str>) -> anyhow::Result<Findings> {
    let device = Device::flex();
    let folder = match ModelFolder::find(path) {
        Err(ModelError::IsClip(_)) => return clip(&ClipModel::read(path, &device)?, path),
        other => other?,
    };
    if folder.is_bare() {
        return Ok(bare(folder.path(), &model::load_component(folder.path(), variant, &device)?));
    }
    let model = Model::load_any(folder.path(), variant, &[], Hold::default(), &device)?;
    let (parameters, config) = (params::count(&model.network), model.network.config());
    let (recipe, card, how) = (&model.recipe, &model.card, model.sample_defaults());
    let mut found = network(folder.path(), &config, parameters, shapes(&model));
    found.extend(codec(&model).map(|codec| ("codec", codec)));
    found.extend(process(recipe, &model.conditioner, &how));
    found.extend(card.provenance.iter().map(|p| ("provenance", provenance(p))));
    found.extend(in_diffusers(&folder, &model).map(|lines| ("in diffusers", lines)));
    let notes = [notes(&config), recipe.notes.clone()].concat();
    found.extend(notes.iter().map(|note| ("note", note.clone())));
    let json = json!({
        "kind": "model",
        "path": folder.path().display().to_string(),
        "parameters": parameters,
        "network": config,
        "codec": match &model.codec {
            AnyCodec::Kind(kind) => json!(kind),
            AnyCodec::Latents(latents) => json!({ "kind": model.codec.name(), "class": latents.to_string() }),
        },
        "picture_shape": model.picture_shape(),
        "latent_shape": model.latent_shape(),
        "schedule": recipe.schedule,
        "parameterization": recipe.parameterization,
        "spacing": recipe.spacing,
        "solver": recipe.solver,
        "last": recipe.last,
        "start": recipe.start,
        "clip": recipe.clip,
        "corrector": recipe.corrector,
        "notes": notes,
        "sample": how,
        "card": card,
    });
    Ok(Findings { text: facts(&found), json })
}

/// What a config holds beside the network.
fn notes(config: &NetworkConfig) -> Vec<String> {
    let notes = config.notes().join(", ");
    if notes.is_empty() { vec![] } else { vec![format!("config.json also holds {notes}: no part of the network")] }
}

/// diffusers' pipelines of this network pass no class to it, so whoever samples one there must.
fn in_diffusers(folder: &ModelFolder, model: &Model) -> Option<String> {
    let (network, rows) = (model.network.config().folder(), model.network.config().io().reads.classes());
    // The pipeline of consistency models passes it.
    let passes = matches!(model.recipe.parameterization, ParameterizationKind::Consistency(_));
    (rows > 0 && folder.is_pipeline() && !passes).then(|| {
        format!(
            "its pipelines pass no class; this gives them one (0 to {}), here to 16 pictures:\n\
             pipe = diffusers.DDPMPipeline.from_pretrained({:?})\n\
             pipe.{network}.forward = functools.partial(pipe.{network}.forward, class_labels=torch.full((16,), 0))\n\
             images = pipe(batch_size=16).images",
            rows - 1,
            folder.path().display().to_string()
        )
    })
}

/// What the network diffuses, where that is no pixels.
fn codec(model: &Model) -> Option<String> {
    let AnyCodec::Kind(kind) = &model.codec else { return Some(format!("the latents of its {}", model.codec)) };
    let entry = CodecKind::ALL.iter().find(|entry| entry.tag == kind.tag() && !kind.is_identity())?;
    Some(format!(
        "{kind}, {}\ndiffusers opens the network by itself, but has no pipeline that makes pictures with it",
        entry.doc,
    ))
}

/// A network of any kind, by itself.
fn bare(folder: &Path, bare: &Component) -> Findings {
    let (parameters, config) = (params::count(bare), bare.config());
    let found = match &config {
        ComponentConfig::Network(config) => {
            let mut found = network(folder, config, parameters, vec![("input", input(config))]);
            found.push((
                "process",
                "unknown: there is no scheduler/ beside the network, so it can predict but not sample".into(),
            ));
            found.extend(notes(config).into_iter().map(|note| ("note", note)));
            found
        }
        config => {
            let class = format!("{}, {} parameters ({parameters})", config.class(), millions(parameters));
            let known = [("model", folder.display().to_string()), ("network", class)];
            known.into_iter().chain(config.describe()).collect()
        }
    };
    let json = json!({
        "kind": "network",
        "path": folder.display().to_string(),
        "parameters": parameters,
        "network": config,
    });
    Findings { text: facts(&found), json }
}

/// The size and the channels of what a network takes.
fn input(config: &NetworkConfig) -> String {
    let io = config.io();
    let (c, out) = (io.channels_in, io.channels_out);
    let channels = if c == out { format!("{c}") } else { format!("{c} in, {out} out") };
    let size = io.sample_size.map_or("of any size".into(), |[height, width]| format!("{width}×{height}"));
    format!("{size}, {channels} channel{}", if c == 1 && c == out { "" } else { "s" })
}

/// The shapes of a model's pictures, and of what its network diffuses of them.
fn shapes(model: &Model) -> Facts {
    let input = input(&model.network.config());
    if model.codec.is_identity() {
        return vec![("pictures", input)];
    }
    let [channels, height, width] = model.picture_shape();
    let pictures = format!("{width}×{height}, {channels} channel{}", if channels == 1 { "" } else { "s" });
    vec![("pictures", pictures), ("latents", input)]
}

fn network(folder: &Path, config: &NetworkConfig, parameters: usize, shapes: Facts) -> Facts {
    let mut found = vec![
        ("model", folder.display().to_string()),
        ("network", format!("{}, {} parameters ({parameters})", config.class(), millions(parameters))),
    ];
    found.extend(shapes);
    found.extend(config.describe());
    found
}

fn process(recipe: &Recipe, conditioner: &Conditioner, how: &SampleDefaults) -> Facts {
    let clip = match recipe.clip {
        Clip::None => "not clipped".into(),
        Clip::Range(range) => format!("clipped to ±{range}"),
        Clip::Threshold { ratio, max } => format!("clipped at their quantile {ratio}, at most {max}"),
    };
    let guidance = if conditioner.guides() { format!(", guidance {}", how.guidance) } else { String::new() };
    let mut found = vec![
        ("schedule", recipe.schedule.to_string()),
        ("answers", format!("{} (parameterization)", recipe.parameterization)),
        (
            "sampled",
            format!("solver {}, spacing {}, {} steps{guidance}; guesses {clip}", how.solver, how.spacing, how.steps),
        ),
    ];
    if let Some(corrector) = recipe.corrector {
        found.push(("corrector", format!("{} Langevin steps at snr {}", corrector.steps, corrector.snr)));
    }
    let asks = conditioner.field().map(|field| field.plural).zip(conditioner.describe());
    found.extend(asks);
    found
}

/// A reader of words and one of pictures.
fn clip(clip: &ClipModel, path: &Path) -> anyhow::Result<Findings> {
    let (text, picture) = clip.networks()?;
    let part = |class: &str, parameters: usize| format!("{class}, {} parameters", millions(parameters));
    let mut found =
        vec![("clip", path.display().to_string()), ("words", part(text.config().class(), params::count(&*text)))];
    found.extend(text.config().describe());
    found.push(("pictures", part(clip.config().class(), params::count(&*picture))));
    found.extend(clip.config().describe());
    found.push(("logit scale", format!("{:.2}: what cosines are multiplied by before a softmax", clip.logit_scale())));
    found.extend(clip.card.provenance.iter().map(|p| ("provenance", provenance(p))));
    let json = json!({
        "kind": "clip",
        "path": path.display().to_string(),
        "text_encoder": text.config(),
        "image_encoder": clip.config(),
        "width": clip.width(),
        "logit_scale": clip.logit_scale(),
        "card": clip.card,
    });
    Ok(Findings { text: facts(&found), json })
}

fn provenance(p: &Provenance) -> String {
    let loss = p.validation_loss.map(|loss| format!("\nloss on held-out pictures {loss:.4}")).unwrap_or_default();
    format!(
        "made by {}, preset {}, seed {}\n{} images of {} (sha256 {})\n{} images seen, averaged over {:.0} % of training{loss}",
        p.program,
        p.preset,
        p.seed,
        p.data_images,
        p.data,
        p.data_fingerprint.get(..12).unwrap_or(&p.data_fingerprint),
        p.images_seen,
        100.0 * p.ema,
    )
}
