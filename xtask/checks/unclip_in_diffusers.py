"""A decoder or an upsampler that was trained here, in diffusers and transformers: the same picture from the same noise and the same picture to go by.

    python unclip_in_diffusers.py PROGRAM runs/decoder cat.png
    python unclip_in_diffusers.py PROGRAM runs/upsampler small.png

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt), and a picture at the size of the CLIP's, or of the
upsampler's small ones. Fails where the pictures differ by more than 1e-3, or 2e-2 where Pillow resized one.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import diffusers
import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

STEPS = 10


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.tensor(numpy.array(image.convert("RGB")), dtype=torch.float32).permute(2, 0, 1)[None] / 127.5 - 1


def decoder(folder: pathlib.Path, card: dict, path: str):
    """What the network answers when it is told the vector of a picture."""
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    reading = transformers.CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    vector = encoder(reading(Image.open(path).convert("RGB"), return_tensors="pt").pixel_values).image_embeds
    told = (vector / vector.norm(dim=-1, keepdim=True) - torch.tensor(card["mean"])) / card["std"]
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    return unet.config, lambda x, t: unet(x, t, told[:, None].float(), class_labels=told.float()).sample


def upsampler(folder: pathlib.Path, card: dict, path: str):
    """The same when it is shown a small picture."""
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    side = unet.config.sample_size
    shown = pixels(Image.open(path).convert("RGB").resize((side, side), Image.LANCZOS))
    return unet.config, lambda x, t: unet(torch.cat([x, shown], 1), t, class_labels=torch.zeros(1)).sample


KINDS = {"picture": (decoder, 1e-3), "small": (upsampler, 2e-2)}


def theirs(folder: pathlib.Path, network, process: dict, x: torch.Tensor) -> torch.Tensor:
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
    with tempfile.TemporaryDirectory() as scratch:
        noise, raw = pathlib.Path(scratch) / "noise.safetensors", pathlib.Path(scratch) / "raw.safetensors"
        save_file({"init_noise": x}, noise)
        how = ["--solver", "ddim", "--spacing", "trailing", "--steps", str(STEPS), "--guidance", "1"]
        where = ["--init-noise", noise, "--raw", raw, "--out", scratch + "/out"]
        subprocess.run([program, "sample", folder, *how, *what, *where], check=True, capture_output=True)
        return next(iter(load_file(raw).values()))


def main():
    program, run, path = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    folder = run / "model" if (run / "model").is_dir() else run
    about = json.loads((folder / "undiffuse.json").read_text())
    card = about["condition"]
    kind, tolerance = KINDS[card["kind"]]
    with torch.inference_mode():
        config, network = kind(folder, card, path)
        noise = torch.randn(1, 3, config.sample_size, config.sample_size, generator=torch.Generator().manual_seed(0))
        expected = theirs(folder, network, about.get("process"), noise)
    difference = (ours(program, folder, [f"--{card['kind']}", path], noise) - expected).abs().max().item()
    print(f"{run}: differs by {difference:.1e}")
    assert difference <= tolerance


if __name__ == "__main__":
    main()
