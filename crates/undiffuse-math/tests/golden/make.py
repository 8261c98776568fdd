"""Golden values for undiffuse-math, computed by Hugging Face diffusers in double precision.

Run from this folder with a Python that has torch and diffusers:  python make.py
Writes schedulers.json (walks of diffusers' schedulers, step by step) and tables.json (their noise levels).

diffusers asks for float32 by name in many places. Here that name means float64, so that its own code, unchanged,
works in double precision and the numbers are good to twelve digits instead of six.

Every walk starts from the same two images and asks the same random network, a small perceptron told the time, whose
answer depends on every input. Noise number d of a walk has the elements 1.5 sin(2 + 3.7 (k + 12 d)), k = 0..11.
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

from schedulers_table import CASES, SD, distilled, sigmas, timesteps

HERE = pathlib.Path(__file__).parent
VERSIONS = {
    "diffusers": diffusers.__version__,
    "torch": torch.__version__,
    "numpy": numpy.__version__,
    "scipy": scipy.__version__,
    "python": platform.python_version(),
}

torch.set_default_dtype(torch.float64)
torch.float32, torch.Tensor.float, numpy.float32 = torch.float64, torch.Tensor.double, numpy.float64

IMAGES, PIXELS, HIDDEN = 2, 6, 4
SHAPE = (IMAGES, 1, 2, 3)
START = torch.linspace(-1.4, 1.6, IMAGES * PIXELS).reshape(SHAPE)


def random_weights():
    """`input` [H, P], `output` [2 P, H], `frequency` [H], `phase` [H]; four decimals, so that JSON keeps them exactly."""
    draw = torch.Generator().manual_seed(2015)
    shapes = {"input": (HIDDEN, PIXELS), "output": (2 * PIXELS, HIDDEN), "frequency": (HIDDEN,), "phase": (HIDDEN,)}
    sizes = {"input": 0.7, "output": 0.7, "frequency": 1.0, "phase": 2.0}
    return {name: (sizes[name] * torch.randn(shape, generator=draw)).round(decimals=4) for name, shape in shapes.items()}


WEIGHTS = random_weights()


def network(x, told):
    """`F = 0.6 x + V tanh(W x + cos(frequency · told + phase))`, and as many answers again for the variance."""
    flat = x.reshape(len(x), PIXELS)
    hidden = torch.tanh(flat @ WEIGHTS["input"].T + torch.cos(WEIGHTS["frequency"] * told + WEIGHTS["phase"]))
    mean, variance = (hidden @ WEIGHTS["output"].T).chunk(2, dim=1)
    return (0.6 * flat + mean).reshape(x.shape), variance.reshape(x.shape)


def score(x, sigma):
    """The network as a score: of the size of that of unit-variance data."""
    scale = (1 + sigma**2).sqrt()
    return -network(x / scale, sigma)[0] / scale


def answer(scheduler, x, told):
    """What the scheduler expects of a network; `learned` wants a variance, `learned_range` a share of a range."""
    mean, variance = network(x, told)
    match scheduler.config.get("variance_type"):
        case "learned":
            return torch.cat([mean, 0.01 * torch.exp(variance)], dim=1)
        case "learned_range" if isinstance(scheduler, (diffusers.DDPMScheduler, diffusers.UnCLIPScheduler)):
            return torch.cat([mean, variance], dim=1)
        case _:
            return mean


def numbers(tensor):
    return [float(f"{v:.10g}") for v in tensor.flatten().tolist()]


class Noise:
    """Stands in for randn_tensor: numbers anyone can repeat, counted."""

    def __init__(self):
        self.count = 0

    def __call__(self, shape, *args, **kwargs):
        k = torch.arange(math.prod(shape)) + IMAGES * PIXELS * self.count
        self.count += 1
        return 1.5 * torch.sin(2.0 + 3.7 * k).reshape(shape)


def walk(name, options, steps, arguments, own):
    scheduler = getattr(diffusers, name)(**options)
    noise = Noise()
    importlib.import_module(type(scheduler).__module__).randn_tensor = noise
    scheduler.set_timesteps(**(own[1] if own else dict(num_inference_steps=steps)))
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise a scheduler whose rounded timesteps begin with a pair of equal ones skips the first.
        scheduler.set_begin_index(0)
    # Inversion begins with a picture, whose values lie in [-1, 1].
    spread = 0.6 if name == "DDIMInverseScheduler" else float(getattr(scheduler, "init_noise_sigma", 1.0))
    x = START * spread
    told, rows, draws = [], [], []
    for x in (score_walk if name == "ScoreSdeVeScheduler" else plain_walk)(scheduler, x, told, arguments):
        rows.append(numbers(x))
        draws.append(noise.count)
    assert all(math.isfinite(v) for row in rows for v in row), (name, options)
    config = json.loads(scheduler.to_json_string().replace("-Infinity", '"-Infinity"'))
    return {
        "config": {k: v for k, v in config.items() if k in options or k == "_class_name"},
        **(dict(spacing=own[0]) if own else {}),
        "steps": len(*own[1].values()) - own[0].startswith("sigmas") if own else steps,
        "arguments": arguments,
        "init_noise_sigma": spread,
        "told": [float(f"{t:.12g}") for t in told],
        "draws": draws,
        "rows": rows,
    }


def plain_walk(scheduler, x, told, arguments):
    before = {}
    for i, t in enumerate(scheduler.timesteps):
        if isinstance(scheduler, diffusers.UnCLIPScheduler):
            # Its pipelines say what comes next.
            before = {"prev_timestep": scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None}
        told.append(float(t))
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(answer(scheduler, scaled, t), t, x, **arguments, **before).prev_sample
        yield x


def score_walk(scheduler, x, told, _):
    """Corrections, then the prediction, at every level; the last one without its noise."""
    scheduler.set_sigmas(len(scheduler.timesteps))
    for sigma, t in zip(scheduler.sigmas, scheduler.timesteps):
        told.append(float(sigma))
        for _ in range(scheduler.config.correct_steps):
            x = scheduler.step_correct(score(x, sigma), x).prev_sample
        out = scheduler.step_pred(score(x, sigma), t, x)
        x = out.prev_sample if len(told) < len(scheduler.timesteps) else out.prev_sample_mean
        yield x


def spacing(name, schedule, own, times):
    """The times of steps that are named one by one."""
    scheduler = getattr(diffusers, name + "Scheduler")()
    scheduler.set_timesteps(**own[1])
    return {"part": own[0], "schedule": schedule, "source": "diffusers, " + name, "times": times(scheduler).tolist()}


def table(options):
    scheduler = diffusers.DDPMScheduler(**options)
    count = scheduler.config.num_train_timesteps
    at = sorted({0, 1, min(10, count - 1), count // 2, count - 1})
    return {"options": options, "timesteps": at, "alpha_bar": [scheduler.alphas_cumprod[t].item() for t in at]}


def write(name, value):
    text = json.dumps({"made_by": "make.py", "versions": VERSIONS, **value}, separators=(",", ":"))
    # A line for each walk: diffs show which ones changed.
    (HERE / name).write_text(text.replace('{"config"', '\n{"config"') + "\n")


quantiles = [1e-300, 1e-20, 1e-10, 1e-5, 0.001, 0.02, 0.07, 0.075, 0.25, 0.5, 0.6, 0.925, 0.93, 0.975, 0.995, 1 - 1e-6]
weights = {name: numbers(values) for name, values in WEIGHTS.items()}
spacings = [
    spacing("DDPM", "linear", timesteps(999, 700, 400, 100, 5), lambda of: of.timesteps),
    spacing("EulerDiscrete", "linear", sigmas(150.0, 20.5, 3.25, 0.5, 0.02), lambda of: of.timesteps),
    spacing("CMStochasticIterative", "edm", distilled(40, 22, 0), lambda of: of.sigmas[:-1]),
]
walks = [walk(*case) for case in CASES]
write("schedulers.json", {"start": numbers(START), "weights": weights, "spacings": spacings, "walks": walks})
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
