//! What several classes say in the same words.

use super::{Clip, ReadError, Recipe, Start, fields::Fields};
use crate::{
    parameterization::{Eps, ParameterizationKind, V, X0},
    registry::KindError,
    schedule::ScheduleKind,
    spacing::{Exponential, Karras, Last, Leading, Linspace, SpacingKind, Trailing},
};
use serde_json::json;

/// `2^-24`, which diffusers' Euler and DPM-Solver put in the place of `alpha_bar = 0`.
pub(super) const ALPHA_BAR_FLOOR: f64 = 5.960_464_477_539_063e-8;

/// The schedule of the DDPM family.
pub(super) fn betas(fields: &Fields, alpha_bar_floor: f64) -> Result<ScheduleKind, ReadError> {
    let rescale_zero_snr = fields.flag("rescale_betas_zero_snr")?;
    let alpha_bar_floor = if rescale_zero_snr { alpha_bar_floor } else { 0.0 };
    let mut options = json!({ "rescale_zero_snr": rescale_zero_snr, "alpha_bar_floor": alpha_bar_floor });
    let trained = fields.value("trained_betas");
    if trained.is_array() {
        options["kind"] = json!("trained");
        options["betas"] = trained.clone();
    } else {
        let names = [
            ("linear", "linear"),
            ("scaled_linear", "scaled-linear"),
            ("squaredcos_cap_v2", "cosine"),
            ("sigmoid", "sigmoid"),
        ];
        let kind = fields.choice("beta_schedule", &names)?;
        options["kind"] = json!(kind);
        options["steps"] = json!(fields.count("num_train_timesteps")?);
        if kind != "cosine" {
            options["beta_start"] = json!(fields.number("beta_start")?);
            options["beta_end"] = json!(fields.number("beta_end")?);
        }
    }
    ScheduleKind::from_value(options).map_err(|source| ReadError::Part { class: fields.class.name, source })
}

pub(super) fn prediction(fields: &Fields) -> Result<ParameterizationKind, ReadError> {
    let names: [(_, ParameterizationKind); 3] =
        [("epsilon", Eps {}.into()), ("sample", X0 {}.into()), ("v_prediction", V::default().into())];
    fields.choice("prediction_type", &names)
}

/// The spacing of timesteps, rounded or not, with the cleanest one or without.
pub(super) fn timesteps(fields: &Fields, round: bool, endpoint: bool) -> Result<SpacingKind, ReadError> {
    let offset = fields.count("steps_offset")?;
    let names: [(_, SpacingKind); 3] = [
        ("linspace", Linspace { round, endpoint }.into()),
        ("leading", Leading { offset, endpoint }.into()),
        ("trailing", Trailing {}.into()),
    ];
    fields.choice("timestep_spacing", &names)
}

/// The spacing of Euler and Heun: timesteps, or sigmas respaced between the ends of the timesteps' ones.
pub(super) fn sigmas(
    fields: &Fields,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
) -> Result<(SpacingKind, Option<SpacingKind>), ReadError> {
    fields.only("use_beta_sigmas", &json!(false))?;
    let times = timesteps(fields, false, true)?;
    let spacing: SpacingKind = if fields.flag("use_karras_sigmas")? {
        Karras { sigma_min, sigma_max, ..Karras::default() }.into()
    } else if fields.flag("use_exponential_sigmas")? {
        Exponential { sigma_min, sigma_max, ..Exponential::default() }.into()
    } else {
        return Ok((times, None));
    };
    match (sigma_min, sigma_max) {
        (None, None) => Ok((spacing, Some(times))),
        (Some(_), Some(_)) => Ok((spacing, None)),
        _ => Err(fields.wrong("sigma_min", "sigma_min and sigma_max given together, or neither")),
    }
}

pub(super) fn last(fields: &Fields) -> Result<Last, ReadError> {
    fields.choice("final_sigmas_type", &[("zero", Last::Clean), ("sigma_min", Last::FirstStep)])
}

pub(super) fn start(fields: &Fields) -> Start {
    if fields.value("timestep_spacing") == "leading" { Start::Marginal } else { Start::Noise }
}

pub(super) fn clip(fields: &Fields) -> Result<Clip, ReadError> {
    if fields.flag("thresholding")? {
        let (ratio, max) = (fields.number("dynamic_thresholding_ratio")?, fields.number("sample_max_value")?);
        Ok(Clip::Threshold { ratio, max })
    } else if fields.flag("clip_sample")? {
        Ok(Clip::Range(fields.number("clip_sample_range")?))
    } else {
        Ok(Clip::None)
    }
}

/// Checks the parts that were made from numbers of the config.
pub(super) fn checked(fields: &Fields, recipe: Recipe) -> Result<Recipe, ReadError> {
    let part = |what, tag, result: Result<(), String>| {
        result.map_err(|problem| ReadError::Part {
            class: fields.class.name,
            source: KindError::Value { what, tag, problem },
        })
    };
    part("schedule", recipe.schedule.tag(), recipe.schedule.check())?;
    part("parameterization", recipe.parameterization.tag(), recipe.parameterization.check())?;
    for spacing in [Some(&recipe.spacing), recipe.told_at.as_ref()].into_iter().flatten() {
        part("spacing", spacing.tag(), spacing.check())?;
    }
    Ok(recipe)
}
