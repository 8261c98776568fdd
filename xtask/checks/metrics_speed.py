"""The metrics beside the tools in Python on the same features: seconds, peak memory, and whether the numbers agree.

    cargo build --release -p undiffuse-metrics --example measure
    metrics_speed.py target/release/examples/measure [--n 10000] [--dims 1280] [--file KEPT.safetensors]

Each run is a process of its own, one after the other, ours and theirs in turn. Seconds are those of the computation, without
starting and reading the file; memory is the process's peak. Ours include the confidence intervals, which none of the others has.
Needs the packages of xtask/golden/metrics.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make(path: Path, n: int, dims: int):
    """Correlated features with a spectrum that falls over three orders of magnitude, positive as after a ReLU."""
    import safetensors.torch
    import torch

    g = torch.Generator().manual_seed(0)
    mix, scale = torch.randn(dims, dims, generator=g) / dims**0.5, torch.logspace(0, -3, dims)
    rows = lambda shift: torch.relu((torch.randn(n, dims, generator=g) * scale) @ mix + 0.05 * torch.randn(n, dims, generator=g) + shift)
    safetensors.torch.save_file({"real": rows(0.2).contiguous(), "generated": rows(0.25).contiguous()}, str(path))


def pytorch_fid(real, generated):
    import numpy as np
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = lambda x: (np.mean(x, axis=0), np.cov(x, rowvar=False))
    return {"fid": calculate_frechet_distance(*moments(real.numpy()), *moments(generated.numpy()))}


def torch_fidelity_fid(real, generated):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    found = fid_statistics_to_metric(fid_features_to_statistics(generated), fid_features_to_statistics(real), False)
    return {"fid": found["frechet_inception_distance"]}


def torch_fidelity_kid(real, generated, subsets=100, size=1000):
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(generated, real, kid_subsets=subsets, kid_subset_size=size, rng_seed=2020, kid_kernel="poly", verbose=False)
    return {"kid": found["kernel_inception_distance_mean"]}


def torch_fidelity_kid_all(real, generated):
    return torch_fidelity_kid(real, generated, 1, min(len(real), len(generated)))


def torch_fidelity_prc(real, generated):
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(generated, real, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False, verbose=False)
    return {name: found[name] for name in ("precision", "recall")}


def prdc(real, generated):
    from prdc import compute_prdc

    found = compute_prdc(real.numpy(), generated.numpy(), 5)
    return {name: float(found[name]) for name in ("density", "coverage")}


# Our metric, and who else has it.
TABLE = [
    ("fid", [pytorch_fid, torch_fidelity_fid]),
    ("kid", [torch_fidelity_kid_all, torch_fidelity_kid]),
    ("manifold", [torch_fidelity_prc, prdc]),
]


def child(tool: str, path: str):
    """One tool in this process."""
    import safetensors.torch
    import torch

    torch.set_num_threads(os.cpu_count())
    tensors = safetensors.torch.load_file(path)
    # Imports are not what is measured.
    function = globals()[tool]
    small = {name: x[:50, :8].contiguous() for name, x in tensors.items()}
    function(**small) if tool != "torch_fidelity_kid" else torch_fidelity_kid_all(**small)
    start = time.perf_counter()
    figures = function(tensors["real"], tensors["generated"])
    print("RESULT", json.dumps({"seconds": time.perf_counter() - start, "figures": {k: float(v) for k, v in figures.items()}}))


def run(command):
    """Its output and the most memory it held, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed: {status}")
    return output, usage.ru_maxrss / 1024


def ours(binary, path, tag):
    output, memory = run([binary, path, tag])
    found = json.loads(output)
    return found["seconds"], memory, {figure["tag"]: figure["value"] for figure in found["figures"]}


def theirs(tool, path):
    output, memory = run([sys.executable, __file__, "--child", tool, path])
    found = json.loads(output.split("RESULT", 1)[1])
    return found["seconds"], memory, found["figures"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--dims", type=int, default=1280)
    parser.add_argument("--file", type=Path, help="features to use, or to make and keep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "features.safetensors"
        if not path.exists():
            make(path, options.n, options.dims)
        print(f"{'':26} {'seconds':>8} {'MiB':>6}  times ours: time, memory; largest relative difference of figures")
        for tag, tools in TABLE:
            seconds, memory, figures = ours(options.binary, path, tag)
            print(f"{tag + ' (undiffuse)':26} {seconds:8.2f} {memory:6.0f}  {figures}", flush=True)
            for tool in tools:
                their_seconds, their_memory, their_figures = theirs(tool.__name__, path)
                apart = max(abs(figures[name] / value - 1) for name, value in their_figures.items())
                print(f"{tool.__name__:26} {their_seconds:8.2f} {their_memory:6.0f}  {their_seconds / seconds:.1f}, {their_memory / memory:.1f}; {apart:.1e}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
