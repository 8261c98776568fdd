"""The table of tiny pipeline folders: a scheduler, its config, how it is called, which network goes with it.

`steps` is `num_inference_steps`, `call` extra arguments of `scheduler.step`, `unet` a key of UNETS.
`pipeline` names the diffusers pipeline whose own result must agree with ours (None: it has none).
`may_refuse` marks settings that a reader may decline by name.
"""

SMALL = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (4, 4),
    "norm_num_groups": 2,
    "attention_head_dim": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
COLOUR = SMALL | {"in_channels": 3, "out_channels": 3}

UNETS = {
    "grey": SMALL,
    "colour": COLOUR,
    "variance": SMALL | {"out_channels": 2},
    "classes": SMALL | {"num_class_embeds": 11},
    "consistency": COLOUR | {
        "num_class_embeds": 5,
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "fourier": COLOUR | {"time_embedding_type": "fourier"},
}

# Ends at sigma/alpha = 25 instead of 157: an untruncated eps prediction of a tiny network stays of unit size.
MILD = {"beta_start": 0.00085, "beta_end": 0.012}
TERMINAL = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}


def row(name, scheduler, unet="grey", steps=10, call=None, pipeline=None, labels=None, guidance=None,
        may_refuse=False, **config):
    return {
        "name": name,
        "scheduler": scheduler + "Scheduler",
        "config": config,
        "unet": unet,
        "steps": steps,
        "call": call or {},
        "pipeline": pipeline,
        "labels": labels,
        "guidance": guidance,
        "may_refuse": may_refuse,
    }


