//! From a scheduler config to a recipe.

use super::{Clip, Corrector, Recipe, Start, fields::Fields};
use crate::{
    parameterization::{self, Eps, ParameterizationKind, Score, V, X0},
    registry::KindError,
    schedule::{Edm, Flow, ScheduleKind, Ve},
    solver::{Correction, Ddim, Ddpm, Dpmpp2m, Dpmpp2mSde, Euler, EulerAncestral, Heun, Plms, SolverKind, Variance},
    spacing::{Exponential, Karras, Last, Leading, Linspace, Round, SpacingKind, Trailing},
};
use serde_json::{Value, json};

/// Why a scheduler config could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The class is not one of those that can be read.
    #[error("scheduler class `{class}` is not supported{hint}; supported: {known}")]
    Class {
        /// The class asked for.
        class: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// The classes that are known.
        known: String,
    },
    /// A field's value is of the wrong type, or not supported.
    #[error("{class}: `{field}` = {value} is not supported; supported: {expected}")]
    Value {
        /// The class.
        class: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The values make no valid part.
    #[error("{class}: {source}")]
    Part {
        /// The class.
        class: &'static str,
        /// What is wrong.
        source: KindError,
    },
    /// Not a scheduler config at all.
    #[error("scheduler_config.json: {0}")]
    Json(String),
}

/// `2^-24`, which diffusers' Euler and DPM-Solver put in the place of `alpha_bar = 0`.
const ALPHA_BAR_FLOOR: f64 = 5.960_464_477_539_063e-8;

impl Recipe {
    /// Reads the text of a `scheduler_config.json`; the `Infinity` and `NaN` that Python writes are understood.
    ///
    /// # Errors
    /// Text that is not JSON, classes and values that are not supported, each by name.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        Self::from_value(&serde_json::from_str(&quote_infinities(text)).map_err(|e| ReadError::Json(e.to_string()))?)
    }

    /// Reads a scheduler config.
    ///
    /// # Errors
    /// Classes and values that are not supported, each by name.
    pub fn from_value(config: &Value) -> Result<Self, ReadError> {
        let fields = Fields::new(config)?;
        let mut recipe = match fields.class {
            "DDPMScheduler" => ddpm(&fields),
            "DDIMScheduler" => ddim(&fields),
            "PNDMScheduler" => pndm(&fields),
            "EulerDiscreteScheduler" => euler(&fields),
            "EulerAncestralDiscreteScheduler" => euler_ancestral(&fields),
            "HeunDiscreteScheduler" => heun(&fields),
            "DPMSolverMultistepScheduler" => dpm_solver(&fields),
            "EDMEulerScheduler" => edm(&fields, Euler {}.into()),
            "EDMDPMSolverMultistepScheduler" => multistep(&fields).and_then(|solver| edm(&fields, solver)),
            "ScoreSdeVeScheduler" => score_sde_ve(&fields),
            _ => flow_match(&fields),
        }?;
        if !fields.unknown.is_empty() {
            recipe.notes.push(format!("{} has no field {}: ignored", fields.class, fields.unknown.join(", ")));
        }
        Ok(recipe)
    }
}

fn ddpm(fields: &Fields) -> Result<Recipe, ReadError> {
    let variance = [
        ("fixed_small", Variance::FixedSmall),
        ("fixed_small_log", Variance::FixedSmall),
        ("fixed_large", Variance::FixedLarge),
    ];
    let solver = Ddpm { variance: fields.choice("variance_type", &variance)? };
    let mut recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, solver);
    recipe.clip = clip(fields)?;
    Ok(recipe)
}

fn ddim(fields: &Fields) -> Result<Recipe, ReadError> {
    let mut recipe =
        Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, Ddim::default());
    recipe.clip = clip(fields)?;
    recipe.keep_eps = true;
    recipe.stride = true;
    recipe.last = if fields.flag("set_alpha_to_one")? { Last::Clean } else { Last::FirstStep };
    Ok(recipe)
}

fn pndm(fields: &Fields) -> Result<Recipe, ReadError> {
    let mut recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, Plms {});
    recipe.last = if fields.flag("set_alpha_to_one")? { Last::Clean } else { Last::FirstStep };
    if !fields.flag("skip_prk_steps")? {
        recipe.notes.push("PNDMScheduler: starts as with skip_prk_steps = true, without Runge-Kutta steps".to_owned());
    }
    if fields.value("prediction_type") != "epsilon" {
        recipe.notes.push("PNDMScheduler: combines past eps, where diffusers combines past network outputs".to_owned());
    }
    if fields.value("timestep_spacing") != "leading" {
        recipe.notes.push("PNDMScheduler: steps to the next timestep, where diffusers steps by T / steps".to_owned());
    }
    Ok(recipe)
}

