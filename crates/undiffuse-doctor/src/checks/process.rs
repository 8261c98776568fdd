//! How the model is read and sampled, beside how it was trained.

use undiffuse::likelihood;
use undiffuse::math::recipe::Clip;
use undiffuse_math::likelihood::prior_kl;
use undiffuse_math::parameterization::Edm;
use undiffuse_math::prelude::{ParameterizationKind, Schedule};

use super::{Finding, Run, note, percent, problem, warning};
use crate::Reading;

/// How much smaller another reading's error has to be.
const CLEARER: f64 = 0.6;
/// Nats by which the noisiest training pictures may differ from the noise that sampling starts with.
const NATS: (f64, f64) = (5.0, 50.0);

/// How many times smaller or larger than `sigma_data` the data's spread may be.
const SPREAD: f64 = 2.5;

fn errors(reading: &Reading) -> String {
    let numbers: Vec<String> = reading.errors.iter().map(|e| format!("{e:.3}")).collect();
    let range =
        if reading.range == (-1.0, 1.0) { String::new() } else { format!(" with pixels in {:?}", reading.range) };
    format!("read as {}{range}: RMSE {} at noise 0.2, 0.5, 1, 2", reading.parameterization, numbers.join(", "))
}

pub fn parameterization(run: &Run) -> Option<Finding> {
    let model = run.model.as_ref()?;
    let (recipe, own) = (&model.recipe, run.readings.first());
    if let Some(noise) = run.config.as_ref().map(|c| &c.noise) {
        let (trained, stated) = (noise.parameterization.tag(), recipe.parameterization.tag());
        if noise.parameterization != recipe.parameterization {
            let what = format!(
                "The model folder says that the network answers {stated}, but it was trained to answer {trained}: samples will be wrong."
            );
            let change = format!(
                "put prediction_type of model/scheduler/scheduler_config.json back ({}), or write the model again with undiffuse train --resume {}",
                diffusers(trained),
                run.folder.path().display()
            );
            let other = run.readings.iter().find(|r| r.parameterization == trained);
            let finding = problem(what, change);
            let finding = own.into_iter().chain(other).fold(finding, |f, r| f.because(errors(r)));
            return Some(
                finding.because(format!("config.toml: {}; model: {}", noise.parameterization, recipe.parameterization)),
            );
        }
        if differs(&*noise.schedule, &*recipe.schedule) {
            let what =
                "The model folder has another noise schedule than the one that was trained: samples will be wrong.";
            let change = format!(
                "restore model/scheduler/scheduler_config.json, or write the model again with undiffuse train --resume {}",
                run.folder.path().display()
            );
            return Some(
                problem(what, change).because(format!("config.toml: {}; model: {}", noise.schedule, recipe.schedule)),
            );
        }
        return None;
    }
    let own = own?;
    let same_range = |r: &&Reading| r.range == own.range && r.parameterization != own.parameterization;
    let best = run.readings.iter().filter(same_range).min_by(|a, b| a.error().total_cmp(&b.error()))?;
    if best.error() > CLEARER * own.error() {
        return None;
    }
    let what = format!(
        "The network answers {}, not {} as its scheduler file says: samples will be wrong.",
        best.parameterization, own.parameterization
    );
    let change =
        format!("set prediction_type in scheduler/scheduler_config.json to {}", diffusers(&best.parameterization));
    Some(problem(what, change).because(errors(own)).because(errors(best)))
}

/// Whether two schedules lead through other levels.
fn differs(a: &dyn Schedule, b: &dyn Schedule) -> bool {
    let near = |x: f64, y: f64| (x - y).abs() < 0.02 * (1.0 + x.abs());
    let (clean, noisy) = a.range();
    (0..=8).map(|k| clean + (noisy - clean) * f64::from(k) / 8.0).any(|t| {
        let (at, other) = (a.level(t), b.level(t));
        !near(at.alpha, other.alpha) || !near(at.sigma, other.sigma)
    })
}

/// Diffusers' word for a parameterisation.
fn diffusers(tag: &str) -> &'static str {
    match tag {
        "eps" => "epsilon",
        "x0" => "sample",
        "v" => "v_prediction",
        "flow" => "flow_prediction",
        _ => "the one that it was trained with",
    }
}

