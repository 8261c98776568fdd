"""Golden values for undiffuse-math, computed by Hugging Face diffusers.

Run from this folder with a Python that has torch and diffusers:  python make.py
Writes schedulers.json (walks of diffusers' schedulers, step by step) and tables.json (their noise levels).

Every walk starts from the same numbers, uses the toy network F(x, t) = 0.6 x + 0.1 sin(t), whose answer depends on
every input (a score network on the variance-exploding scheduler), and where a scheduler wants noise it is given the numbers recorded beside it.
"""

import importlib
import json
import math
import pathlib
import platform

import diffusers
import numpy
import scipy.special
import torch

HERE = pathlib.Path(__file__).parent
VERSIONS = {
    "diffusers": diffusers.__version__,
    "torch": torch.__version__,
    "numpy": numpy.__version__,
    "scipy": scipy.__version__,
    "python": platform.python_version(),
}
SHAPE = (2, 1, 2, 3)

START = torch.linspace(-1.4, 1.6, 12).reshape(SHAPE)
SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
ZERO = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")

# class, options, steps, arguments of step()
CASES = [
    ("DDPMScheduler", {}, 7, {}),
    ("DDPMScheduler", dict(variance_type="fixed_large", clip_sample=False), 7, {}),
    ("DDPMScheduler", dict(num_train_timesteps=20, prediction_type="sample", clip_sample_range=0.5), 20, {}),
    ("DDPMScheduler", dict(beta_schedule="squaredcos_cap_v2", timestep_spacing="linspace"), 7, {}),
    ("DDPMScheduler", dict(beta_schedule="sigmoid", thresholding=True, sample_max_value=1.2), 7, {}),
    ("DDPMScheduler", dict(trained_betas=[0.01 + 0.02 * i for i in range(30)], num_train_timesteps=30, clip_sample=False), 6, {}),
    ("DDPMScheduler", dict(ZERO, variance_type="fixed_small_log"), 8, {}),
    ("DDIMScheduler", {}, 7, {}),
    ("DDIMScheduler", {}, 10, dict(eta=0.5)),
    ("DDIMScheduler", dict(SD, clip_sample=False, set_alpha_to_one=False, steps_offset=1), 7, {}),
    ("DDIMScheduler", dict(ZERO, clip_sample=False), 10, {}),
    ("DDIMScheduler", dict(timestep_spacing="trailing"), 7, {}),
    ("DDIMScheduler", dict(timestep_spacing="linspace", prediction_type="sample", clip_sample_range=0.7), 7, dict(eta=1.0)),
    ("DDIMScheduler", dict(thresholding=True, sample_max_value=1.1, dynamic_thresholding_ratio=0.9), 7, {}),
    ("PNDMScheduler", dict(SD, skip_prk_steps=True, steps_offset=1), 10, {}),
    ("PNDMScheduler", dict(skip_prk_steps=True, set_alpha_to_one=True), 5, {}),
    ("EulerDiscreteScheduler", {}, 7, {}),
    ("EulerDiscreteScheduler", dict(SD, timestep_spacing="leading", steps_offset=1), 7, {}),
    ("EulerDiscreteScheduler", dict(timestep_spacing="trailing", prediction_type="sample"), 7, {}),
    ("EulerDiscreteScheduler", dict(use_karras_sigmas=True, final_sigmas_type="sigma_min"), 7, {}),
    ("EulerDiscreteScheduler", dict(SD, use_karras_sigmas=True, timestep_spacing="leading"), 7, {}),
    ("EulerDiscreteScheduler", dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=40.0), 7, {}),
    ("EulerDiscreteScheduler", dict(use_exponential_sigmas=True, prediction_type="v_prediction"), 7, {}),
    ("EulerDiscreteScheduler", dict(ZERO, **SD), 7, {}),
    ("EulerDiscreteScheduler", dict(timestep_type="continuous", prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0), 7, {}),
    ("EulerAncestralDiscreteScheduler", {}, 7, {}),
    ("EulerAncestralDiscreteScheduler", dict(ZERO, **SD), 7, {}),
    ("HeunDiscreteScheduler", {}, 7, {}),
    ("HeunDiscreteScheduler", dict(SD, timestep_spacing="leading", prediction_type="v_prediction"), 7, {}),
    ("HeunDiscreteScheduler", dict(use_karras_sigmas=True, clip_sample=True), 7, {}),
    ("HeunDiscreteScheduler", dict(use_exponential_sigmas=True, timestep_spacing="trailing", prediction_type="sample"), 7, {}),
    ("DPMSolverMultistepScheduler", {}, 7, {}),
    ("DPMSolverMultistepScheduler", {}, 20, {}),
    ("DPMSolverMultistepScheduler", dict(solver_order=1, final_sigmas_type="sigma_min"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(SD, use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1), 7, {}),
    ("DPMSolverMultistepScheduler", dict(timestep_spacing="leading", steps_offset=1, solver_type="heun"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(timestep_spacing="trailing", lower_order_final=False, final_sigmas_type="sigma_min"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(euler_at_final=True, final_sigmas_type="sigma_min"), 17, {}),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++", solver_type="heun", use_karras_sigmas=True), 7, {}),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++", solver_order=1), 7, {}),
    ("DPMSolverMultistepScheduler", dict(use_lu_lambdas=True, prediction_type="v_prediction"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(use_exponential_sigmas=True, prediction_type="sample"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(beta_schedule="squaredcos_cap_v2", prediction_type="sample"), 7, {}),
    ("DPMSolverMultistepScheduler", dict(ZERO), 7, {}),
    ("DPMSolverMultistepScheduler", dict(thresholding=True, sample_max_value=1.3), 7, {}),
    ("EDMEulerScheduler", {}, 7, {}),
    ("EDMEulerScheduler", dict(sigma_schedule="exponential", prediction_type="v_prediction", sigma_data=1.0), 7, {}),
    ("EDMEulerScheduler", dict(final_sigmas_type="sigma_min", rho=5.0), 7, {}),
    ("EDMDPMSolverMultistepScheduler", {}, 7, {}),
    ("EDMDPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++", final_sigmas_type="sigma_min"), 7, {}),
    ("EDMDPMSolverMultistepScheduler", dict(sigma_schedule="exponential", solver_type="heun", prediction_type="v_prediction"), 16, {}),
    ("ScoreSdeVeScheduler", dict(sigma_max=50.0, correct_steps=0), 9, {}),
    ("FlowMatchEulerDiscreteScheduler", {}, 7, {}),
    ("FlowMatchEulerDiscreteScheduler", dict(shift=3.0), 7, {}),
]


def network(x, t):
    return 0.6 * x + 0.1 * torch.sin(torch.as_tensor(t, dtype=torch.float32))


def score(x, sigma):
    """The toy network where an answer of the size of x would blow up."""
    return -0.8 * x / (1 + sigma**2) + 0.1 * torch.sin(sigma)


def numbers(tensor):
    return [float(f"{v:.8g}") for v in tensor.flatten().tolist()]


class Noise:
    """Stands in for randn_tensor: numbers anyone can repeat, recorded one draw at a time."""

    def __init__(self):
        self.drawn = []

    def __call__(self, shape, *args, **kwargs):
        k = torch.arange(12, dtype=torch.float32) + 12 * len(self.drawn)
        self.drawn.append(1.5 * torch.sin(2.0 + 3.7 * k).reshape(shape))
        return self.drawn[-1]


def walk(name, options, steps, arguments):
    scheduler = getattr(diffusers, name)(**options)
    noise = Noise()
    importlib.import_module(type(scheduler).__module__).randn_tensor = noise
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise a scheduler whose rounded timesteps begin with a pair of equal ones skips the first.
        scheduler.set_begin_index(0)
    ve = name == "ScoreSdeVeScheduler"
    if ve:
        scheduler.set_sigmas(steps)
    spread = float(getattr(scheduler, "init_noise_sigma", 1.0))
    x = START * spread
    start = x
    told, rows, noises = [], [], []
    for i, t in enumerate(scheduler.timesteps):
        before = len(noise.drawn)
        if ve:
            told.append(float(scheduler.sigmas[i]))
            out = scheduler.step_pred(score(x, scheduler.sigmas[i]), t, x)
            x = out.prev_sample if i + 1 < steps else out.prev_sample_mean
        else:
            told.append(float(t))
            scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            x = scheduler.step(network(scaled, t), t, x, **arguments).prev_sample
        rows.append(numbers(x))
        noises.append([numbers(n) for n in noise.drawn[before:]])
    config = json.loads(scheduler.to_json_string().replace("-Infinity", '"-Infinity"'))
    return {
        "config": {k: v for k, v in config.items() if k in options or k == "_class_name"},
        "steps": steps,
        "arguments": arguments,
        "init_noise_sigma": spread,
        "told": [float(f"{t:.8g}") for t in told],
        "start": numbers(start),
        "noise": noises,
        "rows": rows,
    }


def table(options):
    scheduler = diffusers.DDPMScheduler(**options)
    count = scheduler.config.num_train_timesteps
    at = sorted({0, 1, min(10, count - 1), count // 2, count - 1})
    return {"options": options, "timesteps": at, "alpha_bar": [scheduler.alphas_cumprod[t].item() for t in at]}


def write(name, value):
    text = json.dumps({"made_by": "make.py", "versions": VERSIONS, **value}, separators=(",", ":"))
    (HERE / name).write_text(text + "\n")


quantiles = [1e-300, 1e-20, 1e-10, 1e-5, 0.001, 0.02, 0.07, 0.075, 0.25, 0.5, 0.6, 0.925, 0.93, 0.975, 0.995, 1 - 1e-6]
write("schedulers.json", {"walks": [walk(*case) for case in CASES]})
write(
    "tables.json",
    {
        "tables": [
            table(options)
            for options in [
                {},
                SD,
                dict(beta_schedule="squaredcos_cap_v2", num_train_timesteps=300),
                dict(beta_schedule="sigmoid"),
                dict(rescale_betas_zero_snr=True),
                dict(SD, rescale_betas_zero_snr=True),
                dict(trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3),
            ]
        ],
        "normal_quantile": [[u, scipy.special.ndtri(u)] for u in quantiles],
    },
)
assert math.isfinite(sum(map(sum, (r for case in json.loads((HERE / "schedulers.json").read_text())["walks"] for r in case["rows"]))))
