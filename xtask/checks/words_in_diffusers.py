"""A model of words that was trained here, part by part in diffusers and transformers: the same picture from the same noise and words.

    python words_in_diffusers.py PROGRAM runs/scenes "a red circle left of a blue square"

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt). Fails where the pictures differ by more than 1e-3.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file

STEPS = 10


def theirs(folder: pathlib.Path, prompt: str, x: torch.Tensor) -> torch.Tensor:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    process = json.loads((folder / "undiffuse.json").read_text()).get("process")
    if process:  # v-prediction for data of another spread than 1, for which there is no scheduler: see V in undiffuse-math
        assert process["schedule"]["kind"] == "cosine" and process["parameterization"]["kind"] == "v", process
        spread = process["parameterization"]["sigma_data"]
        scheduler = diffusers.DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample", timestep_spacing="trailing")
    else:
        scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler", timestep_spacing="trailing")
    words = encoder(tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids)
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        alpha, sigma = scheduler.alphas_cumprod[t] ** 0.5, (1 - scheduler.alphas_cumprod[t]) ** 0.5
        n = (sigma**2 + (alpha * spread) ** 2) ** 0.5 if process else 1.0
        answer = unet(x / n, t, words.last_hidden_state, class_labels=words.pooler_output).sample
        if process:
            answer = alpha * (spread / n) ** 2 * x - sigma * spread / n * answer
        x = scheduler.step(answer, t, x, use_clipped_model_output=True).prev_sample
    return x


def ours(program: str, folder: pathlib.Path, prompt: str, x: torch.Tensor) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as scratch:
        noise, raw = pathlib.Path(scratch) / "noise.safetensors", pathlib.Path(scratch) / "raw.safetensors"
        save_file({"init_noise": x}, noise)
        how = ["--solver", "ddim", "--spacing", "trailing", "--steps", str(STEPS), "--guidance", "1"]
        what = ["--prompt", prompt, "--emphasis", "none", "--init-noise", noise, "--raw", raw, "--out", scratch + "/out"]
        subprocess.run([program, "sample", folder, *how, *what], check=True, capture_output=True)
        return next(iter(load_file(raw).values()))


def main():
    program, run, prompt = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    folder = run / "model" if (run / "model").is_dir() else run
    size = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    noise = torch.randn(1, size["in_channels"], size["sample_size"], size["sample_size"], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(folder, prompt, noise)
    difference = (ours(program, folder, prompt, noise) - expected).abs().max().item()
    print(f"{run}: {prompt!r} differs by {difference:.1e}")
    assert difference <= 1e-3


if __name__ == "__main__":
    main()