fn euler(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("interpolation_type", &json!("linear"))?;
    let (sigma_min, sigma_max) = (fields.optional_number("sigma_min")?, fields.optional_number("sigma_max")?);
    let (spacing, ends) = sigmas(fields, sigma_min, sigma_max)?;
    let continuous = fields.choice("timestep_type", &[("discrete", false), ("continuous", true)])?;
    let mut recipe = if continuous && fields.value("prediction_type") == "v_prediction" {
        // Told ln(sigma) / 4 instead of timesteps, which makes it an EDM schedule; its sigmas must then be given.
        let (Some(sigma_min), Some(sigma_max), SpacingKind::Karras(_) | SpacingKind::Exponential(_)) =
            (sigma_min, sigma_max, &spacing)
        else {
            return Err(fields.wrong(
                "timestep_type",
                "discrete, or continuous with karras or exponential sigmas from sigma_min to sigma_max",
            ));
        };
        checked(fields, Recipe::new(Edm { sigma_min, sigma_max }, V::default(), spacing, Euler {}))?
    } else {
        let schedule = betas(fields, ALPHA_BAR_FLOOR)?;
        Recipe { ends, ..Recipe::new(schedule, prediction(fields)?, spacing, Euler {}) }
    };
    recipe.last = last(fields)?;
    recipe.start = start(fields);
    Ok(recipe)
}

fn euler_ancestral(fields: &Fields) -> Result<Recipe, ReadError> {
    let schedule = betas(fields, ALPHA_BAR_FLOOR)?;
    let spacing = timesteps(fields, false, true)?;
    let recipe = Recipe::new(schedule, prediction(fields)?, spacing, EulerAncestral::default());
    Ok(Recipe { start: start(fields), ..recipe })
}

fn heun(fields: &Fields) -> Result<Recipe, ReadError> {
    let (spacing, ends) = sigmas(fields, None, None)?;
    let recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, spacing, Heun::default());
    Ok(Recipe { ends, start: start(fields), clip: clip(fields)?, ..recipe })
}

fn dpm_solver(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("use_flow_sigmas", &json!(false))?;
    fields.only("use_beta_sigmas", &json!(false))?;
    fields.only("use_dynamic_shifting", &json!(false))?;
    fields.only("lambda_min_clipped", &json!("-Infinity"))?;
    fields.only("variance_type", &Value::Null)?;
    let down = if fields.value("beta_schedule") == "squaredcos_cap_v2" { Round::Down } else { Round::Nearest };
    let spacing = if fields.flag("use_karras_sigmas")? {
        Karras { round: down, ..Karras::default() }.into()
    } else if fields.flag("use_lu_lambdas")? {
        Exponential { round: down, ..Exponential::default() }.into()
    } else if fields.flag("use_exponential_sigmas")? {
        Exponential { round: Round::Down, ..Exponential::default() }.into()
    } else {
        timesteps(fields, true, false)?
    };
    let recipe = Recipe::new(betas(fields, ALPHA_BAR_FLOOR)?, prediction(fields)?, spacing, multistep(fields)?);
    Ok(Recipe { last: last(fields)?, clip: clip(fields)?, ..recipe })
}

fn edm(fields: &Fields, solver: SolverKind) -> Result<Recipe, ReadError> {
    let sigma_data = fields.number("sigma_data")?;
    let parameterization: [(_, ParameterizationKind); 2] =
        [("epsilon", parameterization::Edm { sigma_data }.into()), ("v_prediction", V { sigma_data }.into())];
    let spacing: [(_, SpacingKind); 2] = [
        ("karras", Karras { rho: fields.number("rho")?, ..Karras::default() }.into()),
        ("exponential", Exponential::default().into()),
    ];
    let schedule = Edm { sigma_min: fields.number("sigma_min")?, sigma_max: fields.number("sigma_max")? };
    let recipe = Recipe::new(
        schedule,
        fields.choice("prediction_type", &parameterization)?,
        fields.choice("sigma_schedule", &spacing)?,
        solver,
    );
    checked(fields, Recipe { last: last(fields)?, clip: clip(fields)?, ..recipe })
}

fn score_sde_ve(fields: &Fields) -> Result<Recipe, ReadError> {
    let schedule = Ve { sigma_min: fields.number("sigma_min")?, sigma_max: fields.number("sigma_max")? };
    let solver = Ddpm { variance: Variance::FixedLarge };
    let (steps, snr) = (fields.count("correct_steps")?, fields.number("snr")?);
    checked(
        fields,
        Recipe {
            start: Start::Noise,
            corrector: (steps > 0).then_some(Corrector { steps, snr }),
            pixels: (0.0, 1.0),
            ..Recipe::new(schedule, Score {}, Exponential::default(), solver)
        },
    )
}

