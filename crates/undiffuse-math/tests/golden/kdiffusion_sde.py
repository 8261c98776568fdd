"""Golden values for the solvers that add noise, by k-diffusion, diffusers and the authors of ER-SDE-Solver,
step by step in double precision.

    pip download --no-deps k-diffusion==0.1.1.post1
    git clone https://github.com/QinpengCui/ER-SDE-Solver          (commit 25ca6c2)
    python kdiffusion_sde.py k_diffusion-0.1.1.post1-py3-none-any.whl ER-SDE-Solver/er_sde_solver.py

needs torch, diffusers, scipy and tqdm, and writes kdiffusion_sde.json beside itself. Only k-diffusion's sampling.py runs; what it
imports and these samplers do not use is stood in for. diffusers' SA-Solver walks with x / alpha recorded. ER-SDE-Solver integrates by
a sum over 100 points; here over ten million, to compare with the integral. The model is a smooth function of x and sigma; noise is given
by a formula and recorded.
"""

import json
import pathlib
import platform
import sys
import types
import zipfile

import diffusers
import torch

torch.set_default_dtype(torch.float64)
WHEEL, ER_SDE = map(pathlib.Path, sys.argv[1:3])
SIZE = 3


def sampling():
    """k-diffusion's module of samplers, alone."""
    package = types.ModuleType("k_diffusion")
    package.utils = types.ModuleType("k_diffusion.utils")
    package.utils.append_dims = lambda x, ndim: x[(...,) + (None,) * (ndim - x.ndim)]
    stand_ins = {"k_diffusion": package, "k_diffusion.utils": package.utils}
    for name, unused in [("torchdiffeq", "odeint"), ("torchsde", "BrownianTree")]:
        stand_ins[name] = types.ModuleType(name)
        setattr(stand_ins[name], unused, None)
    sys.modules.update(stand_ins)
    module = types.ModuleType("k_diffusion.sampling")
    module.__package__ = "k_diffusion"
    exec(zipfile.ZipFile(WHEEL).read("k_diffusion/sampling.py"), module.__dict__)
    return module


K = sampling()


class Noise:
    """Numbers that anyone can repeat, recorded one draw at a time."""

    def __init__(self):
        self.drawn = []

    def fresh(self, *_):
        k = torch.arange(SIZE) + SIZE * len(self.drawn)
        self.drawn.append(1.5 * torch.sin(2.0 + 3.7 * k))
        return self.drawn[-1]


class OnePath(Noise):
    """Noise of overlapping intervals as the reverse SDE itself has it: that of the first half, then of the whole."""

    eta = 1.0

    def fresh(self, start, end):
        z = super().fresh()
        if len(self.drawn) % 2:
            self.half, self.middle = z, end
            return z
        _, first = K.get_ancestral_step(start, self.middle, self.eta)
        down, _ = K.get_ancestral_step(self.middle, end, self.eta)
        _, whole = K.get_ancestral_step(start, end, self.eta)
        carried = down / self.middle * first / whole
        return carried * self.half + (1 - carried**2).sqrt() * z


def model(x, sigma):
    return torch.tanh(0.8 * x / (1.0 + 0.3 * sigma)) + 0.2 * torch.cos(sigma + x)


def numbers(tensor):
    return [float(f"{v:.12g}") for v in tensor.flatten().tolist()]


def walk(solver, name, sigmas, noise, **options):
    calls = []

    def recorded(x, sigma):
        answer = model(x, sigma)
        calls.append({"sigma": float(sigma[0]), "x": numbers(x), "denoised": numbers(answer)})
        return answer

    sampler = getattr(K, name)
    x = sigmas[0] * torch.linspace(-1.4, 1.6, SIZE)
    if noise is not None:
        options["noise_sampler"] = noise.fresh
    else:
        # Heun asks for noise at every step and uses it where it churns.
        noise = Noise()
        low, high = options.get("s_tmin", 0.0), options.get("s_tmax", float("inf"))
        used = iter([low <= float(sigma) <= high for sigma in sigmas[:-1]])
        K.torch = types.SimpleNamespace(randn_like=lambda x: noise.fresh() if next(used) else torch.zeros_like(x))
    end = sampler(recorded, x, sigmas, disable=True, **options)
    K.torch = torch
    drawn = noise.drawn[1:] if name == "sample_heun" and calls[0]["sigma"] > float(sigmas[0]) else noise.drawn
    return {
        "solver": solver,
        "sigmas": [float(s) for s in sigmas],
        "noise": [numbers(z) for z in drawn],
        "calls": calls,
        "end": numbers(end),
    }


