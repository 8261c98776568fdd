"""The networks of Stable Diffusion 1.5 and 2.1 in their full size, with random weights: diffusers' answers beside those of
`undiffuse predict`; and the whole pipeline of 1.5, from words and noise to a picture, beside `undiffuse sample`.

    python stable_diffusion.py PROGRAM [--only unet-1.5 unet-2.1 vae pipeline] [--side 256]

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt), and 10 GB of memory and disk. Fails where the answers
differ by more than 1e-4 of the largest, 1e-3 of the whole pipeline.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
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


def text_encoder(folder: pathlib.Path):
    """1.5's, for a small vocabulary that is learned here."""
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    from words import END, configure, learn
    learn(folder / "vocabulary")
    configure(folder / "vocabulary", END)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "vocabulary", model_max_length=77)
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, eos_token_id=tokenizer.eos_token_id)
    return tokenizer, CLIPTextModel(config).eval()


def pipeline(program: str, side: int):
    """Four steps with guidance and a negative prompt, from process start to picture on our side."""
    torch.manual_seed(0)
    prompt, negative, steps = "a red heart and three blue circles", "oil on canvas", 4
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        tokenizer, encoder = text_encoder(scratch)
        scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                                  set_alpha_to_one=False, steps_offset=1)
        whole = StableDiffusionPipeline(AutoencoderKL(**VAE).eval(), encoder, tokenizer, unet(UNETS["unet-1.5"], side)[0], scheduler,
                                        None, None, requires_safety_checker=False)
        whole.save_pretrained(scratch / "pipeline")
        noise = torch.randn(1, 4, side // 8, side // 8)
        began = time.monotonic()
        with torch.inference_mode():
            latents = whole(prompt, negative_prompt=negative, num_inference_steps=steps, latents=noise, height=side, width=side,
                            output_type="latent").images
            theirs = whole.vae.decode(latents / whole.vae.config.scaling_factor).sample
        took = time.monotonic() - began
        del whole, encoder
        save_file({"init_noise": noise}, scratch / "noise.safetensors")
        asked = ["--prompt", prompt, "--negative", negative, "--steps", str(steps), "--size", f"{side}x{side}", "--plain"]
        places = ["--init-noise", scratch / "noise.safetensors", "--raw", scratch / "raw.safetensors", "--out", scratch / "out"]
        began = time.monotonic()
        subprocess.run([program, "sample", scratch / "pipeline", *asked, *places], check=True, capture_output=True)
        ours = load_file(scratch / "raw.safetensors")["sample"]
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"pipeline: {tuple(ours.shape)} differs by {difference:.1e} of the largest; diffusers {took:.1f} s, undiffuse "
          f"{time.monotonic() - began:.1f} s with reading the weights, {peak:.1f} GiB at most", flush=True)
    assert ours.shape == theirs.shape and difference <= 1e-3


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("--only", nargs="+", choices=[*UNETS, "vae", "pipeline"], default=[*UNETS, "vae", "pipeline"])
    arguments.add_argument("--side", type=int, default=256)
    given = arguments.parse_args()
    for name in given.only:
        if name == "pipeline":
            pipeline(given.program, given.side)
        else:
            compare(given.program, name, given.side)


if __name__ == "__main__":
    main()
