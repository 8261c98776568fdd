//! From our parts to a scheduler config.

use super::{VERSION, classes::Class};
use crate::{
    parameterization::ParameterizationKind as Parameterization,
    recipe::Clip,
    schedule::ScheduleKind as Kind,
    solver::{AncestralVariance, Combine, Correction, Heun, Lcm, Lms, PlmsStart, Predict, SolverKind, UnipcVariant},
    spacing::{Round, SpacingKind},
};
use serde_json::{Map, Value, json};

/// Why parts could not be written as a scheduler config.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("diffusers has no scheduler for {what} {part}{because}; the model folder needs {instead}")]
pub struct WriteError {
    what: &'static str,
    part: String,
    because: String,
    instead: &'static str,
}

/// Writes the `scheduler_config.json` of the diffusers class that has these parts.
///
/// Without a solver the class is the plainest of the schedule's family: `DDPMScheduler`, `EDMEulerScheduler`,
/// `ScoreSdeVeScheduler` or `FlowMatchEulerDiscreteScheduler`. Continuous variance-preserving schedules become the
/// table of betas that has their levels at `t = i / 999`, which is what their networks read there too.
///
/// # Errors
/// Names the part that diffusers has no word for.
pub fn write(
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
    clip: Clip,
) -> Result<Value, WriteError> {
    write_parts(schedule, parameterization, solver, spacing, clip).map(Value::Object)
}

pub(super) fn write_parts(
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
    clip: Clip,
) -> Result<Map<String, Value>, WriteError> {
    let mut config = Map::new();
    match schedule {
        Kind::Edm(_) if matches!(parameterization, Parameterization::Consistency(_)) => {
            consistency(&mut config, schedule, parameterization, solver, spacing)?;
        }
        Kind::Edm(_) => edm(&mut config, schedule, parameterization, solver, spacing)?,
        Kind::Flow(_) => flow(&mut config, schedule, parameterization, solver, spacing)?,
        Kind::Ve(_) => score_sde_ve(&mut config, schedule, parameterization, solver, spacing)?,
        _ => {
            betas(&mut config, schedule);
            prediction(&mut config, parameterization)?;
            class(&mut config, schedule, solver)?;
            timesteps(&mut config, spacing)?;
        }
    }
    clipping(&mut config, clip)?;
    config.insert("_diffusers_version".to_owned(), json!(VERSION));
    Ok(config)
}

pub(super) fn refuse(what: &'static str, part: &dyn ToString, because: &str, instead: &'static str) -> WriteError {
    WriteError { what, part: part.to_string(), because: because.to_owned(), instead }
}

pub(super) fn put(config: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        config.extend(fields);
    }
}

/// The betas of the DDPM family, and of continuous schedules sampled at its timesteps.
fn betas(config: &mut Map<String, Value>, schedule: &Kind) {
    let options = schedule.options();
    let rescale = options.get("rescale_zero_snr").cloned().unwrap_or(json!(false));
    put(
        config,
        json!({ "num_train_timesteps": schedule.discrete_steps().unwrap_or(1000), "rescale_betas_zero_snr": rescale }),
    );
    let name = match schedule {
        Kind::Linear(_) => "linear",
        Kind::ScaledLinear(_) => "scaled_linear",
        Kind::Sigmoid(_) => "sigmoid",
        Kind::Cosine(cosine) if cosine.betas().beta_max == 0.999 => "squaredcos_cap_v2",
        Kind::Cosine(_) | Kind::Trained(_) => {
            let betas = match schedule {
                Kind::Trained(trained) => trained.betas().betas.clone(),
                _ => betas_of(schedule, |i| i as f64),
            };
            put(config, json!({ "trained_betas": betas, "rescale_betas_zero_snr": false }));
            return;
        }
        _ => {
            let (t_min, _) = schedule.range();
            put(config, json!({ "trained_betas": betas_of(schedule, |i| (i as f64 / 999.0).max(t_min)) }));
            return;
        }
    };
    put(config, json!({ "beta_schedule": name }));
    for key in ["beta_start", "beta_end"] {
        config.extend(options.get(key).map(|value| (key.to_owned(), value.clone())));
    }
}

