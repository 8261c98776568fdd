"""Golden walks for undiffuse-math's deterministic solvers, made by Hugging Face diffusers and k-diffusion in float64.

Run from this folder with a Python that has torch, diffusers, scipy and k-diffusion (without what only its training
needs: pip install --no-deps k-diffusion):  python solvers.py
Writes solvers.json: for each walk the levels (alpha, sigma), what the network was told, and the image after every
evaluation. The network answers 0.8 tanh(0.7 x) + 0.1 sin(t) for diffusers, which is eps or the velocity of rectified flow, and for k-diffusion
D(x, s) = 0.5 tanh(x / sqrt(1 + s^2)) + 0.1 sin(ln s).
"""

import importlib
import importlib.metadata
import json
import pathlib
import sys
import types

import diffusers
import torch

torch.set_default_dtype(torch.float64)
START = torch.tensor([[-1.4, -0.3, 0.2, 0.9, 1.7]])
HERE = pathlib.Path(__file__).parent
KARRAS = dict(use_karras_sigmas=True)
CLEANEST = dict(final_sigmas_type="sigma_min")

# The solver as this crate writes it, diffusers' class, its options, steps.
DIFFUSERS = [
    ("lms", "LMSDiscreteScheduler", {}, 8),
    ("lms:order=1", "LMSDiscreteScheduler", {}, 5),
    ("lms:order=2", "LMSDiscreteScheduler", KARRAS, 6),
    ("lms:order=3", "LMSDiscreteScheduler", dict(use_exponential_sigmas=True), 6),
    ("dpmpp-3m", "DPMSolverMultistepScheduler", dict(solver_order=3), 10),
    ("dpmpp-3m", "DPMSolverMultistepScheduler", dict(solver_order=3, **KARRAS), 17),
    ("dpmpp-3m:correction=heun", "DPMSolverMultistepScheduler", dict(solver_order=3, solver_type="heun", **CLEANEST), 9),
    ("dpmpp-3m:lower_order_final=false", "DPMSolverMultistepScheduler", dict(solver_order=3, lower_order_final=False, **CLEANEST), 9),
    ("dpmpp-3m:euler_at_final=true", "DPMSolverMultistepScheduler", dict(solver_order=3, euler_at_final=True, **CLEANEST), 16),
    ("unipc", "UniPCMultistepScheduler", {}, 10),
    ("unipc:order=1", "UniPCMultistepScheduler", dict(solver_order=1), 7),
    ("unipc:order=3", "UniPCMultistepScheduler", dict(solver_order=3), 10),
    ("unipc:variant=bh1", "UniPCMultistepScheduler", dict(solver_type="bh1", **CLEANEST), 8),
    ("unipc:order=3,variant=bh1", "UniPCMultistepScheduler", dict(solver_order=3, solver_type="bh1", **CLEANEST), 8),
    ("unipc:order=3,predict=eps", "UniPCMultistepScheduler", dict(solver_order=3, predict_x0=False, **CLEANEST), 9),
    ("unipc:order=1,predict=eps,variant=bh1", "UniPCMultistepScheduler", dict(solver_order=1, solver_type="bh1", predict_x0=False, **CLEANEST), 9),
    ("unipc:lower_order_final=false", "UniPCMultistepScheduler", dict(lower_order_final=False, **CLEANEST), 9),
    ("unipc:corrector=false,order=3", "UniPCMultistepScheduler", dict(solver_order=3, disable_corrector=list(range(9))), 9),
    ("deis", "DEISMultistepScheduler", dict(solver_order=3), 10),
    ("deis:order=2", "DEISMultistepScheduler", dict(solver_order=2, **KARRAS), 8),
    ("deis:lower_order_final=false", "DEISMultistepScheduler", dict(solver_order=3, lower_order_final=False, use_exponential_sigmas=True), 8),
    ("dpmpp-singlestep:order=1", "DPMSolverSinglestepScheduler", dict(solver_order=1), 5),
    ("dpmpp-singlestep:order=2", "DPMSolverSinglestepScheduler", dict(solver_order=2, lower_order_final=True), 8),
    ("dpmpp-singlestep:order=2", "DPMSolverSinglestepScheduler", dict(solver_order=2, lower_order_final=True), 9),
    ("dpmpp-singlestep:order=2,correction=heun", "DPMSolverSinglestepScheduler", dict(solver_order=2, solver_type="heun", lower_order_final=True, **KARRAS, **CLEANEST), 9),
    ("dpmpp-singlestep", "DPMSolverSinglestepScheduler", dict(solver_order=3, lower_order_final=True), 9),
    ("dpmpp-singlestep", "DPMSolverSinglestepScheduler", dict(solver_order=3, lower_order_final=True, **CLEANEST), 10),
    ("dpmpp-singlestep:correction=heun", "DPMSolverSinglestepScheduler", dict(solver_order=3, solver_type="heun", lower_order_final=True, **CLEANEST), 11),
    ("dpmpp-singlestep:lower_order_final=false", "DPMSolverSinglestepScheduler", dict(solver_order=3, lower_order_final=False, **KARRAS, **CLEANEST), 9),
    ("plms", "PNDMScheduler", dict(skip_prk_steps=True), 8),
    ("plms:start=runge-kutta", "PNDMScheduler", {}, 10),
    ("plms:start=runge-kutta", "PNDMScheduler", dict(set_alpha_to_one=True), 5),
    ("ddim-inverse", "DDIMInverseScheduler", dict(clip_sample=False), 7),
    ("euler", "FlowMatchEulerDiscreteScheduler", dict(shift=3.0), 6),
    ("heun:along=flow", "FlowMatchHeunDiscreteScheduler", {}, 6),
    ("heun:along=flow", "FlowMatchHeunDiscreteScheduler", dict(shift=3.0), 5),
    ("ddim-inverse", "DDIMInverseScheduler", dict(clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing"), 8),
]

# The solver as this crate writes it, k-diffusion's sampler, sigmas.
KDIFFUSION = [
    ("dpm2", "sample_dpm_2", 8),
    ("heun", "sample_heun", 8),
    ("lms", "sample_lms", 8),
    ("dpmpp-3m:correction=heun,lower_order_final=false", "sample_dpmpp_3m_sde", 8),
    ("dpmpp-2m:lower_order_final=false", "sample_dpmpp_2m", 8),
]


class Double:
    """torch as a scheduler's module sees it, which here has no single precision to cast to."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def numbers(tensor):
    return [float(f"{v:.17g}") for v in tensor.flatten().tolist()]


def vp(sigma):
    alpha = (1 + sigma**2) ** -0.5
    return [alpha, alpha * sigma]


def by_table(scheduler, name, steps):
    """The falling levels of the schedulers that read alpha_bar by timestep."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    bar = lambda t: scheduler.alphas_cumprod[t].item()
    if name == "DDIMInverseScheduler":
        scheduler.initial_alpha_cumprod = torch.as_tensor(scheduler.initial_alpha_cumprod).double()
        times, last = list(scheduler.timesteps)[::-1], scheduler.initial_alpha_cumprod.item()
    else:
        scheduler.final_alpha_cumprod = torch.as_tensor(scheduler.final_alpha_cumprod).double()
        times, last = list(scheduler._timesteps)[::-1], scheduler.final_alpha_cumprod.item()
        if not scheduler.config.skip_prk_steps:
            half = 1000 // steps // 2
            times = [t for i, t in enumerate(times) for t in ([t, t - half] if i < 3 else [t])]
    return [[a**0.5, (1 - a) ** 0.5] for a in [bar(int(t)) for t in times] + [last]]


def diffusers_walk(solver, name, options, steps):
    scheduler = getattr(diffusers, name)(**options)
    importlib.import_module(type(scheduler).__module__).torch = Double()
    scheduler.set_timesteps(steps)
    over_alpha, flow = name == "LMSDiscreteScheduler", name.startswith("FlowMatch")
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = scheduler.sigmas.double()
        scheduler.set_begin_index(0)
        sigmas = scheduler.sigmas.tolist()
        # FlowMatchHeun has each sigma of a pair twice.
        levels = [[1 - s, s] for s in dict.fromkeys(sigmas)] if flow else [vp(s) for s in sigmas]
    else:
        levels = by_table(scheduler, name, steps)
    x = START / levels[0][0] if over_alpha else START
    told, rows = [], []
    arguments = dict(order=int(solver[-1]) if "order" in solver else 4) if over_alpha else {}
    for t in scheduler.timesteps:
        told.append(float(t))
        scaled = x if flow else scheduler.scale_model_input(x, t)
        answer = 0.8 * torch.tanh(0.7 * scaled) + 0.1 * torch.sin(torch.tensor(float(t)))
        x = scheduler.step(answer, t, x, **arguments).prev_sample
        rows.append(numbers(x))
    return dict(solver=solver, by=name, options=options, over_alpha=over_alpha, flow=flow, levels=levels, told=told, rows=rows)


def k_diffusion_sampling():
    """k-diffusion's samplers alone; the package itself imports networks, metrics and SDE libraries."""
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(importlib.metadata.distribution("k-diffusion").locate_file("k_diffusion"))]
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]
    torchdiffeq = types.ModuleType("torchdiffeq")
    torchdiffeq.odeint = None
    stubs = {"k_diffusion": package, "k_diffusion.utils": utils, "torchdiffeq": torchdiffeq}
    sys.modules.update(stubs, torchsde=types.ModuleType("torchsde"))
    package.utils = utils
    return importlib.import_module("k_diffusion.sampling")


