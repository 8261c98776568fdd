"""The README's three lines: pictures of a class of a model trained here, in diffusers' stock pipeline.

    python diffusers_classes.py runs/fashion-mnist/model

Needs torch and diffusers (versions in ../golden/requirements.txt). Fails if the pipeline makes pictures without a class after
all, if the three lines make none, or if two classes give the same pictures.
"""

import argparse
import functools

import diffusers
import numpy as np
import torch


def sample(folder: str, label: int | None) -> np.ndarray:
    pipe = diffusers.DDPMPipeline.from_pretrained(folder)
    if label is not None:
        pipe.unet.forward = functools.partial(pipe.unet.forward, class_labels=torch.full((2,), label))
    seed = torch.Generator().manual_seed(0)
    return pipe(batch_size=2, generator=seed, num_inference_steps=10, output_type="np").images


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("model")
    folder = arguments.parse_args().model
    try:
        sample(folder, None)
    except ValueError as refusal:
        print(f"without a class: {refusal}")
    else:
        raise SystemExit("without a class: pictures, so nobody needs the three lines any more")
    first, second = sample(folder, 0), sample(folder, 1)
    assert np.isfinite(first).all() and np.isfinite(second).all()
    assert not np.array_equal(first, second), "two classes, the same pictures"
    print(f"classes 0 and 1: two pictures each, of {first.shape[1:]}")


if __name__ == "__main__":
    main()
