//! The scheduler classes of diffusers 0.42, what their constructors assume when a config is silent, and how they are
//! read.

use super::{ReadError, fields::Fields, schedulers as read};
use crate::recipe::Recipe;
use serde_json::Value;

/// A class: its fields with their defaults as JSON, later ones overriding earlier ones, and its reader.
pub(super) struct Class {
    pub name: &'static str,
    pub defaults: &'static [&'static str],
    pub read: fn(&Fields) -> Result<Recipe, ReadError>,
}

impl Class {
    /// The class of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|class| class.name == name)
    }

    /// Whether its constructor has this argument.
    pub fn has(&self, field: &str) -> bool {
        self.defaults.iter().any(|fields| fields.contains(&format!("\"{field}\":")))
    }
}

/// The names of the classes that can be read.
pub const CLASSES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = TABLE[i].name;
        i += 1;
    }
    names
};

/// The pipeline of pixels that a scheduler's config belongs to, where it is another than a network has with all others.
pub fn pipeline<'a>(config: &Value, usual: &'a str) -> &'a str {
    if config["_class_name"] == "CMStochasticIterativeScheduler" { "ConsistencyModelPipeline" } else { usual }
}

const BETAS: &str = r#"{"num_train_timesteps":1000,"beta_start":0.0001,"beta_end":0.02,"beta_schedule":"linear",
    "trained_betas":null,"prediction_type":"epsilon","steps_offset":0}"#;
const CLIPPED: &str = r#"{"clip_sample":true,"clip_sample_range":1.0,"timestep_spacing":"leading"}"#;
const THRESHOLD: &str = r#"{"thresholding":false,"dynamic_thresholding_ratio":0.995,"sample_max_value":1.0}"#;
const ZERO_SNR: &str = r#"{"rescale_betas_zero_snr":false}"#;
const SIGMAS: &str = r#"{"use_karras_sigmas":false,"use_exponential_sigmas":false,"use_beta_sigmas":false}"#;
const FLOW_SIGMAS: &str = r#"{"use_flow_sigmas":false,"flow_shift":1.0,"use_dynamic_shifting":false,
    "time_shift_type":"exponential"}"#;
const LINSPACE: &str = r#"{"timestep_spacing":"linspace"}"#;
const LAST: &str = r#"{"final_sigmas_type":"zero"}"#;
const MULTISTEP: &str = r#"{"solver_order":2,"algorithm_type":"dpmsolver++","solver_type":"midpoint",
    "lower_order_final":true,"euler_at_final":false}"#;
const EDM: &str = r#"{"sigma_min":0.002,"sigma_max":80.0,"sigma_data":0.5,"sigma_schedule":"karras","num_train_timesteps":1000,
    "prediction_type":"epsilon","rho":7.0}"#;

