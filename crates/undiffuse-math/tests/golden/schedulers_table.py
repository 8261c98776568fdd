"""Which settings of diffusers' schedulers are walked: class, options, steps, arguments of step()."""

SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
ZERO = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
SDE = dict(algorithm_type="sde-dpmsolver++")
TRAINED = dict(trained_betas=[0.01 + 0.02 * i for i in range(30)], num_train_timesteps=30)
CONTINUOUS = dict(V, timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0)


def case(name, steps=7, call=None, **options):
    return name + "Scheduler", options, steps, call or {}


CASES = [
    case("DDPM"),
    case("DDPM", variance_type="fixed_large", clip_sample=False),
    case("DDPM", 20, num_train_timesteps=20, clip_sample_range=0.5, **X0),
    case("DDPM", beta_schedule="squaredcos_cap_v2", timestep_spacing="linspace"),
    case("DDPM", beta_schedule="sigmoid", thresholding=True, sample_max_value=1.2),
    case("DDPM", 6, clip_sample=False, **TRAINED),
    case("DDPM", 8, variance_type="fixed_small_log", **ZERO),
    case("DDPM", 8, variance_type="learned_range"),
    case("DDPM", 8, variance_type="learned_range", clip_sample=False, beta_schedule="squaredcos_cap_v2", **V),
    case("DDPM", 8, variance_type="learned"),
    case("DDIM"),
    case("DDIM", 10, dict(eta=0.5)),
    case("DDIM", clip_sample=False, set_alpha_to_one=False, steps_offset=1, **SD),
    case("DDIM", 10, clip_sample=False, **ZERO),
    case("DDIM", timestep_spacing="trailing"),
    case("DDIM", call=dict(eta=1.0), timestep_spacing="linspace", clip_sample_range=0.7, **X0),
    case("DDIM", thresholding=True, sample_max_value=1.1, dynamic_thresholding_ratio=0.9),
    case("PNDM", 10, skip_prk_steps=True, steps_offset=1, **SD),
    case("PNDM", 5, skip_prk_steps=True, set_alpha_to_one=True),
    case("EulerDiscrete"),
    case("EulerDiscrete", timestep_spacing="leading", steps_offset=1, **SD),
    case("EulerDiscrete", timestep_spacing="trailing", **X0),
    case("EulerDiscrete", use_karras_sigmas=True, final_sigmas_type="sigma_min"),
    case("EulerDiscrete", use_karras_sigmas=True, timestep_spacing="leading", **SD),
    case("EulerDiscrete", use_karras_sigmas=True, sigma_min=0.05, sigma_max=40.0),
    case("EulerDiscrete", use_exponential_sigmas=True, **V),
    case("EulerDiscrete", **ZERO, **SD),
    case("EulerDiscrete", **CONTINUOUS),
    case("EulerAncestralDiscrete"),
    case("EulerAncestralDiscrete", timestep_spacing="leading", **V),
    case("EulerAncestralDiscrete", **ZERO, **SD),
    case("HeunDiscrete"),
    case("HeunDiscrete", timestep_spacing="leading", **V, **SD),
    case("HeunDiscrete", use_karras_sigmas=True, clip_sample=True),
    case("HeunDiscrete", use_exponential_sigmas=True, timestep_spacing="trailing", **X0),
    case("DPMSolverMultistep"),
    case("DPMSolverMultistep", 20),
    case("DPMSolverMultistep", solver_order=1, final_sigmas_type="sigma_min"),
    case("DPMSolverMultistep", use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1, **SD),
    case("DPMSolverMultistep", timestep_spacing="leading", steps_offset=1, solver_type="heun"),
    case("DPMSolverMultistep", timestep_spacing="trailing", lower_order_final=False, final_sigmas_type="sigma_min"),
    case("DPMSolverMultistep", 17, euler_at_final=True, final_sigmas_type="sigma_min"),
    case("DPMSolverMultistep", **SDE),
    case("DPMSolverMultistep", solver_type="heun", use_karras_sigmas=True, **SDE),
    case("DPMSolverMultistep", solver_order=1, **SDE),
    case("DPMSolverMultistep", timestep_spacing="trailing", **SDE, **V),
    case("DPMSolverMultistep", use_lu_lambdas=True, **V),
    case("DPMSolverMultistep", use_exponential_sigmas=True, **X0),
    case("DPMSolverMultistep", beta_schedule="squaredcos_cap_v2", **X0),
    case("DPMSolverMultistep", **ZERO),
    case("DPMSolverMultistep", thresholding=True, sample_max_value=1.3),
    case("EDMEuler"),
    case("EDMEuler", sigma_schedule="exponential", sigma_data=1.0, **V),
    case("EDMEuler", final_sigmas_type="sigma_min", rho=5.0),
    case("EDMDPMSolverMultistep"),
    case("EDMDPMSolverMultistep", final_sigmas_type="sigma_min", **SDE),
    case("EDMDPMSolverMultistep", 16, sigma_schedule="exponential", solver_type="heun", **V),
    case("ScoreSdeVe", 9, sigma_max=50.0, correct_steps=0),
    case("ScoreSdeVe", 9, sigma_max=50.0, correct_steps=2, snr=0.1),
    case("FlowMatchEulerDiscrete"),
    case("FlowMatchEulerDiscrete", shift=3.0),
]