pub fn pixel_range(run: &Run) -> Option<Finding> {
    let own = run.readings.first()?;
    let other = run.readings.iter().filter(|r| r.range != own.range).min_by(|a, b| a.error().total_cmp(&b.error()))?;
    // Where the parameterisation is wrong, nothing can be said of the range.
    if other.error() > CLEARER * own.error() || parameterization(run).is_some() {
        return None;
    }
    let inverted = other.range.0 > other.range.1;
    let what = match inverted {
        true => "The model denoises inverted pictures better: it was trained with black and white exchanged.",
        false => {
            "The model denoises these pictures better in another range of pixel values than the one that it is given."
        }
    };
    let change = match inverted {
        true => "invert the pictures that you compare with, or train again on those you want",
        false => "train with pixels in [-1, 1] as this program and diffusers do, or rescale the samples",
    };
    Some(problem(what, change).because(errors(own)).because(errors(other)))
}

pub fn zero_snr(run: &Run) -> Option<Finding> {
    let (schedule, parameterization) = match (&run.config, &run.model) {
        (Some(config), _) => (&config.noise.schedule, &config.noise.parameterization),
        (None, Some(model)) => (&model.recipe.schedule, &model.recipe.parameterization),
        (None, None) => return None,
    };
    let level = schedule.level(schedule.range().1);
    likelihood::check_noisy_end(level, &**parameterization).err()?;
    let what = format!(
        "At its noisiest level nothing is left of the picture, and the network answers {}: no guess of the picture follows there, so brightness and colours are left to chance.",
        parameterization.tag()
    );
    let change = "train v, x0 or flow on this schedule (--set noise.parameterization=v), or a schedule that ends at a small alpha [Lin24]";
    Some(problem(what, change).because(format!(
        "alpha {:.1e}, sigma {:.3} at the noisiest level of {}",
        level.alpha,
        level.sigma,
        schedule.tag()
    )))
}

pub fn prior_gap(run: &Run) -> Option<Finding> {
    let (pictures, model) = (run.pictures.as_ref()?, run.model.as_ref()?);
    let schedule = &model.recipe.schedule;
    let level = schedule.level(schedule.range().1);
    let square: f64 = pictures.mean.iter().zip(&pictures.variance).map(|(m, v)| m * m + v).sum();
    let half = (model.recipe.pixels.1 - model.recipe.pixels.0) / 2.0;
    let dims = pictures.dims();
    let nats = prior_kl(square * half * half, dims, level, level.scale());
    if nats < NATS.0 {
        return None;
    }
    let what = "Sampling starts from pure noise, but the noisiest pictures of the training still show something: samples will lack their darkest and brightest tones.";
    let change = "train to a noisier level: a larger sigma_max or beta_end in noise.schedule, or rescale_zero_snr = true with noise.parameterization = \"v\"";
    let finding = if nats > NATS.1 { warning(what, change) } else { note(what, change) };
    let kept = (level.alpha / level.scale()).powi(2);
    Some(
        finding
            .because(format!("{nats:.1} nats a picture between the two [Kingma21, Eq. 11, the prior's term]"))
            .because(format!(
                "sigma / alpha = {:.3} at the noisiest level, {} of the variance is picture",
                level.sigma_edm(),
                percent(kept)
            )),
    )
}

pub fn sigma_data(run: &Run) -> Option<Finding> {
    let (pictures, config) = (run.pictures.as_ref()?, run.config.as_ref()?);
    let ParameterizationKind::Edm(Edm { sigma_data }) = &config.noise.parameterization else { return None };
    let (_, std) = pictures.overall();
    let ratio = std / sigma_data;
    if (1.0 / SPREAD..SPREAD).contains(&ratio) {
        return None;
    }
    let what = "The preconditioning is for data of another spread: what the network is given and asked is far from unit variance.";
    let change = format!(
        "--set noise.parameterization=edm:sigma_data={std:.2} and --set noise.weighting=edm:sigma_data={std:.2}, or stretch the contrast of the pictures"
    );
    Some(
        note(what, change).because(format!(
            "sigma_data = {sigma_data}, the data's standard deviation is {std:.3} [Karras22, Table 1]"
        )),
    )
}

pub fn clip(run: &Run) -> Option<Finding> {
    let recipe = &run.model.as_ref()?.recipe;
    let white = recipe.pixels.0.abs().max(recipe.pixels.1.abs());
    let change = "set clip_sample_range to 1.0 in scheduler/scheduler_config.json";
    match recipe.clip {
        Clip::Range(range) if range < 0.99 * white => Some(
            problem("The sampler clips pictures to less than their range: nothing will be black or white.", change)
                .because(format!("clip_sample_range {range}, pixels in {:?}", recipe.pixels)),
        ),
        Clip::Range(range) if range > 1.5 * white => Some(
            note("The sampler's clipping is wider than the range of pixels and does little.", change)
                .because(format!("clip_sample_range {range}, pixels in {:?}", recipe.pixels)),
        ),
        _ => None,
    }
}
