//! What several classes say in the same words.

use super::{ReadError, fields::Fields};
use crate::{
    parameterization::{Eps, ParameterizationKind, V, X0},
    recipe::{Clip, Learned, Recipe, Start},
    registry::KindError,
    schedule::ScheduleKind,
    solver::SolverKind,
    spacing::{Beta, Exponential, Karras, Last, Leading, Linspace, Round, SpacingKind, Trailing},
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

/// The spacing of Euler and Heun: timesteps, or sigmas respaced between the ends of the timesteps' ones, the times of
/// karras ones rounded or not.
pub(super) fn sigmas(
    fields: &Fields,
    ends: Given,
    karras: Round,
) -> Result<(SpacingKind, Option<SpacingKind>), ReadError> {
    let times = timesteps(fields, false, true)?;
    match (respaced(fields, ends, karras, Round::None)?, ends) {
        (None, _) => Ok((times, None)),
        (Some(spacing), (None, None)) => Ok((spacing, Some(times))),
        (Some(spacing), (Some(_), Some(_))) => Ok((spacing, None)),
        _ => Err(fields.wrong("sigma_min", "sigma_min and sigma_max given together, or neither")),
    }
}

/// `sigma_min` and `sigma_max`, where they are given.
pub(super) type Given = (Option<f64>, Option<f64>);

/// The respacing of sigmas that a config asks for, with the rounding of the times that belong to karras and lu ones
/// and to others.
pub(super) fn respaced(
    fields: &Fields,
    (sigma_min, sigma_max): Given,
    karras: Round,
    others: Round,
) -> Result<Option<SpacingKind>, ReadError> {
    let geometric = |round| Exponential { sigma_min, sigma_max, round }.into();
    let choices: [(_, SpacingKind); 4] = [
        ("use_karras_sigmas", Karras { sigma_min, sigma_max, round: karras, ..Karras::default() }.into()),
        ("use_lu_lambdas", geometric(karras)),
        ("use_exponential_sigmas", geometric(others)),
        ("use_beta_sigmas", Beta { sigma_min, sigma_max, round: others, ..Beta::default() }.into()),
    ];
    for (field, spacing) in choices {
        if fields.flag(field)? {
            return Ok(Some(spacing));
        }
    }
    Ok(None)
}

/// DPM-Solver and its kin: at whole timesteps without the cleanest one, or at respaced sigmas.
pub(super) fn whole_steps(fields: &Fields, solver: SolverKind, karras: Round) -> Result<Recipe, ReadError> {
    for (field, supported) in [
        ("use_flow_sigmas", json!(false)),
        ("use_dynamic_shifting", json!(false)),
        ("shift_terminal", json!(null)),
        ("lambda_min_clipped", json!("-Infinity")),
    ] {
        fields.only(field, &supported)?;
    }
    let ends = (fields.optional_number("sigma_min")?, fields.optional_number("sigma_max")?);
    let spacing = match respaced(fields, ends, karras, Round::Down)? {
        Some(spacing) => spacing,
        None if fields.has("timestep_spacing") => timesteps(fields, true, false)?,
        None => Linspace { round: true, endpoint: false }.into(),
    };
    let last = if fields.has("final_sigmas_type") { last(fields)? } else { Last::FirstStep };
    if (last, ends.0.is_some()) == (Last::FirstStep, true) {
        return Err(fields.wrong("final_sigmas_type", "zero where sigma_min is given"));
    }
    let recipe = Recipe::new(betas(fields, ALPHA_BAR_FLOOR)?, prediction(fields)?, spacing, solver);
    let learned_variance = learned(fields)?;
    checked(fields, Recipe { last, learned_variance, clip: clip(fields)?, ..recipe })
}

/// The learned variance of networks that are sampled without it.
fn learned(fields: &Fields) -> Result<Option<Learned>, ReadError> {
    if fields.value("variance_type").is_null() {
        return Ok(None);
    }
    fields.choice("variance_type", &LEARNED.map(|(word, learned)| (word, Some(learned))))
}

/// The words for learned variances.
pub(super) const LEARNED: [(&str, Learned); 2] = [("learned", Learned::Direct), ("learned_range", Learned::Range)];

pub(super) fn last(fields: &Fields) -> Result<Last, ReadError> {
    fields.choice("final_sigmas_type", &[("zero", Last::Clean), ("sigma_min", Last::FirstStep)])
}

pub(super) fn start(fields: &Fields) -> Start {
    if fields.value("timestep_spacing") == "leading" { Start::Marginal } else { Start::Noise }
}

pub(super) fn clip(fields: &Fields) -> Result<Clip, ReadError> {
    if fields.flag("thresholding")? {
        let (ratio, max) = (fields.number("dynamic_thresholding_ratio")?, fields.number("sample_max_value")?);
        match (0.0..=1.0).contains(&ratio) {
            true if max > 0.0 => Ok(Clip::Threshold { ratio, max }),
            true => Err(fields.wrong("sample_max_value", "a number above 0")),
            false => Err(fields.wrong("dynamic_thresholding_ratio", "a number from 0 to 1")),
        }
    } else if fields.flag("clip_sample")? {
        match fields.number("clip_sample_range")? {
            range if range > 0.0 => Ok(Clip::Range(range)),
            _ => Err(fields.wrong("clip_sample_range", "a number above 0")),
        }
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
    part("solver", recipe.solver.tag(), recipe.solver.check())?;
    for spacing in [Some(&recipe.spacing), recipe.timesteps.as_ref()].into_iter().flatten() {
        part("spacing", spacing.tag(), spacing.check())?;
    }
    Ok(recipe)
}
