//! A prior, which makes vectors instead of pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use undiffuse::burn::tensor::Device;
use undiffuse::clip::ClipModel;
use undiffuse::data::{Dataset, Options};
use undiffuse::model::{ModelFolder, Outline};
use undiffuse::prior::Prior;
use undiffuse::run::RunFolder;
use undiffuse_eval::prior::{PriorReport, evaluate_prior};
use undiffuse_metrics::MetricOptions;

use super::Args;
use super::inputs::name;
use crate::common::usage;
use crate::output::{facts, remark, show, show_json, write};
use crate::ui::bars::loading;

/// Held-out pictures that are looked at unless a number is given.
const USUAL: usize = 1000;

/// Whether a path is that of a prior.
pub fn is_prior(path: &Path) -> bool {
    ModelFolder::find(path).is_ok() && Outline::read(path, None).is_ok_and(|outline| outline.codec.one_way().is_some())
}

/// How near its vectors are to those of held-out pictures.
pub fn run(args: &Args, path: &Path, device: &Device) -> anyhow::Result<ExitCode> {
    let prior = Prior::load(path, device)?;
    let settings = args.sampling.settings(prior.model())?;
    let prior = prior.with(settings);
    let clip = ClipModel::read(clip(args, path)?, device)?;
    let (data, mut indices) = pictures(args, path, &prior)?;
    indices.truncate(args.n.unwrap_or(USUAL));
    if indices.len() < 2 {
        return Err(usage("there are no two held-out pictures: --held-out names some that the prior has not seen"));
    }
    let options = MetricOptions { seed: args.seed, resamples: args.resamples, ..MetricOptions::default() };
    let report = evaluate_prior(&prior, &clip, &data, &indices, &options)?;
    let out = args.out.clone().unwrap_or_else(|| Path::new("eval").join(name(path)));
    std::fs::create_dir_all(&out).map_err(undiffuse::files::at("create", &out))?;
    let json = serde_json::to_value(&report)?;
    write(&out.join("report.json"), format!("{json:#}\n").as_bytes())?;
    match args.json {
        true => show_json(&json)?,
        false => show(&table(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of its CLIP: named, or what its run was trained by.
fn clip(args: &Args, path: &Path) -> anyhow::Result<PathBuf> {
    if let Some(clip) = &args.clip {
        return Ok(clip.clone());
    }
    let run = RunFolder::find(path);
    let config = run.map(|run| run.config()).transpose()?;
    config
        .map(|config| config.condition.words.encoder.into())
        .ok_or_else(|| usage("the prior lies in no run, so its CLIP is not known: --clip names its folder"))
}

/// The pictures that it has not seen.
fn pictures(args: &Args, path: &Path, prior: &Prior) -> anyhow::Result<(Dataset, Vec<usize>)> {
    let Some(named) = args.held_out.as_ref().or(args.data.as_ref()) else {
        let run = RunFolder::find(path)
            .ok_or_else(|| usage("the prior lies in no run: --held-out names pictures that it has not seen"))?;
        return run.held_out(&mut loading()).context("the run's own data cannot be read; name some with --held-out");
    };
    let [channels, side, _] = prior.model().picture_shape();
    let options = Options { size: Some(side), channels: Some(channels), ..Options::default() };
    let data = Dataset::open_with(named, &options, &mut loading())?;
    if args.held_out.is_none() {
        remark(
            "note: whether the prior was trained on these pictures is not known here: --held-out names some that it was not",
        );
    }
    let all = (0..data.len()).collect();
    Ok((data, all))
}

fn table(report: &PriorReport) -> String {
    let cosines = report.cosines.iter().map(|cosine| {
        let [low, high] = cosine.interval;
        (cosine.of, format!("{:.4}  {low:.4} to {high:.4}", cosine.mean))
    });
    let lines: Vec<(&str, String)> = [("cosine with a picture's vector", format!("{} pictures", report.pictures))]
        .into_iter()
        .chain(cosines)
        .collect();
    facts(&lines)
}