def sa_walk(solver, tau, **options):
    scheduler = diffusers.SASolverScheduler(prediction_type="sample", tau_func=lambda t: torch.tensor(tau), **options)
    scheduler.set_timesteps(9)
    scheduler.sigmas = scheduler.sigmas.double()
    sigmas = [float(s) for s in scheduler.sigmas]
    noise = Noise()
    sys.modules[type(scheduler).__module__].randn_tensor = lambda *args, **kwargs: noise.fresh()
    alpha = lambda sigma: (1 + sigma**2) ** -0.5
    x = torch.linspace(-1.4, 1.6, SIZE)
    calls = []
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas):
        y = x / alpha(sigma)
        answer = model(y, sigma)
        calls.append({"sigma": float(sigma), "x": numbers(y), "denoised": numbers(answer)})
        x = scheduler.step(answer, t, x).prev_sample
    return {
        "solver": solver,
        "sigmas": sigmas,
        # Noise is drawn at every step, also where none is used.
        "noise": [numbers(z) for i, z in enumerate(noise.drawn) if tau > 0 and sigmas[i + 1] < sigmas[i]],
        "calls": calls,
        "end": numbers(x / alpha(scheduler.sigmas[-1])),
    }


def er_walk(solver, name, sigmas):
    module = types.ModuleType("er_sde_solver")
    exec(ER_SDE.read_text().replace("nums_intergrate = 100.0", "nums_intergrate = 1e7"), module.__dict__)
    noise, calls = Noise(), []
    module.torch = types.SimpleNamespace(**{**vars(torch), "randn_like": lambda x: noise.fresh()})
    module.np = torch  # It mixes the two; their names agree.

    def recorded(x, sigma):
        answer = model(x, sigma)
        calls.append({"sigma": float(sigma), "x": numbers(x), "denoised": numbers(answer)})
        return answer

    x = sigmas[0] * torch.linspace(-1.4, 1.6, SIZE)
    end = getattr(module.ER_SDE_Solver(), name)(recorded, x, sigmas, sigmas)
    return {
        "solver": solver,
        "sigmas": [float(s) for s in sigmas],
        "noise": [numbers(z) for z, s in zip(noise.drawn, sigmas[1:]) if s > 0],
        "calls": calls,
        "end": numbers(end),
        "tolerance": 1e-6,
    }


KARRAS = K.get_sigmas_karras(9, 0.02, 80.0)
UNEVEN = torch.tensor([14.6, 9.0, 8.2, 2.1, 1.9, 0.4, 0.03])
CASES = []
for sigmas in [KARRAS, UNEVEN]:
    for tag, name in [
        ("dpm2-ancestral", "sample_dpm_2_ancestral"),
        ("dpmpp-2s-ancestral", "sample_dpmpp_2s_ancestral"),
        ("dpmpp-3m-sde", "sample_dpmpp_3m_sde"),
    ]:
        CASES.append(walk(tag, name, sigmas, Noise()))
        CASES.append(walk(f"{tag}:eta=0.6", name, sigmas, Noise(), eta=0.6))
    CASES.append(walk("dpmpp-sde:one_path=false", "sample_dpmpp_sde", sigmas, Noise()))
    CASES.append(walk("dpmpp-sde:eta=0.6,one_path=false", "sample_dpmpp_sde", sigmas, Noise(), eta=0.6))
    CASES.append(walk("dpmpp-sde", "sample_dpmpp_sde", sigmas, OnePath()))
    CASES.append(walk("heun", "sample_heun", sigmas, None, s_churn=0.0, s_tmin=1e9))
    CASES.append(walk("heun:churn=40", "sample_heun", sigmas, None, s_churn=40.0, s_tmin=1e-9))
    churn = dict(s_churn=2.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.003)
    CASES.append(walk("heun:churn=2,s_max=50,s_min=0.05,s_noise=1.003", "sample_heun", sigmas, None, **churn))

CASES.append(sa_walk("sa-solver", 1.0))
CASES.append(sa_walk("sa-solver:tau=0.6", 0.6, use_karras_sigmas=True))
CASES.append(sa_walk("sa-solver:predictor=3,corrector=3,tau=0", 0.0, predictor_order=3, corrector_order=3))
CASES.append(sa_walk("sa-solver:predictor=3,corrector=4", 1.0, predictor_order=3, corrector_order=4))
CASES.append(sa_walk("sa-solver:predictor=1,corrector=1", 1.0, predictor_order=1, corrector_order=1))
CASES.append(sa_walk("sa-solver:predictor=4,corrector=2", 1.0, predictor_order=4, corrector_order=2))
for sigmas in [KARRAS, UNEVEN]:
    CASES.append(er_walk("er-sde", "ve_3_order_taylor", sigmas))
    CASES.append(er_walk("er-sde:order=2", "ve_2_order_taylor", sigmas))
    CASES.append(er_walk("er-sde:order=1", "ve_1_order", sigmas))

versions = {"k_diffusion": WHEEL.name.split("-")[1], "diffusers": diffusers.__version__, "torch": torch.__version__, "python": platform.python_version()}
out = {"made_by": "kdiffusion_sde.py", "versions": versions, "walks": CASES}
path = pathlib.Path(__file__).with_name("kdiffusion_sde.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