FIXTURES = [
    row("ddpm-small", "DDPM", unet="colour", pipeline="DDPMPipeline"),
    row("ddpm-large-linspace", "DDPM", pipeline="DDPMPipeline", variance_type="fixed_large",
        timestep_spacing="linspace", clip_sample_range=1.5),
    row("ddpm-v-trailing", "DDPM", pipeline="DDPMPipeline", variance_type="fixed_large", clip_sample=False,
        prediction_type="v_prediction", timestep_spacing="trailing", beta_schedule="scaled_linear"),
    row("ddpm-sample-cosine", "DDPM", pipeline="DDPMPipeline", prediction_type="sample", beta_schedule="squaredcos_cap_v2"),
    row("ddpm-sigmoid-offset", "DDPM", clip_sample=False, beta_schedule="sigmoid", steps_offset=1, steps=7, **MILD),
    row("ddpm-small-log", "DDPM", variance_type="fixed_small_log", clip_sample=False, prediction_type="v_prediction"),
    row("ddpm-threshold", "DDPM", unet="colour", thresholding=True, sample_max_value=1.5, clip_sample=False),
    row("ddpm-all-steps", "DDPM", pipeline="DDPMPipeline", steps=12, num_train_timesteps=12, beta_start=0.01, beta_end=0.5),
    row("ddpm-trained-betas", "DDPM", trained_betas=[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5], num_train_timesteps=8, steps=8),
    row("ddpm-terminal", "DDPM", clip_sample=False, **TERMINAL),
    row("ddpm-learned-range", "DDPM", unet="variance", variance_type="learned_range", may_refuse=True),
    row("ddim", "DDIM", pipeline="DDIMPipeline"),
    row("ddim-eta", "DDIM", unet="colour", call={"eta": 0.5}, pipeline="DDIMPipeline"),
    row("ddim-eta-1-v", "DDIM", call={"eta": 1.0}, clip_sample=False, prediction_type="v_prediction"),
    row("ddim-first-alpha", "DDIM", clip_sample=False, set_alpha_to_one=False, steps_offset=1, beta_schedule="scaled_linear",
        pipeline="DDIMPipeline", **MILD),
    row("ddim-sample", "DDIM", prediction_type="sample", timestep_spacing="linspace"),
    row("ddim-terminal", "DDIM", clip_sample=False, **TERMINAL),
    row("ddim-classes", "DDIM", unet="classes", labels=(3, 7), clip_sample=False, **MILD),
    row("ddim-guided", "DDIM", unet="classes", labels=(3, 7), guidance=2.5, clip_sample=False, **MILD),
    row("pndm", "PNDM", skip_prk_steps=True, pipeline="PNDMPipeline", **MILD),
    row("pndm-offset", "PNDM", skip_prk_steps=True, steps_offset=1, set_alpha_to_one=True, **MILD),
    row("pndm-runge-kutta", "PNDM", pipeline="PNDMPipeline", may_refuse=True, **MILD),
    row("euler", "EulerDiscrete", **MILD),
    row("euler-fractional", "EulerDiscrete", steps=7, **MILD),
    row("euler-leading-v", "EulerDiscrete", timestep_spacing="leading", steps_offset=1, prediction_type="v_prediction"),
    row("euler-trailing-first-sigma", "EulerDiscrete", timestep_spacing="trailing", final_sigmas_type="sigma_min", **MILD),
    row("euler-karras", "EulerDiscrete", use_karras_sigmas=True, **MILD),
    row("euler-exponential", "EulerDiscrete", use_exponential_sigmas=True, may_refuse=True, **MILD),
    row("euler-terminal", "EulerDiscrete", **TERMINAL),
    row("euler-ancestral", "EulerAncestralDiscrete", **MILD),
    row("euler-ancestral-v", "EulerAncestralDiscrete", unet="colour", prediction_type="v_prediction", timestep_spacing="leading"),
    row("heun", "HeunDiscrete", **MILD),
    row("heun-karras-v", "HeunDiscrete", use_karras_sigmas=True, prediction_type="v_prediction"),
    row("dpmpp-2m", "DPMSolverMultistep", **MILD),
    row("dpmpp-2m-heun", "DPMSolverMultistep", solver_type="heun", prediction_type="v_prediction", timestep_spacing="trailing"),
    row("dpmpp-2m-karras", "DPMSolverMultistep", use_karras_sigmas=True, **MILD),
    row("dpmpp-2m-leading-euler-last", "DPMSolverMultistep", timestep_spacing="leading", euler_at_final=True, steps=16,
        prediction_type="sample"),
    row("dpmpp-2m-first-sigma", "DPMSolverMultistep", final_sigmas_type="sigma_min", lower_order_final=False, **MILD),
    row("dpmpp-2m-threshold", "DPMSolverMultistep", unet="colour", thresholding=True, sample_max_value=1.5),
    row("dpmpp-2m-flow", "DPMSolverMultistep", prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0,
        may_refuse=True),
    row("dpmpp-2m-sde", "DPMSolverMultistep", unet="colour", algorithm_type="sde-dpmsolver++", **MILD),
    row("dpmpp-2m-sde-karras", "DPMSolverMultistep", algorithm_type="sde-dpmsolver++", use_karras_sigmas=True,
        prediction_type="v_prediction"),
    row("dpmpp-1", "DPMSolverMultistep", solver_order=1, may_refuse=True, **MILD),
    row("dpmpp-3m", "DPMSolverMultistep", solver_order=3, steps=16, may_refuse=True, **MILD),
    row("dpm-2m", "DPMSolverMultistep", algorithm_type="dpmsolver", final_sigmas_type="sigma_min", may_refuse=True, **MILD),
    row("lms", "LMSDiscrete", **MILD),
    row("lms-karras-v", "LMSDiscrete", use_karras_sigmas=True, prediction_type="v_prediction"),
    row("unipc", "UniPCMultistep", **MILD),
    row("unipc-3-bh1", "UniPCMultistep", unet="colour", solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min", **MILD),
    row("dpmpp-singlestep-3", "DPMSolverSinglestep", solver_order=3, steps=9, prediction_type="v_prediction"),
    row("deis", "DEISMultistep", **MILD),
    row("edm-euler", "EDMEuler", unet="colour"),
    row("edm-euler-exponential-v", "EDMEuler", sigma_schedule="exponential", prediction_type="v_prediction", sigma_data=1.0),
    row("edm-dpmpp-2m", "EDMDPMSolverMultistep"),
    row("edm-dpmpp-2m-sde", "EDMDPMSolverMultistep", algorithm_type="sde-dpmsolver++", sigma_max=20.0, rho=5.0),
    row("lcm", "LCM", steps=4),
    row("lcm-v-clipped", "LCM", unet="colour", original_inference_steps=100, timestep_scaling=0.1, clip_sample=True,
        prediction_type="v_prediction"),
    row("consistency-one-step", "CMStochasticIterative", unet="consistency", steps=1, labels=(1, 4), pipeline="ConsistencyModelPipeline"),
    row("consistency", "CMStochasticIterative", unet="consistency", steps=3, labels=(0, 3), pipeline="ConsistencyModelPipeline"),
    row("unclip", "UnCLIP", prediction_type="sample", clip_sample_range=1.2),
    row("unclip-learned-range", "UnCLIP", unet="variance", variance_type="learned_range"),
    row("score-sde-ve-predictor", "ScoreSdeVe", unet="fourier", correct_steps=0, sigma_min=0.05, sigma_max=5.0, pipeline="ScoreSdeVePipeline"),
    row("score-sde-ve", "ScoreSdeVe", unet="fourier", steps=6, sigma_min=0.05, sigma_max=5.0, pipeline="ScoreSdeVePipeline"),
    row("flow-euler", "FlowMatchEulerDiscrete"),
    row("flow-euler-shift", "FlowMatchEulerDiscrete", unet="colour", shift=3.0),
    row("flow-euler-stochastic", "FlowMatchEulerDiscrete", stochastic_sampling=True, may_refuse=True),
]
