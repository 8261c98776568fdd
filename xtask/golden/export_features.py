"""A feature network of one's own for `undiffuse eval --features`: any PyTorch network of these layers, as one file.

This is the example of docs/features.md. It makes a small random network; a trained one is exported in the same way.
"""

import json
import sys

import safetensors.torch
import torch
from torch import nn

LAYERS = [
    {"layer": "conv", "name": "stem", "out": 24, "kernel": 3, "stride": 2, "padding": 1, "bias": False,
     "norm": {"name": "norm"}, "activation": "relu"},
    {"layer": "residual", "activation": "relu", "layers": [
        {"layer": "conv", "name": "wide", "out": 24, "kernel": 3, "padding": 1, "depthwise": True, "activation": "silu"},
        {"layer": "conv", "name": "narrow", "out": 24, "kernel": 1}]},
    {"layer": "branches", "branches": [
        [{"layer": "conv", "name": "across", "out": 20, "kernel": [1, 5], "padding": [0, 2], "activation": "gelu"}],
        [{"layer": "avg-pool", "kernel": 3, "padding": 1}],
        []]},
    {"layer": "max-pool", "kernel": 5, "stride": 4, "padding": 2},
    {"layer": "flatten"},
    {"layer": "linear", "name": "out", "out": 16},
]
INPUT = {"size": [20, 24], "channels": 3, "resize": "pillow-bicubic", "mean": [0.5] * 3, "std": [0.25] * 3}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)
        self.wide, self.narrow = nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 24, 1)
        self.across = nn.Conv2d(24, 20, (1, 5), padding=(0, 2))
        self.out = nn.Linear(68 * 3 * 3, 16)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.narrow(nn.functional.silu(self.wide(x)))).relu()
        x = torch.cat([nn.functional.gelu(self.across(x)), nn.functional.avg_pool2d(x, 3, 1, 1), x], 1)
        return self.out(nn.functional.max_pool2d(x, 5, 4, 2).flatten(1))


def export(path):
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():  # statistics as training would leave them
        for tensor in (network.norm.weight, network.norm.bias, network.norm.running_mean, network.norm.running_var):
            tensor.uniform_(0.5, 1.5)
    graph = {"name": "example", "input": INPUT, "layers": LAYERS}
    safetensors.torch.save_file(network.state_dict(), path, metadata={"undiffuse.features": json.dumps(graph)})
    return network


if __name__ == "__main__":
    export(sys.argv[1])
