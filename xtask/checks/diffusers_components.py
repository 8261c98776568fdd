"""A network that was trained here, opened in diffusers as a component: its answers beside those of `undiffuse predict`.

    python diffusers_components.py PROGRAM runs/dit/model/transformer runs/haar/model/unet

Needs torch and diffusers (versions in ../golden/requirements.txt). Each folder is a network's own, with `config.json` and weights and
nothing around it. Fails where the answers differ by more than 1e-4 of the largest.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import diffusers
import torch
from safetensors.torch import load_file, save_file


def inputs(config: dict) -> dict[str, torch.Tensor]:
    """Two pictures of noise, a late and an early timestep, and two labels where the network has classes."""
    size = config["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    generator = torch.Generator().manual_seed(0)
    given = {
        "sample": torch.randn(2, config["in_channels"], height, width, generator=generator),
        "timestep": torch.tensor([900.0, 30.0]),
    }
    if config.get("num_class_embeds") or config.get("num_embeds_ada_norm"):
        given["class_labels"] = torch.tensor([1, 0])
    return given


def compare(program: str, folder: pathlib.Path):
    config = json.loads((folder / "config.json").read_text())
    given = inputs(config)
    network = getattr(diffusers, config["_class_name"]).from_pretrained(folder).eval()
    with torch.inference_mode():
        kept = {"timestep": given["timestep"]} | {name: value for name, value in given.items() if name == "class_labels"}
        theirs = network(given["sample"], **kept).sample
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = pathlib.Path(scratch) / "in.safetensors", pathlib.Path(scratch) / "out.safetensors"
        save_file(given, asked)
        subprocess.run([program, "predict", folder, "--input", asked, "--output", answered], check=True, capture_output=True)
        ours = load_file(answered)["sample"]
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    print(f"{folder}: {config['_class_name']}, {tuple(theirs.shape)}, differs by {difference:.1e} of the largest")
    assert ours.shape == theirs.shape and difference <= 1e-4


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("folder", nargs="+", type=pathlib.Path)
    given = arguments.parse_args()
    for folder in given.folder:
        compare(given.program, folder)


if __name__ == "__main__":
    main()