fn flow_match(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("num_train_timesteps", &json!(1000))?;
    fields.only("shift_terminal", &Value::Null)?;
    for flag in [
        "use_dynamic_shifting",
        "invert_sigmas",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "stochastic_sampling",
    ] {
        fields.only(flag, &json!(false))?;
    }
    let shift = fields.number("shift")?;
    // diffusers shifts the cleanest time twice: once when the scheduler is made, once when it is spaced.
    let t_min = shift * 1e-3 / (1.0 + (shift - 1.0) * 1e-3);
    let spacing = Linspace { round: false, endpoint: true };
    checked(fields, Recipe::new(Flow { shift, t_min }, parameterization::Flow {}, spacing, Euler {}))
}

/// The schedule of the DDPM family.
fn betas(fields: &Fields, alpha_bar_floor: f64) -> Result<ScheduleKind, ReadError> {
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
    ScheduleKind::from_value(options).map_err(|source| ReadError::Part { class: fields.class, source })
}

fn prediction(fields: &Fields) -> Result<ParameterizationKind, ReadError> {
    let names: [(_, ParameterizationKind); 3] =
        [("epsilon", Eps {}.into()), ("sample", X0 {}.into()), ("v_prediction", V::default().into())];
    fields.choice("prediction_type", &names)
}

/// The spacing of timesteps, rounded or not, with the cleanest one or without.
fn timesteps(fields: &Fields, round: bool, endpoint: bool) -> Result<SpacingKind, ReadError> {
    let offset = fields.count("steps_offset")?;
    let names: [(_, SpacingKind); 3] = [
        ("linspace", Linspace { round, endpoint }.into()),
        ("leading", Leading { offset, endpoint }.into()),
        ("trailing", Trailing {}.into()),
    ];
    fields.choice("timestep_spacing", &names)
}

/// The spacing of Euler and Heun: timesteps, or sigmas respaced between the ends of the timesteps' ones.
fn sigmas(
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

fn multistep(fields: &Fields) -> Result<SolverKind, ReadError> {
    let corrections = [
        ("midpoint", Correction::Midpoint),
        ("heun", Correction::Heun),
        // diffusers turns these words of its other multistep schedulers into midpoint.
        ("logrho", Correction::Midpoint),
        ("bh1", Correction::Midpoint),
        ("bh2", Correction::Midpoint),
    ];
    let correction = fields.choice("solver_type", &corrections)?;
    let sde = fields.choice("algorithm_type", &[("dpmsolver++", false), ("deis", false), ("sde-dpmsolver++", true)])?;
    let (lower_order_final, euler_at_final) = (fields.flag("lower_order_final")?, fields.flag("euler_at_final")?);
    match (fields.count("solver_order")?, sde) {
        (1, _) => Ok(Ddim { eta: f64::from(u8::from(sde)) }.into()),
        (2, false) => Ok(Dpmpp2m { correction, lower_order_final, euler_at_final }.into()),
        (2, true) => Ok(Dpmpp2mSde { eta: 1.0, correction, lower_order_final, euler_at_final }.into()),
        _ => Err(fields.wrong("solver_order", "1, 2")),
    }
}

fn last(fields: &Fields) -> Result<Last, ReadError> {
    fields.choice("final_sigmas_type", &[("zero", Last::Clean), ("sigma_min", Last::FirstStep)])
}

fn start(fields: &Fields) -> Start {
    if fields.value("timestep_spacing") == "leading" { Start::Marginal } else { Start::Noise }
}

fn clip(fields: &Fields) -> Result<Clip, ReadError> {
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
fn checked(fields: &Fields, recipe: Recipe) -> Result<Recipe, ReadError> {
    let part = |what, tag, result: Result<(), String>| {
        result
            .map_err(|problem| ReadError::Part { class: fields.class, source: KindError::Value { what, tag, problem } })
    };
    part("schedule", recipe.schedule.tag(), recipe.schedule.check())?;
    part("parameterization", recipe.parameterization.tag(), recipe.parameterization.check())?;
    part("spacing", recipe.spacing.tag(), recipe.spacing.check())?;
    Ok(recipe)
}

/// Puts quotes around the bare `Infinity`, `-Infinity` and `NaN` of Python's JSON, outside of strings.
fn quote_infinities(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for (i, part) in split_strings(text).enumerate() {
        if i % 2 == 1 {
            quoted.push_str(part);
        } else {
            let part = part.replace("-Infinity", "\u{1}").replace("Infinity", "\"Infinity\"");
            quoted.push_str(&part.replace('\u{1}', "\"-Infinity\"").replace("NaN", "\"NaN\""));
        }
    }
    quoted
}

/// Splits at string literals: even items are between them, odd ones are the literals with their quotes.
fn split_strings(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut inside = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if inside {
            let mut escaped = false;
            let close = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find('"').unwrap_or(rest.len())
        };
        inside = !inside;
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}
