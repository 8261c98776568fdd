//! Each class, read.

use super::{
    ReadError,
    fields::Fields,
    parts::{ALPHA_BAR_FLOOR, LEARNED, betas, checked, clip, last, prediction, sigmas, start, timesteps, whole_steps},
};
use crate::{
    parameterization::{self, Consistency, ParameterizationKind, Score, V},
    recipe::{Boundary, Clip, Corrector, Learned, Recipe, Start},
    schedule::{Edm, Flow, Ve},
    solver::{
        AncestralVariance, Combine, Correction, Ddim, DdimInverse, Ddpm, Deis, Dpm2, Dpm2Ancestral, Dpmpp2m,
        Dpmpp2mSde, Dpmpp3m, DpmppSinglestep, Euler, EulerAncestral, Heun, Lcm, Lms, Plms, PlmsStart, Predict,
        SolverKind, Unipc, UnipcVariant,
    },
    spacing::{self, Exponential, Karras, Last, Linspace, Round, SpacingKind},
};
use serde_json::{Value, json};

pub(super) fn ddpm(fields: &Fields) -> Result<Recipe, ReadError> {
    let fixed = |variance| (variance, None);
    let learned = LEARNED.map(|(word, learned)| (word, (AncestralVariance::FixedSmall, Some(learned))));
    let variances = [
        ("fixed_small", fixed(AncestralVariance::FixedSmall)),
        ("fixed_small_log", fixed(AncestralVariance::FixedSmall)),
        ("fixed_large", fixed(AncestralVariance::FixedLarge)),
        learned[0],
        learned[1],
    ];
    let (variance, learned_variance) = fields.choice("variance_type", &variances)?;
    let solver = Ddpm { variance };
    let mut recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, solver);
    recipe.learned_variance = learned_variance;
    if fields.value("timestep_spacing") == "trailing" {
        let note = "DDPMScheduler: the finished picture gets no noise, where diffusers adds some unless the last timestep is 0";
        recipe.notes.push(note.to_owned());
    }
    recipe.clip = clip(fields)?;
    Ok(recipe)
}

pub(super) fn ddim(fields: &Fields) -> Result<Recipe, ReadError> {
    let mut recipe =
        Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, Ddim::default());
    recipe.clip = clip(fields)?;
    recipe.keep_eps = true;
    recipe.stride = true;
    recipe.last = if fields.flag("set_alpha_to_one")? { Last::Clean } else { Last::FirstStep };
    Ok(recipe)
}

pub(super) fn ddim_inverse(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.choice("timestep_spacing", &[("leading", ()), ("trailing", ())])?;
    Ok(Recipe { solver: DdimInverse::default().into(), ..ddim(fields)? })
}

pub(super) fn pndm(fields: &Fields) -> Result<Recipe, ReadError> {
    let start = if fields.flag("skip_prk_steps")? { PlmsStart::Heun } else { PlmsStart::RungeKutta };
    let combine = fields.choice("prediction_type", &[("epsilon", Combine::Eps), ("v_prediction", Combine::V)])?;
    let mut recipe =
        Recipe::new(betas(fields, 0.0)?, prediction(fields)?, timesteps(fields, true, true)?, Plms { start, combine });
    recipe.last = if fields.flag("set_alpha_to_one")? { Last::Clean } else { Last::FirstStep };
    if fields.value("timestep_spacing") != "leading" {
        recipe.notes.push("PNDMScheduler: steps to the next timestep, where diffusers steps by T / steps".to_owned());
    }
    Ok(recipe)
}

pub(super) fn euler(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("interpolation_type", &json!("linear"))?;
    let (sigma_min, sigma_max) = (fields.optional_number("sigma_min")?, fields.optional_number("sigma_max")?);
    let (spacing, ends) = sigmas(fields, (sigma_min, sigma_max), Round::None)?;
    let continuous = fields.choice("timestep_type", &[("discrete", false), ("continuous", true)])?;
    let mut recipe = if continuous && fields.value("prediction_type") == "v_prediction" {
        // The network reads ln(sigma) / 4 instead of timesteps, which makes it an EDM schedule; its sigmas must then be given.
        let (
            Some(sigma_min),
            Some(sigma_max),
            SpacingKind::Karras(_) | SpacingKind::Exponential(_) | SpacingKind::Beta(_),
        ) = (sigma_min, sigma_max, &spacing)
        else {
            return Err(fields.wrong(
                "timestep_type",
                "discrete, or continuous with karras, exponential or beta sigmas from sigma_min to sigma_max",
            ));
        };
        checked(fields, Recipe::new(Edm { sigma_min, sigma_max }, V::default(), spacing, Euler {}))?
    } else {
        let schedule = betas(fields, ALPHA_BAR_FLOOR)?;
        Recipe { ends, ..Recipe::new(schedule, prediction(fields)?, spacing, Euler {}) }
    };
    recipe.last = if last(fields)? == Last::Clean { Last::Clean } else { Last::FirstSigma };
    recipe.start = start(fields);
    Ok(recipe)
}

