"""Golden values of `AutoencoderKL` and `AutoencoderTiny`: what `unet.py` makes of U-Nets, for encoders and decoders of pictures.

`io.safetensors` holds `sample` → `moments` (or `latents.encoded` of a tiny one), `latents` → `decoded`, and of larger pictures the same in
tiles of `sample_size` pixels: `tiled.sample` → `tiled.moments`, `tiled.latents` → `tiled.decoded`.
"""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from common import folder_kib, make_fixtures, normal, randomise, relative_error, save_tensors

BATCH = 3
DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
SMALL_KL = dict(in_channels=3, out_channels=3, down_block_types=(DOWN, DOWN), up_block_types=(UP, UP), block_out_channels=(4, 8),
                layers_per_block=1, latent_channels=2, norm_num_groups=2, sample_size=8)
SMALL_TINY = dict(encoder_block_out_channels=(5, 5), decoder_block_out_channels=(5, 5), num_encoder_blocks=(1, 2), num_decoder_blocks=(2, 1))
# class, name, what it covers, options, (height, width), the same of pictures that are cut in tiles
ROWS = [
    (AutoencoderKL, "plain", "the parts of Stable Diffusion's, small; tiles", {}, (8, 8), (20, 14)),
    (AutoencoderKL, "bare", "no attention, no maps beside encoder and decoder, pictures that are no squares, another activation",
     dict(mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False, act_fn="gelu", in_channels=1, out_channels=2,
          shift_factor=0.1), (6, 4), None),
    (AutoencoderKL, "three-stages", "three stages, two layers each; tiles, the last of them narrow",
     dict(block_out_channels=(2, 4, 4), down_block_types=(DOWN,) * 3, up_block_types=(UP,) * 3, layers_per_block=2, norm_num_groups=1, sample_size=16), (8, 12),
     (28, 36)),
    (AutoencoderTiny, "tiny", "the defaults, small", SMALL_TINY, (8, 12), None),
    (AutoencoderTiny, "tiny-silu", "three stages, one of them without blocks, another activation, one channel",
     dict(encoder_block_out_channels=(4, 4, 4), decoder_block_out_channels=(3, 3, 3), num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 0, 1),
          in_channels=1, out_channels=1, latent_channels=3, act_fn="silu"), (8, 8), None),
]
# Options of the forward pass that fit the same weights, each with another value.
OTHERWISE = dict(norm_num_groups=lambda c: dict(norm_num_groups=1 if c["norm_num_groups"] > 1 else 2), act_fn=lambda c: dict(act_fn="mish"))


def build(kind, options):
    """The network in double precision, ready to predict."""
    return kind(**(SMALL_KL | options if kind is AutoencoderKL else options)).eval().double()


def encode(model, x) -> torch.Tensor:
    """What a picture is encoded to, in the precision of `model`."""
    code = model.encode(x.to(next(model.parameters()).dtype))
    return code.latent_dist.parameters if isinstance(model, AutoencoderKL) else code.latents


def decode(model, z) -> torch.Tensor:
    """The picture of latents, in the precision of `model`."""
    return model.decode(z.to(next(model.parameters()).dtype)).sample


def both(model, io) -> torch.Tensor:
    """All that comes out, in a row."""
    return torch.cat([encode(model, io["sample"]).flatten(), decode(model, io["latents"]).flatten()])


def dimmest(model, io, output) -> list:
    """The parameter whose loss (read as zero) moves the output least, and how far; offsets of keys cannot be seen."""
    weakest = (float("inf"), "")
    for name, parameter in model.named_parameters():
        if name.endswith("to_k.bias"):
            continue
        kept = parameter.detach().clone()
        parameter.data.zero_()
        weakest = min(weakest, (relative_error(both(model, io), output), name))
        parameter.data.copy_(kept)
    assert weakest[0] > 5e-4, f"the output hardly depends on {weakest}"
    return [weakest[1], float(f"{weakest[0]:.1e}")]


@torch.no_grad()
def make(kind, name, covers, options, size, tiles, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    model = build(kind, options)
    randomise(model, "autoencoder", name)
    if folder.exists():
        shutil.rmtree(folder)
    model.float().save_pretrained(folder)
    single = kind.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    model = build(kind, options)
    model.load_state_dict(single.state_dict())
    stages = len(model.config.block_out_channels)
    latent = [side >> (stages - 1) for side in size]
    io = {"sample": normal((BATCH, model.config.in_channels, *size), "autoencoder", name, "sample"),
          "latents": normal((BATCH, model.config.latent_channels, *latent), "autoencoder", name, "latents")}
    output = both(model, io)
    moved = {}
    for option, other in OTHERWISE.items():
        if option not in model.config:
            continue
        changed = build(kind, options | other(model.config))
        changed.load_state_dict(model.state_dict())
        moved[option] = float(f"{relative_error(both(changed, io), output):.1e}")
        assert moved[option] > 1e-3, moved
    float32_error = relative_error(both(single, io), output)
    stored = io | {"moments" if kind is AutoencoderKL else "encoded": encode(model, io["sample"]), "decoded": decode(model, io["latents"])}
    if tiles:
        shape = (2, model.config.in_channels, *tiles)
        picture = normal(shape, "autoencoder", name, "tiled.sample")
        latents = normal((2, model.config.latent_channels, *(side >> (stages - 1) for side in tiles)), "autoencoder", name, "tiled.latents")
        whole = encode(model, picture), decode(model, latents)
        model.enable_tiling()
        tiled = encode(model, picture), decode(model, latents)
        moved["tiles"] = [float(f"{relative_error(a, b):.1e}") for a, b in zip(tiled, whole)]
        stored |= {"tiled.sample": picture, "tiled.latents": latents, "tiled.moments": tiled[0], "tiled.decoded": tiled[1]}
    least = dimmest(single.double(), io, output)
    save_tensors(folder / "io.safetensors", stored)
    return {"name": name, "class": kind.__name__, "covers": covers, "options": options, "output_std": float(f"{output.std():.3g}"),
            "float32_error": float(f"{float32_error:.1e}"), "least_seen_parameter": least, "noticed": moved, "kib": round(folder_kib(folder))}


if __name__ == "__main__":
    make_fixtures(__doc__, "autoencoder", ROWS, make, named=1)
