"""A decoder or an upsampler that was trained here, in diffusers and transformers: the same picture from the same noise and the same picture to go by.

    python unclip_in_diffusers.py PROGRAM runs/decoder cat.png
    python unclip_in_diffusers.py PROGRAM runs/upsampler small.png

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt), and a picture at the size of the CLIP's, or of the
upsampler's small ones. Fails where the pictures differ by more than 1e-3, or 2e-2 where Pillow resized one.
"""

import json
import pathlib
import sys

import diffusers
import numpy
import torch
import transformers
from PIL import Image

import one_picture


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.tensor(numpy.array(image.convert("RGB")), dtype=torch.float32).permute(2, 0, 1)[None] / 127.5 - 1


def decoder(folder: pathlib.Path, card: dict, path: str):
    """What the network answers when it is told the vector of a picture."""
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    reading = transformers.CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    vector = encoder(reading(Image.open(path).convert("RGB"), return_tensors="pt").pixel_values).image_embeds
    told = (vector / vector.norm(dim=-1, keepdim=True) - torch.tensor(card["mean"])) / card["std"]
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    return unet.config.sample_size, lambda x, t: unet(x, t, told[:, None].float(), class_labels=told.float()).sample


def upsampler(folder: pathlib.Path, card: dict, path: str):
    """The same when it is shown a small picture."""
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    side = unet.config.sample_size
    shown = pixels(Image.open(path).convert("RGB").resize((side, side), Image.LANCZOS))
    return unet.config.sample_size, lambda x, t: unet(torch.cat([x, shown], 1), t, class_labels=torch.zeros(1)).sample


KINDS = {"picture": (decoder, 1e-3), "small": (upsampler, 2e-2)}


def main():
    program, run, path = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    folder = one_picture.folder_of(run)
    card = json.loads((folder / "undiffuse.json").read_text())["condition"]
    kind, tolerance = KINDS[card["kind"]]
    side, network = kind(folder, card, path)
    one_picture.compare(program, folder, network, side, [f"--{card['kind']}", path], tolerance)


if __name__ == "__main__":
    main()
