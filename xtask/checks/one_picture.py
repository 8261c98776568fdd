"""One picture twice, from the same noise: by diffusers' DDIM around a network there, and by the program. Of the checks beside it."""

import json
import pathlib
import subprocess
import tempfile

import diffusers
import torch
from safetensors.torch import load_file, save_file

STEPS = 10


def folder_of(run: pathlib.Path) -> pathlib.Path:
    return run / "model" if (run / "model").is_dir() else run


def theirs(folder: pathlib.Path, network, x: torch.Tensor) -> torch.Tensor:
    """Walks down from `x`; `network(x, t)` is what the network answers."""
    process = json.loads((folder / "undiffuse.json").read_text()).get("process")
    if process:  # v-prediction for data of another spread than 1, for which there is no scheduler: see V in undiffuse-math
        assert process["schedule"]["kind"] == "cosine" and process["parameterization"]["kind"] == "v", process
        spread = process["parameterization"]["sigma_data"]
        scheduler = diffusers.DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample", timestep_spacing="trailing")
    else:
        scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler", timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        alpha, sigma = scheduler.alphas_cumprod[t] ** 0.5, (1 - scheduler.alphas_cumprod[t]) ** 0.5
        n = (sigma**2 + (alpha * spread) ** 2) ** 0.5 if process else 1.0
        answer = network(x / n, t)
        if process:
            answer = alpha * (spread / n) ** 2 * x - sigma * spread / n * answer
        x = scheduler.step(answer, t, x, use_clipped_model_output=True).prev_sample
    return x


def ours(program: str, folder: pathlib.Path, what: list, x: torch.Tensor) -> torch.Tensor:
    """What `undiffuse sample` makes of the same noise when it is asked for `what`."""
    with tempfile.TemporaryDirectory() as scratch:
        noise, raw = pathlib.Path(scratch) / "noise.safetensors", pathlib.Path(scratch) / "raw.safetensors"
        save_file({"init_noise": x}, noise)
        how = ["--solver", "ddim", "--spacing", "trailing", "--steps", str(STEPS), "--guidance", "1"]
        where = ["--init-noise", noise, "--raw", raw, "--out", scratch + "/out"]
        subprocess.run([program, "sample", folder, *how, *what, *where], check=True, capture_output=True)
        return next(iter(load_file(raw).values()))


def compare(program: str, folder: pathlib.Path, network, side: int, what: list, tolerance: float):
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(folder, network, noise)
    difference = (ours(program, folder, what, noise) - expected).abs().max().item()
    print(f"{folder}: differs by {difference:.1e}")
    assert difference <= tolerance
