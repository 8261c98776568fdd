"""The networks of Stable Diffusion 1.5 and 2.1 in their full size, with random weights: diffusers' answers beside those of
`undiffuse predict`.

    python stable_diffusion.py PROGRAM [--only unet-1.5 unet-2.1 vae] [--side 256]

Needs torch and diffusers (versions in ../golden/requirements.txt), and 8 GB of memory and disk. Fails where the answers differ by more than
1e-4 of the largest.
"""

import argparse
import pathlib
import resource
import subprocess
import tempfile
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

UNETS = {
    "unet-1.5": dict(cross_attention_dim=768),
    "unet-2.1": dict(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True, upcast_attention=True),
}
VAE = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, block_out_channels=(128, 256, 512, 512),
           layers_per_block=2, sample_size=512)


def unet(options, side) -> tuple:
    """A network, and pairs of what it is given and a function of the answer: two pictures, of which one ignores some words."""
    network = UNet2DConditionModel(sample_size=64, **options).eval()
    given = {"sample": torch.randn(2, 4, side // 8, side // 8), "timestep": torch.tensor([801.0, 21.0]),
             "encoder_hidden_states": torch.randn(2, 77, options["cross_attention_dim"]), "encoder_attention_mask": torch.ones(2, 77)}
    given["encoder_attention_mask"][1, 40:] = 0
    def run():
        return network(given["sample"], given["timestep"], given["encoder_hidden_states"],
                       encoder_attention_mask=given["encoder_attention_mask"]).sample
    return network, [(given, "sample", run)]


def vae(side) -> tuple:
    """The same of the autoencoder: a picture encoded, latents decoded."""
    network = AutoencoderKL(**VAE).eval()
    picture, latents = torch.rand(1, 3, side, side) * 2 - 1, torch.randn(1, 4, side // 8, side // 8)
    return network, [({"sample": picture}, "moments", lambda: network.encode(picture).latent_dist.parameters),
                     ({"latents": latents}, "sample", lambda: network.decode(latents).sample)]


def compare(program: str, name: str, side: int):
    torch.manual_seed(0)
    network, pairs = vae(side) if name == "vae" else unet(UNETS[name], side)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        network.save_pretrained(scratch / "network")
        asked, answered = scratch / "in.safetensors", scratch / "out.safetensors"
        for given, out, run in pairs:
            began = time.monotonic()
            with torch.inference_mode():
                theirs = run()
            took = time.monotonic() - began
            save_file({key: value.contiguous() for key, value in given.items()}, asked)
            began = time.monotonic()
            subprocess.run([program, "predict", scratch / "network", "--input", asked, "--output", answered], check=True, capture_output=True)
            ours = load_file(answered)[out]
            difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"{name}: {out} {tuple(ours.shape)} differs by {difference:.1e} of the largest; diffusers {took:.1f} s, "
                  f"undiffuse {time.monotonic() - began:.1f} s with reading the weights, {peak:.1f} GiB at most", flush=True)
            assert ours.shape == theirs.shape and difference <= 1e-4


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("--only", nargs="+", choices=[*UNETS, "vae"], default=[*UNETS, "vae"])
    arguments.add_argument("--side", type=int, default=256)
    given = arguments.parse_args()
    for name in given.only:
        compare(given.program, name, given.side)


if __name__ == "__main__":
    main()