pub(super) fn euler_ancestral(fields: &Fields) -> Result<Recipe, ReadError> {
    let schedule = betas(fields, ALPHA_BAR_FLOOR)?;
    let spacing = timesteps(fields, false, true)?;
    let recipe = Recipe::new(schedule, prediction(fields)?, spacing, EulerAncestral::default());
    Ok(Recipe { start: start(fields), ..recipe })
}

pub(super) fn heun(fields: &Fields) -> Result<Recipe, ReadError> {
    Ok(Recipe { clip: clip(fields)?, ..between_steps(fields, Heun::default().into(), Round::None)? })
}

/// The order, 4, is an argument of each step there.
pub(super) fn lms(fields: &Fields) -> Result<Recipe, ReadError> {
    between_steps(fields, Lms::default().into(), Round::None)
}

pub(super) fn kdpm2(fields: &Fields) -> Result<Recipe, ReadError> {
    between_steps(fields, Dpm2 {}.into(), Round::Nearest)
}

pub(super) fn kdpm2_ancestral(fields: &Fields) -> Result<Recipe, ReadError> {
    between_steps(fields, Dpm2Ancestral::default().into(), Round::Nearest)
}

/// Steps in sigma, at fractions of timesteps or at respaced sigmas.
fn between_steps(fields: &Fields, solver: SolverKind, karras: Round) -> Result<Recipe, ReadError> {
    let (spacing, ends) = sigmas(fields, (None, None), karras)?;
    let recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, spacing, solver);
    Ok(Recipe { ends, start: start(fields), ..recipe })
}

pub(super) fn dpm_solver(fields: &Fields) -> Result<Recipe, ReadError> {
    let karras = if fields.value("beta_schedule") == "squaredcos_cap_v2" { Round::Down } else { Round::Nearest };
    whole_steps(fields, multistep(fields)?, karras)
}

pub(super) fn edm_euler(fields: &Fields) -> Result<Recipe, ReadError> {
    edm(fields, Euler {}.into())
}