sampling = k_diffusion_sampling()


def k_walk(solver, name, steps):
    sigmas = sampling.get_sigmas_karras(steps, 0.05, 30.0).double()
    asked, before = [], []

    def model(x, sigma):
        asked.append(sigma[0].item())
        before.append(numbers(x))
        s = sigma.reshape(-1, *[1] * (x.dim() - 1))
        return 0.5 * torch.tanh(x / (1 + s**2) ** 0.5) + 0.1 * torch.sin(torch.log(s))

    x = START * sigmas[0]
    arguments = dict(eta=0.0, noise_sampler=lambda *_: torch.zeros_like(x)) if "sde" in name else {}
    end = getattr(sampling, name)(model, x, sigmas, disable=True, **arguments)
    levels = [[1.0, s] for s in sigmas.tolist()]
    return dict(solver=solver, by=name, levels=levels, asked=asked, rows=before[1:] + [numbers(end)])


versions = {name: importlib.metadata.version(name) for name in ["diffusers", "k-diffusion", "torch"]}
walks = [diffusers_walk(*case) for case in DIFFUSERS]
k_walks = [k_walk(*case) for case in KDIFFUSION]
text = json.dumps(
    {"made_by": "solvers.py", "versions": versions, "start": numbers(START), "diffusers": walks, "k_diffusion": k_walks},
    separators=(",", ":"),
)
(HERE / "solvers.json").write_text(text + "\n")