/// `beta_i = 1 - alpha_bar_i / alpha_bar_(i-1)` at the times of the timesteps.
fn betas_of(schedule: &Kind, time: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut before = 1.0;
    let beta = |i| {
        let alpha_bar = schedule.level(time(i)).alpha.powi(2);
        let beta = 1.0 - alpha_bar / before;
        before = alpha_bar;
        beta
    };
    (0..schedule.discrete_steps().unwrap_or(1000)).map(beta).collect()
}

fn prediction(config: &mut Map<String, Value>, parameterization: &Parameterization) -> Result<(), WriteError> {
    let name = match parameterization {
        Parameterization::Eps(_) => "epsilon",
        Parameterization::X0(_) => "sample",
        Parameterization::V(v) if v.sigma_data == 1.0 => "v_prediction",
        other => {
            let because = " on a variance-preserving schedule";
            return Err(refuse("parameterization", other, because, "eps, x0 or v"));
        }
    };
    put(config, json!({ "prediction_type": name }));
    Ok(())
}

/// The class of the DDPM family that has this solver, and its own fields.
fn class(config: &mut Map<String, Value>, schedule: &Kind, solver: Option<&SolverKind>) -> Result<(), WriteError> {
    put(config, solver_fields(solver)?);
    let class = class_name(config);
    if matches!(schedule, Kind::Sigmoid(_)) && class != "DDPMScheduler" {
        let because = format!(" in {class}");
        return Err(refuse("schedule", schedule, &because, "another solver (ddpm) or schedule"));
    }
    let prediction = config.get("prediction_type").cloned().unwrap_or_default();
    let no_x0 =
        ["EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "PNDMScheduler"].contains(&class.as_str());
    if no_x0 && prediction == "sample" {
        return Err(refuse("parameterization", &"x0", &format!(" in {class}"), "eps or v, or another solver"));
    }
    if let Some(SolverKind::Plms(plms)) = solver
        && (plms.combine == Combine::V) != (prediction == "v_prediction")
    {
        let because = format!(" with {prediction}");
        return Err(refuse(
            "solver",
            &solver_text(solver),
            &because,
            "combine = v where the network answers v, else eps",
        ));
    }
    // Some have no such field, and would ignore it.
    let field = "rescale_betas_zero_snr";
    if !has(config, field) && config.remove(field) == Some(json!(true)) {
        return Err(refuse("schedule", schedule, &format!(" in {class}"), "rescale_zero_snr = false"));
    }
    Ok(())
}

/// The class and the fields that stand for a solver.
fn solver_fields(solver: Option<&SolverKind>) -> Result<Value, WriteError> {
    let word = |correction| if correction == Correction::Heun { "heun" } else { "midpoint" };
    let multistep = |order: usize, correction, lower_order_final, euler_at_final, algorithm| {
        json!({
            "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": algorithm, "solver_order": order,
            "solver_type": word(correction), "lower_order_final": lower_order_final, "euler_at_final": euler_at_final,
        })
    };
    Ok(match solver {
        None => json!({ "_class_name": "DDPMScheduler", "variance_type": "fixed_small" }),
        Some(SolverKind::Ddpm(ddpm)) => {
            let name = if ddpm.variance == AncestralVariance::FixedLarge { "fixed_large" } else { "fixed_small" };
            json!({ "_class_name": "DDPMScheduler", "variance_type": name })
        }
        Some(SolverKind::Ddim(_)) => json!({ "_class_name": "DDIMScheduler" }),
        Some(SolverKind::DdimInverse(s)) if s.iterations == 1 => json!({ "_class_name": "DDIMInverseScheduler" }),
        Some(SolverKind::Plms(s)) => json!({
            "_class_name": "PNDMScheduler", "skip_prk_steps": s.start == PlmsStart::Heun, "set_alpha_to_one": true,
        }),
        Some(SolverKind::Euler(_)) => json!({ "_class_name": "EulerDiscreteScheduler" }),
        Some(SolverKind::EulerAncestral(s)) if s.eta == 1.0 => {
            json!({ "_class_name": "EulerAncestralDiscreteScheduler" })
        }
        Some(SolverKind::Heun(s)) if *s == Heun::default() => json!({ "_class_name": "HeunDiscreteScheduler" }),
        Some(SolverKind::Dpm2(_)) => json!({ "_class_name": "KDPM2DiscreteScheduler" }),
        Some(SolverKind::Dpm2Ancestral(s)) if s.eta == 1.0 => {
            json!({ "_class_name": "KDPM2AncestralDiscreteScheduler" })
        }
        Some(SolverKind::Lms(s)) if *s == Lms::default() => json!({ "_class_name": "LMSDiscreteScheduler" }),
        Some(SolverKind::Dpmpp2m(s)) => {
            multistep(2, s.correction, s.lower_order_final, s.euler_at_final, "dpmsolver++")
        }
        Some(SolverKind::Dpmpp2mSde(s)) if s.eta == 1.0 => {
            multistep(2, s.correction, s.lower_order_final, s.euler_at_final, "sde-dpmsolver++")
        }
        Some(SolverKind::Dpmpp3m(s)) => {
            multistep(3, s.correction, s.lower_order_final, s.euler_at_final, "dpmsolver++")
        }
        Some(SolverKind::DpmppSinglestep(s)) => json!({
            "_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "dpmsolver++", "solver_order": s.order,
            "solver_type": word(s.correction), "lower_order_final": s.lower_order_final,
        }),
        Some(SolverKind::Unipc(s)) if s.corrector => json!({
            "_class_name": "UniPCMultistepScheduler", "solver_order": s.order,
            "solver_type": if s.variant == UnipcVariant::Bh1 { "bh1" } else { "bh2" },
            "predict_x0": s.predict == Predict::X0, "lower_order_final": s.lower_order_final,
        }),
        Some(SolverKind::Lcm(s)) if *s == Lcm::default() => json!({ "_class_name": "LCMScheduler" }),
        Some(SolverKind::Deis(s)) => json!({
            "_class_name": "DEISMultistepScheduler", "solver_order": s.order,
            "lower_order_final": s.lower_order_final,
        }),
        Some(other) => {
            let instead = "one of ddpm, ddim, ddim-inverse, plms, euler, euler-ancestral with eta = 1, heun, dpm2, dpm2-ancestral with eta = 1, lms, \
                 dpmpp-2m, dpmpp-2m-sde with eta = 1, dpmpp-3m, dpmpp-singlestep, unipc, deis or lcm";
            return Err(refuse("solver", other, "", instead));
        }
    })
}

fn solver_text(solver: Option<&SolverKind>) -> String {
    solver.map_or_else(String::new, ToString::to_string)
}

/// Whether the config's class has a field.
pub(super) fn has(config: &Map<String, Value>, field: &str) -> bool {
    Class::find(&class_name(config)).is_some_and(|class| class.has(field))
}

pub(super) fn class_name(config: &Map<String, Value>) -> String {
    config.get("_class_name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The spacing of the DDPM family's timesteps or sigmas.
pub(super) fn timesteps(config: &mut Map<String, Value>, spacing: Option<&SpacingKind>) -> Result<(), WriteError> {
    let Some(spacing) = spacing else { return Ok(()) };
    let class = class_name(config);
    let between = class.contains("Discrete");
    let multistep = has(config, "use_flow_sigmas");
    let named = has(config, "timestep_spacing");
    let distilled = has(config, "original_inference_steps");
    let fields = match spacing {
        SpacingKind::Lcm(s) if distilled && s.strength == 1.0 => json!({ "original_inference_steps": s.of }),
        other if distilled => return Err(refuse("spacing", other, &format!(" in {class}"), "lcm")),
        SpacingKind::Linspace(s) if s.round != between && s.endpoint != multistep => {
            if named {
                json!({ "timestep_spacing": "linspace" })
            } else {
                json!({})
            }
        }
        SpacingKind::Leading(s) if s.endpoint != multistep && named => {
            json!({ "timestep_spacing": "leading", "steps_offset": s.offset })
        }
        SpacingKind::Trailing(_) if named => json!({ "timestep_spacing": "trailing" }),
        other => respacing(config, other, between).ok_or_else(|| {
            let instead = "linspace, leading, trailing, karras, exponential or beta as its class has them";
            refuse("spacing", other, &format!(" in {class}"), instead)
        })?,
    };
    put(config, fields);
    config.retain(|key, value| !(value.is_null() && key.starts_with("sigma_")));
    Ok(())
}

/// The fields of respaced sigmas, where the class has them and rounds the times like this.
fn respacing(config: &Map<String, Value>, spacing: &SpacingKind, between: bool) -> Option<Value> {
    let floors = has(config, "use_lu_lambdas") && config.get("beta_schedule") == Some(&json!("squaredcos_cap_v2"));
    let (karras, others) = match (between, floors) {
        (true, _) if class_name(config).starts_with("KDPM2") => (Round::Nearest, Round::None),
        (true, _) => (Round::None, Round::None),
        (false, true) => (Round::Down, Round::Down),
        (false, false) => (Round::Nearest, Round::Down),
    };
    let (field, sigma_min, sigma_max) = match spacing {
        SpacingKind::Karras(s) if s.rho == 7.0 && s.round == karras && s.of.is_none() => {
            ("use_karras_sigmas", s.sigma_min, s.sigma_max)
        }
        SpacingKind::Exponential(s) if s.round == others => ("use_exponential_sigmas", s.sigma_min, s.sigma_max),
        SpacingKind::Exponential(s) if s.round == karras => ("use_lu_lambdas", s.sigma_min, s.sigma_max),
        SpacingKind::Beta(s) if (s.alpha, s.beta, s.round) == (0.6, 0.6, others) => {
            ("use_beta_sigmas", s.sigma_min, s.sigma_max)
        }
        _ => return None,
    };
    let own = sigma_min.is_none() && sigma_max.is_none();
    let paired = sigma_min.is_some() == sigma_max.is_some();
    let fits = own || (has(config, "sigma_min") && (paired || !between));
    (has(config, field) && fits).then(|| json!({ field: true, "sigma_min": sigma_min, "sigma_max": sigma_max }))
}

fn edm(
    config: &mut Map<String, Value>,
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
) -> Result<(), WriteError> {
    put(config, Value::Object(schedule.options()));
    let (name, sigma_data) = match parameterization {
        Parameterization::Edm(edm) => ("epsilon", edm.sigma_data),
        Parameterization::V(v) => ("v_prediction", v.sigma_data),
        other => return Err(refuse("parameterization", other, " on the edm schedule", "edm or v")),
    };
    put(config, json!({ "prediction_type": name, "sigma_data": sigma_data }));
    match solver {
        None | Some(SolverKind::Euler(_)) => put(config, json!({ "_class_name": "EDMEulerScheduler" })),
        Some(SolverKind::Dpmpp2m(_) | SolverKind::Dpmpp2mSde(_) | SolverKind::Dpmpp3m(_)) => {
            class(config, schedule, solver)?;
            put(config, json!({ "_class_name": "EDMDPMSolverMultistepScheduler" }));
        }
        Some(other) => {
            let because = " on the edm schedule";
            return Err(refuse("solver", other, because, "euler, dpmpp-2m, dpmpp-2m-sde or dpmpp-3m"));
        }
    }
    let fields = match spacing {
        None => json!({ "sigma_schedule": "karras", "rho": 7.0 }),
        Some(SpacingKind::Karras(s)) if s.sigma_min.is_none() && s.sigma_max.is_none() && s.of.is_none() => {
            json!({ "sigma_schedule": "karras", "rho": s.rho })
        }
        Some(SpacingKind::Exponential(s)) if s.sigma_min.is_none() && s.sigma_max.is_none() => {
            json!({ "sigma_schedule": "exponential" })
        }
        Some(other) => {
            let instead = "karras or exponential over the schedule's own range";
            return Err(refuse("spacing", other, " on the edm schedule", instead));
        }
    };
    put(config, fields);
    Ok(())
}

fn consistency(
    config: &mut Map<String, Value>,
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
) -> Result<(), WriteError> {
    let because = " of a consistency model";
    put(config, Value::Object(schedule.options()));
    put(config, json!({ "_class_name": "CMStochasticIterativeScheduler" }));
    config.extend(parameterization.options().into_iter().filter(|(field, _)| field == "sigma_data"));
    match solver {
        None => {}
        Some(SolverKind::Lcm(s)) => put(config, json!({ "s_noise": s.s_noise })),
        Some(other) => return Err(refuse("solver", other, because, "lcm")),
    }
    match spacing {
        None => {}
        Some(SpacingKind::Karras(s))
            if s.of.is_some() && s.at.is_none() && s.sigma_min.is_none() && s.sigma_max.is_none() =>
        {
            put(config, json!({ "rho": s.rho, "num_train_timesteps": s.of }));
        }
        Some(other) => {
            return Err(refuse("spacing", other, because, "karras over the schedule's own range, with `of`"));
        }
    }
    Ok(())
}

fn flow(
    config: &mut Map<String, Value>,
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
) -> Result<(), WriteError> {
    let because = " on the flow schedule";
    let stochastic = match (parameterization, solver) {
        (Parameterization::Flow(_), None | Some(SolverKind::Euler(_))) => false,
        (Parameterization::Flow(_), Some(SolverKind::Lcm(s))) if *s == Lcm::default() => true,
        (Parameterization::Flow(_), Some(other)) => return Err(refuse("solver", other, because, "euler or lcm")),
        (other, _) => return Err(refuse("parameterization", other, because, "flow")),
    };
    if let Some(other) = spacing.filter(|spacing| !matches!(spacing, SpacingKind::Linspace(_))) {
        return Err(refuse("spacing", other, because, "linspace"));
    }
    let shift = schedule.options().get("shift").cloned().unwrap_or(json!(1.0));
    put(
        config,
        json!({ "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shift,
            "stochastic_sampling": stochastic }),
    );
    Ok(())
}

fn score_sde_ve(
    config: &mut Map<String, Value>,
    schedule: &Kind,
    parameterization: &Parameterization,
    solver: Option<&SolverKind>,
    spacing: Option<&SpacingKind>,
) -> Result<(), WriteError> {
    let because = " on the ve schedule";
    let instead = "score, sampled by ddpm with variance = fixed-large at exponential times";
    match (parameterization, solver, spacing) {
        (Parameterization::Score(_), None, None | Some(SpacingKind::Exponential(_))) => {}
        (Parameterization::Score(_), Some(SolverKind::Ddpm(d)), None | Some(SpacingKind::Exponential(_)))
            if d.variance == AncestralVariance::FixedLarge => {}
        (Parameterization::Score(_), Some(other), None) => return Err(refuse("solver", other, because, instead)),
        (Parameterization::Score(_), _, Some(other)) => return Err(refuse("spacing", other, because, instead)),
        (other, ..) => return Err(refuse("parameterization", other, because, instead)),
    }
    put(config, Value::Object(schedule.options()));
    put(config, json!({ "_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 1000, "correct_steps": 0 }));
    Ok(())
}

/// Clipping, where the class has a field for it.
fn clipping(config: &mut Map<String, Value>, clip: Clip) -> Result<(), WriteError> {
    let fields = match clip {
        // Said aloud: where the field is missing, DDPM and DDIM clip.
        Clip::None if has(config, "clip_sample") => json!({ "clip_sample": false }),
        Clip::None if has(config, "clip_denoised") => json!({ "clip_denoised": false }),
        Clip::None => json!({}),
        Clip::Range(1.0) if has(config, "clip_denoised") => json!({ "clip_denoised": true }),
        Clip::Range(range) if has(config, "clip_sample") => json!({ "clip_sample": true, "clip_sample_range": range }),
        Clip::Threshold { ratio, max } if has(config, "thresholding") => {
            json!({ "thresholding": true, "dynamic_thresholding_ratio": ratio, "sample_max_value": max })
        }
        other => {
            let because = format!(" in {}", class_name(config));
            return Err(refuse("clipping", &format!("{other:?}"), &because, "no clipping, or another solver"));
        }
    };
    put(config, fields);
    Ok(())
}
