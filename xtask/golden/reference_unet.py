"""The reference U-Net (xtask/bench/networks/reference.json) in PyTorch, double precision, on weights that both sides compute.

Its 26 MB of weights are not stored: SplitMix64 of (index of the parameter among the sorted names, index of the element) makes them here
and in crates/undiffuse-nn/tests/reference_unet.rs. Stored are the output, and of every parameter's gradient the largest magnitude,
the norm and up to 32 elements.
"""

import json

import numpy
import torch
from diffusers import UNet2DModel

from common import NN_FIXTURES, ROOT, VERSIONS, save_tensors, write_json

BATCH = 2
STORED = 32


def splitmix(stream: int, n: int) -> numpy.ndarray:
    """`n` numbers in [-1, 1)."""
    with numpy.errstate(over="ignore"):
        z = (numpy.uint64(stream) << numpy.uint64(32)) | numpy.arange(n, dtype=numpy.uint64)
        z = z * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = (z ^ (z >> numpy.uint64(31))) >> numpy.uint64(40)
    return (z.astype(numpy.float32) / numpy.float32(1 << 23)) - numpy.float32(1)


def value(name: str, shape, stream: int) -> numpy.ndarray:
    """A parameter's values: spread by fan-in, norms near 1."""
    numbers = splitmix(stream, int(numpy.prod(shape))).reshape(shape)
    if len(shape) == 1:
        return numbers * numpy.float32(0.25) + numpy.float32(name.endswith("weight"))
    fan_in = int(numpy.prod(shape[1:]))
    return numbers * numpy.float32((3 / fan_in) ** 0.5)


config = json.loads((ROOT / "xtask/bench/networks/reference.json").read_text())
model = UNet2DModel(**config)
parameters = dict(model.named_parameters())
for stream, name in enumerate(sorted(parameters)):
    with torch.no_grad():
        parameters[name].copy_(torch.from_numpy(value(name, tuple(parameters[name].shape), stream + 1)))
model = model.double()
shape = (BATCH, 3, 32, 32)
x, target = (torch.from_numpy(splitmix(s, int(numpy.prod(shape))).reshape(shape)).double() for s in (10_001, 10_002))
y = model(x, torch.tensor([10, 700])).sample
((y - target) ** 2).mean().backward()

tensors = {"output": y}
for name in sorted(parameters):
    g = parameters[name].grad.flatten()
    step = max(1, len(g) // STORED)
    tensors[f"grad.{name}"] = torch.cat([torch.stack([g.abs().max(), g.norm()]), g[::step][:STORED]])
save_tensors(NN_FIXTURES / "reference_unet.safetensors", tensors)
write_json(NN_FIXTURES / "reference_unet.json", {"versions": VERSIONS, "batch": BATCH, "stored": STORED, "timesteps": [10, 700]})
print(f"output: largest {y.detach().abs().max():.3f}, deviation {y.detach().std():.3f}")