pub(super) const TABLE: [Class; 21] = [
    Class {
        name: "DDPMScheduler",
        defaults: &[BETAS, CLIPPED, THRESHOLD, ZERO_SNR, r#"{"variance_type":"fixed_small"}"#],
        read: read::ddpm,
    },
    Class {
        name: "DDIMScheduler",
        defaults: &[BETAS, CLIPPED, THRESHOLD, ZERO_SNR, r#"{"set_alpha_to_one":true}"#],
        read: read::ddim,
    },
    Class {
        name: "DDIMInverseScheduler",
        defaults: &[BETAS, CLIPPED, ZERO_SNR, r#"{"set_alpha_to_one":true}"#],
        read: read::ddim_inverse,
    },
    Class {
        name: "PNDMScheduler",
        defaults: &[BETAS, r#"{"skip_prk_steps":false,"set_alpha_to_one":false,"timestep_spacing":"leading"}"#],
        read: read::pndm,
    },
    Class {
        name: "EulerDiscreteScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            LINSPACE,
            LAST,
            ZERO_SNR,
            r#"{"interpolation_type":"linear","sigma_min":null,"sigma_max":null,"timestep_type":"discrete"}"#,
        ],
        read: read::euler,
    },
    Class {
        name: "EulerAncestralDiscreteScheduler",
        defaults: &[BETAS, LINSPACE, ZERO_SNR],
        read: read::euler_ancestral,
    },
    Class {
        name: "HeunDiscreteScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            LINSPACE,
            r#"{"beta_start":0.00085,"beta_end":0.012,"clip_sample":false,"clip_sample_range":1.0}"#,
        ],
        read: read::heun,
    },
    Class { name: "LMSDiscreteScheduler", defaults: &[BETAS, SIGMAS, LINSPACE], read: read::lms },
    Class {
        name: "KDPM2DiscreteScheduler",
        defaults: &[BETAS, SIGMAS, LINSPACE, r#"{"beta_start":0.00085,"beta_end":0.012}"#],
        read: read::kdpm2,
    },
    Class {
        name: "KDPM2AncestralDiscreteScheduler",
        defaults: &[BETAS, SIGMAS, LINSPACE, r#"{"beta_start":0.00085,"beta_end":0.012}"#],
        read: read::kdpm2_ancestral,
    },
    Class {
        name: "DPMSolverMultistepScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            LINSPACE,
            LAST,
            ZERO_SNR,
            THRESHOLD,
            MULTISTEP,
            FLOW_SIGMAS,
            r#"{"use_lu_lambdas":false,"lambda_min_clipped":"-Infinity","variance_type":null}"#,
        ],
        read: read::dpm_solver,
    },
    Class {
        name: "DPMSolverSinglestepScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            FLOW_SIGMAS,
            LAST,
            THRESHOLD,
            r#"{"solver_order":2,"algorithm_type":"dpmsolver++","solver_type":"midpoint","lower_order_final":false,
                "lambda_min_clipped":"-Infinity","variance_type":null}"#,
        ],
        read: read::dpm_solver_singlestep,
    },
    Class {
        name: "UniPCMultistepScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            FLOW_SIGMAS,
            LINSPACE,
            LAST,
            ZERO_SNR,
            THRESHOLD,
            r#"{"solver_order":2,"solver_type":"bh2","predict_x0":true,"lower_order_final":true,"disable_corrector":[],
                "solver_p":null,"sigma_min":null,"sigma_max":null,"shift_terminal":null}"#,
        ],
        read: read::uni_pc,
    },
    Class {
        name: "DEISMultistepScheduler",
        defaults: &[
            BETAS,
            SIGMAS,
            FLOW_SIGMAS,
            LINSPACE,
            THRESHOLD,
            r#"{"solver_order":2,"algorithm_type":"deis","solver_type":"logrho","lower_order_final":true}"#,
        ],
        read: read::deis,
    },
    Class { name: "EDMEulerScheduler", defaults: &[EDM, LAST], read: read::edm_euler },
    Class {
        name: "EDMDPMSolverMultistepScheduler",
        defaults: &[EDM, LAST, THRESHOLD, MULTISTEP],
        read: read::edm_dpm_solver,
    },
    Class {
        name: "ScoreSdeVeScheduler",
        defaults: &[r#"{"num_train_timesteps":2000,"snr":0.15,"sigma_min":0.01,"sigma_max":1348.0,"sampling_eps":1e-5,
            "correct_steps":1}"#],
        read: read::score_sde_ve,
    },
    Class {
        name: "FlowMatchEulerDiscreteScheduler",
        defaults: &[
            r#"{"num_train_timesteps":1000,"shift":1.0,"use_dynamic_shifting":false,"base_shift":0.5,"max_shift":1.15,
            "base_image_seq_len":256,"max_image_seq_len":4096,"invert_sigmas":false,"shift_terminal":null,
            "use_karras_sigmas":false,"use_exponential_sigmas":false,"use_beta_sigmas":false,
            "time_shift_type":"exponential","stochastic_sampling":false}"#,
        ],
        read: read::flow_match,
    },
    Class {
        name: "LCMScheduler",
        defaults: &[
            BETAS,
            CLIPPED,
            THRESHOLD,
            ZERO_SNR,
            r#"{"beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear","original_inference_steps":50,
                "clip_sample":false,"set_alpha_to_one":true,"timestep_scaling":10.0}"#,
        ],
        read: read::lcm,
    },
    Class {
        name: "CMStochasticIterativeScheduler",
        defaults: &[
            r#"{"num_train_timesteps":40,"sigma_min":0.002,"sigma_max":80.0,"sigma_data":0.5,"s_noise":1.0,"rho":7.0,
            "clip_denoised":true}"#,
        ],
        read: read::consistency,
    },
    Class {
        name: "UnCLIPScheduler",
        defaults: &[
            r#"{"num_train_timesteps":1000,"variance_type":"fixed_small_log","clip_sample":true,"clip_sample_range":1.0,
            "prediction_type":"epsilon","beta_schedule":"squaredcos_cap_v2"}"#,
        ],
        read: read::unclip,
    },
];
