"""A CLIP that was trained here, opened by transformers: the same vectors of the same texts and pictures.

    python clip_in_transformers.py PROGRAM runs/clip PICTURES "a red circle" "a blue square"

Tokens and pixels are made by transformers from the folder's own files; `undiffuse predict` makes vectors of them, and `undiffuse
search` cosines of the texts with all of PICTURES, a folder of pictures of the CLIP's size. Needs torch, transformers and Pillow (versions in
../golden/requirements.txt). Fails where a unit vector or a cosine differs by more than 1e-5.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import PIL.Image
import torch
import transformers
from safetensors.torch import load_file, save_file

MOST = 64


def ours(program: str, folder: pathlib.Path, tensors: dict, key: str) -> torch.Tensor:
    """What `predict` makes of tensors."""
    with tempfile.TemporaryDirectory() as scratch:
        given, made = pathlib.Path(scratch) / "given.safetensors", pathlib.Path(scratch) / "made.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, given)
        subprocess.run([program, "predict", folder, "--input", given, "--output", made], check=True, capture_output=True)
        return load_file(made)[key]


def main():
    program, run, place, texts = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:]
    folder = run / "model" if (run / "model").is_dir() else run
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    words = transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").eval()
    pictures = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    extractor = transformers.CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    unit = lambda x: x / x.norm(dim=-1, keepdim=True)

    paths = sorted(place.rglob("*.png"))[:MOST]
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    pixels = extractor([PIL.Image.open(path).convert("RGB") for path in paths], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        told, seen = unit(words(**tokens).text_embeds), unit(pictures(pixels).image_embeds)
    of_words = unit(ours(program, folder / "text_encoder", {"input_ids": tokens["input_ids"].float()}, "text_embeds"))
    of_pictures = unit(ours(program, folder / "image_encoder", {"pixel_values": pixels.float()}, "image_embeds"))
    differences = {"texts": (of_words - told).abs().max().item(), "pictures": (of_pictures - seen).abs().max().item()}

    for text, vector in zip(texts, told):
        how = ["--data", place, "-n", str(10**6), "--json"]
        found = json.loads(subprocess.run([program, "search", run, text, *how], check=True, capture_output=True).stdout)
        cosines = {picture["path"]: picture["cosine"] for picture in found["pictures"]}
        own = (seen @ vector).tolist()
        differences[f"cosines of {text!r}"] = max(abs(cosines[str(path)] - cosine) for path, cosine in zip(paths, own))
    for what, difference in differences.items():
        print(f"{what}: {difference:.1e}")
    assert max(differences.values()) <= 1e-5


if __name__ == "__main__":
    main()