pub(super) fn edm_dpm_solver(fields: &Fields) -> Result<Recipe, ReadError> {
    edm(fields, multistep(fields)?)
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

pub(super) fn score_sde_ve(fields: &Fields) -> Result<Recipe, ReadError> {
    let (sigma_min, sigma_max) = (fields.number("sigma_min")?, fields.number("sigma_max")?);
    let schedule = Ve { sigma_min, sigma_max };
    let cleanest = sigma_min * (sigma_max / sigma_min).powf(fields.number("sampling_eps")?);
    let timesteps = Exponential { sigma_min: Some(cleanest), sigma_max: Some(sigma_max), round: Round::None };
    let solver = Ddpm { variance: AncestralVariance::FixedLarge };
    let (steps, snr) = (fields.count("correct_steps")?, fields.number("snr")?);
    if steps > 1000 {
        return Err(fields.wrong("correct_steps", "at most 1000"));
    }
    checked(
        fields,
        Recipe {
            timesteps: Some(timesteps.into()),
            start: Start::Noise,
            corrector: (steps > 0).then_some(Corrector { steps, snr }),
            pixels: (0.0, 1.0),
            ..Recipe::new(schedule, Score {}, Exponential::default(), solver)
        },
    )
}

pub(super) fn flow_match(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("num_train_timesteps", &json!(1000))?;
    fields.only("shift_terminal", &Value::Null)?;
    for flag in
        ["use_dynamic_shifting", "invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
    {
        fields.only(flag, &json!(false))?;
    }
    let shift = fields.number("shift")?;
    // diffusers shifts the cleanest time twice: once when the scheduler is made, once when it is spaced.
    let t_min = shift * 1e-3 / (1.0 + (shift - 1.0) * 1e-3);
    let spacing = Linspace { round: false, endpoint: true };
    let solver: SolverKind = if fields.flag("stochastic_sampling")? { Lcm::default().into() } else { Euler {}.into() };
    checked(fields, Recipe::new(Flow { shift, t_min }, parameterization::Flow {}, spacing, solver))
}

/// `set_alpha_to_one`, `steps_offset` and `timestep_spacing` are fields that it never reads.
pub(super) fn lcm(fields: &Fields) -> Result<Recipe, ReadError> {
    let (of, timesteps) = (fields.count("original_inference_steps")?, fields.count("num_train_timesteps")?);
    if of > timesteps {
        return Err(fields.wrong("original_inference_steps", &format!("at most num_train_timesteps = {timesteps}")));
    }
    let spacing = spacing::Lcm { of, ..spacing::Lcm::default() };
    let scaling = fields.number("timestep_scaling")?;
    if scaling.is_nan() || scaling <= 0.0 {
        return Err(fields.wrong("timestep_scaling", "a number above 0"));
    }
    let recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, spacing, Lcm::default());
    checked(fields, Recipe { boundary: Some(Boundary { scaling }), clip: clip(fields)?, ..recipe })
}

pub(super) fn consistency(fields: &Fields) -> Result<Recipe, ReadError> {
    let (sigma_min, sigma_max) = (fields.number("sigma_min")?, fields.number("sigma_max")?);
    let parameterization = Consistency { sigma_data: fields.number("sigma_data")?, sigma_min };
    let of = Some(fields.count("num_train_timesteps")?);
    let spacing = Karras { rho: fields.number("rho")?, of, ..Karras::default() };
    let solver = Lcm { sigma_min, s_noise: fields.number("s_noise")? };
    let clip = if fields.flag("clip_denoised")? { Clip::Range(1.0) } else { Clip::None };
    let recipe = Recipe::new(Edm { sigma_min, sigma_max }, parameterization, spacing, solver);
    checked(fields, Recipe { start: Start::Noise, clip, ..recipe })
}

/// DDPM at the timesteps of linspace.
pub(super) fn unclip(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.only("beta_schedule", &json!("squaredcos_cap_v2"))?;
    fields.choice("prediction_type", &[("epsilon", ()), ("sample", ())])?;
    let variances = [("fixed_small_log", None), ("learned_range", Some(Learned::Range))];
    let learned_variance = fields.choice("variance_type", &variances)?;
    let recipe = Recipe::new(betas(fields, 0.0)?, prediction(fields)?, Linspace::default(), Ddpm::default());
    Ok(Recipe { learned_variance, clip: clip(fields)?, ..recipe })
}

/// The correction that a class of DPM-Solver makes of `solver_type`: words of its kin mean midpoint there.
fn correction(fields: &Fields) -> Result<Correction, ReadError> {
    use Correction::{Heun, Midpoint};
    let words = [("midpoint", Midpoint), ("heun", Heun), ("logrho", Midpoint), ("bh1", Midpoint), ("bh2", Midpoint)];
    fields.choice("solver_type", &words)
}

/// Whether noise is added.
fn sde(fields: &Fields) -> Result<bool, ReadError> {
    fields.choice("algorithm_type", &[("dpmsolver++", false), ("deis", false), ("sde-dpmsolver++", true)])
}

fn multistep(fields: &Fields) -> Result<SolverKind, ReadError> {
    let (correction, sde) = (correction(fields)?, sde(fields)?);
    let (lower_order_final, euler_at_final) = (fields.flag("lower_order_final")?, fields.flag("euler_at_final")?);
    match (fields.count("solver_order")?, sde) {
        (1, _) => Ok(Ddim { eta: f64::from(u8::from(sde)) }.into()),
        (2, false) => Ok(Dpmpp2m { correction, lower_order_final, euler_at_final }.into()),
        (2, true) => Ok(Dpmpp2mSde { eta: 1.0, correction, lower_order_final, euler_at_final }.into()),
        (3, false) => Ok(Dpmpp3m { correction, lower_order_final, euler_at_final }.into()),
        // The second difference has the wrong sign there.
        (3, true) => Err(fields.wrong("solver_order", "1, 2 with sde-dpmsolver++")),
        _ => Err(fields.wrong("solver_order", "1, 2, 3")),
    }
}

pub(super) fn dpm_solver_singlestep(fields: &Fields) -> Result<Recipe, ReadError> {
    if sde(fields)? {
        return Err(fields.wrong("algorithm_type", "dpmsolver++"));
    }
    let (order, correction) = (fields.count("solver_order")?, correction(fields)?);
    // Steps to the clean end need it, and diffusers then sets it.
    let lower_order_final = fields.flag("lower_order_final")? || last(fields)? == Last::Clean;
    whole_steps(fields, DpmppSinglestep { order, correction, lower_order_final }.into(), Round::Nearest)
}

pub(super) fn uni_pc(fields: &Fields) -> Result<Recipe, ReadError> {
    use UnipcVariant::{Bh1, Bh2};
    fields.only("disable_corrector", &json!([]))?;
    fields.only("solver_p", &Value::Null)?;
    // Words of its kin mean bh2.
    let words = [("bh1", Bh1), ("bh2", Bh2), ("midpoint", Bh2), ("heun", Bh2), ("logrho", Bh2)];
    let solver = Unipc {
        order: fields.count("solver_order")?,
        variant: fields.choice("solver_type", &words)?,
        predict: if fields.flag("predict_x0")? { Predict::X0 } else { Predict::Eps },
        lower_order_final: fields.flag("lower_order_final")?,
        corrector: true,
    };
    whole_steps(fields, solver.into(), Round::Nearest)
}

/// It knows one method, whatever its kin's words in `algorithm_type` and `solver_type` say.
pub(super) fn deis(fields: &Fields) -> Result<Recipe, ReadError> {
    fields.choice("algorithm_type", &["deis", "dpmsolver", "dpmsolver++"].map(|word| (word, ())))?;
    fields.choice("solver_type", &["logrho", "midpoint", "heun", "bh1", "bh2"].map(|word| (word, ())))?;
    let solver = Deis { order: fields.count("solver_order")?, lower_order_final: fields.flag("lower_order_final")? };
    whole_steps(fields, solver.into(), Round::Nearest)
}
