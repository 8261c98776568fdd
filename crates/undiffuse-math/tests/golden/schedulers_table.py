"""Which settings of diffusers' schedulers are walked: class, options, steps, arguments of step(), and for steps that are named one
by one the spacing as this crate writes it, and what set_timesteps() takes."""

SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
ZERO = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
SDE = dict(algorithm_type="sde-dpmsolver++")
TRAINED = dict(trained_betas=[0.01 + 0.02 * i for i in range(30)], num_train_timesteps=30)
CONTINUOUS = dict(V, timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0)


def case(name, steps=7, call=None, own=None, **options):
    return name + "Scheduler", options, steps, call or {}, own


def written(at):
    return "".join(f"{number};" for number in at)


def timesteps(*at):
    return f"timesteps:at={written(at)}", dict(timesteps=list(at))


def sigmas(*at):
    return f"sigmas:at={written(at)}", dict(sigmas=[*at, 0.0])


def flow_sigmas(*at):
    return f"timesteps:at={written(at)}", dict(sigmas=list(at))


def distilled(of, *at):
    """Numbers in a consistency model's table, which diffusers counts as we do and visits from the last on."""
    return f"karras:of={of},at={written(sorted(at))}", dict(timesteps=list(at))


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
    case("PNDM", 10, timestep_spacing="trailing", skip_prk_steps=True),
    case("PNDM", 10),
    case("PNDM", 10, steps_offset=1, set_alpha_to_one=True, **SD),
    case("PNDM", 20, **V, **SD),
    case("PNDM", 6, skip_prk_steps=True, **V),
    case("DDIMInverse", clip_sample=False),
    case("DDIMInverse", set_alpha_to_one=False, steps_offset=1, clip_sample_range=0.7, **SD),
    case("DDIMInverse", 10, clip_sample=False, timestep_spacing="trailing", **V),
    case("DDIMInverse", set_alpha_to_one=False, beta_schedule="squaredcos_cap_v2", **X0),
    case("EulerDiscrete"),
    case("EulerDiscrete", timestep_spacing="leading", steps_offset=1, **SD),
    case("EulerDiscrete", timestep_spacing="trailing", **X0),
    case("EulerDiscrete", use_karras_sigmas=True, final_sigmas_type="sigma_min"),
    case("EulerDiscrete", use_karras_sigmas=True, timestep_spacing="leading", **SD),
    case("EulerDiscrete", use_karras_sigmas=True, sigma_min=0.05, sigma_max=40.0),
    case("EulerDiscrete", use_exponential_sigmas=True, **V),
    case("EulerDiscrete", use_beta_sigmas=True, **SD),
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
    case("DPMSolverMultistep", use_beta_sigmas=True),
    case("DPMSolverMultistep", beta_schedule="squaredcos_cap_v2", **X0),
    case("DPMSolverMultistep", **ZERO),
    case("DPMSolverMultistep", thresholding=True, sample_max_value=1.3),
    case("DPMSolverMultistep", solver_order=3, lower_order_final=False, final_sigmas_type="sigma_min"),
    case("DPMSolverMultistep", solver_order=3, solver_type="heun", use_karras_sigmas=True),
    case("DPMSolverMultistep", 16, solver_order=3, timestep_spacing="trailing", **V),
    case("DPMSolverMultistep", 16, solver_order=3, euler_at_final=True, final_sigmas_type="sigma_min", **X0),
    case("DPMSolverMultistep", variance_type="learned_range"),
    case("LMSDiscrete"),
    case("LMSDiscrete", 12, timestep_spacing="leading", steps_offset=1, **SD),
    case("LMSDiscrete", use_karras_sigmas=True, **V),
    case("LMSDiscrete", call=dict(order=2), use_exponential_sigmas=True, timestep_spacing="trailing"),
    case("LMSDiscrete", call=dict(order=3), beta_schedule="squaredcos_cap_v2", **V),
    case("KDPM2Discrete"),
    case("KDPM2Discrete", timestep_spacing="leading", steps_offset=1, **V, **SD),
    case("KDPM2Discrete", use_karras_sigmas=True),
    case("KDPM2Discrete", use_exponential_sigmas=True, timestep_spacing="trailing"),
    case("KDPM2AncestralDiscrete"),
    case("KDPM2AncestralDiscrete", timestep_spacing="leading", steps_offset=1, **V, **SD),
    case("KDPM2AncestralDiscrete", use_karras_sigmas=True),
    case("UniPCMultistep"),
    case("UniPCMultistep", solver_type="bh1", final_sigmas_type="sigma_min"),
    case("UniPCMultistep", 17, solver_order=3, use_karras_sigmas=True),
    case("UniPCMultistep", solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min", timestep_spacing="trailing", **V),
    case("UniPCMultistep", solver_order=1, **X0),
    case("UniPCMultistep", solver_order=1, solver_type="bh1", final_sigmas_type="sigma_min", timestep_spacing="leading", steps_offset=1, **SD),
    case("UniPCMultistep", lower_order_final=False, final_sigmas_type="sigma_min"),
    case("UniPCMultistep", solver_order=3, lower_order_final=False, final_sigmas_type="sigma_min", **SD),
    case("UniPCMultistep", predict_x0=False, final_sigmas_type="sigma_min", **SD),
    case("UniPCMultistep", solver_order=3, predict_x0=False, solver_type="bh1", final_sigmas_type="sigma_min", **V),
    case("UniPCMultistep", thresholding=True, sample_max_value=1.3),
    case("UniPCMultistep", use_exponential_sigmas=True, beta_schedule="squaredcos_cap_v2"),
    case("UniPCMultistep", **ZERO),
    case("DPMSolverSinglestep"),
    case("DPMSolverSinglestep", 8, solver_order=3, lower_order_final=True, final_sigmas_type="sigma_min"),
    case("DPMSolverSinglestep", 9, solver_order=3, final_sigmas_type="sigma_min", **SD),
    case("DPMSolverSinglestep", 9, solver_order=3, solver_type="heun", use_karras_sigmas=True, **V),
    case("DPMSolverSinglestep", 8, solver_type="heun", lower_order_final=True, **X0),
    case("DPMSolverSinglestep", solver_order=1, thresholding=True, sample_max_value=1.3),
    case("DEISMultistep"),
    case("DEISMultistep", 16, solver_order=3, timestep_spacing="trailing", **V),
    case("DEISMultistep", solver_order=3, use_karras_sigmas=True, **SD),
    case("DEISMultistep", solver_order=3, lower_order_final=False, **X0),
    case("DEISMultistep", solver_order=1, thresholding=True, timestep_spacing="leading", sample_max_value=1.3),
    case("EDMEuler"),
    case("EDMEuler", sigma_schedule="exponential", sigma_data=1.0, **V),
    case("EDMEuler", final_sigmas_type="sigma_min", rho=5.0),
    case("EDMDPMSolverMultistep"),
    case("EDMDPMSolverMultistep", final_sigmas_type="sigma_min", **SDE),
    case("EDMDPMSolverMultistep", 16, sigma_schedule="exponential", solver_type="heun", **V),
    case("EDMDPMSolverMultistep", 9, solver_order=3, final_sigmas_type="sigma_min", rho=5.0),
    case("LCM", 4),
    case("LCM", 1),
    case("LCM", original_inference_steps=100, timestep_scaling=0.01, clip_sample=True),
    case("LCM", 11, prediction_type="sample", thresholding=True, sample_max_value=1.2, beta_schedule="squaredcos_cap_v2"),
    case("LCM", 5, original_inference_steps=30, timestep_scaling=0.1, **TRAINED),
    case("LCM", 4, **ZERO, **SD),
    case("CMStochasticIterative", 1),
    case("CMStochasticIterative", 2, s_noise=1.01, sigma_data=0.7),
    case("CMStochasticIterative", num_train_timesteps=201, sigma_min=0.01, sigma_max=50.0, rho=5.0, clip_denoised=False),
    case("CMStochasticIterative", 18, num_train_timesteps=18),
    case("UnCLIP"),
    case("UnCLIP", 25, clip_sample_range=5.0, **X0),
    case("UnCLIP", 12, num_train_timesteps=12, clip_sample=False),
    case("UnCLIP", 8, variance_type="learned_range", clip_sample_range=0.7),
    case("ScoreSdeVe", 9, sigma_max=50.0, correct_steps=0),
    case("ScoreSdeVe", 9, sigma_max=50.0, correct_steps=2, snr=0.1),
    case("FlowMatchEulerDiscrete"),
    case("FlowMatchEulerDiscrete", shift=3.0),
    case("FlowMatchEulerDiscrete", shift=2.0, stochastic_sampling=True),
    case("DDPM", own=timesteps(999, 700, 400, 100, 5)),
    case("LCM", own=timesteps(999, 759, 259), **SD),
    case("EulerDiscrete", own=timesteps(999, 850, 736, 645, 545, 455, 343, 233, 124, 24), timestep_spacing="leading", **SD),
    case("EulerDiscrete", own=sigmas(14.6, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152), **SD),
    case("HeunDiscrete", own=timesteps(980, 300, 20), **V),
    case("DPMSolverMultistep", own=timesteps(999, 500, 250, 60), final_sigmas_type="sigma_min"),
    case("DPMSolverMultistep", own=timesteps(900, 500, 250, 60), **SDE),
    case("CMStochasticIterative", own=distilled(40, 22, 0)),
    case("CMStochasticIterative", own=distilled(201, 106, 33, 0), num_train_timesteps=201, clip_denoised=False),
    case("FlowMatchEulerDiscrete", own=flow_sigmas(1.0, 0.75, 0.2), shift=3.0),
]
