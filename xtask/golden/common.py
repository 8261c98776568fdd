"""What the golden scripts share: paths, versions, reproducible numbers, tensors in and out."""

import argparse
import hashlib
import json
import platform
import shutil
from pathlib import Path

import diffusers
import numpy
import safetensors
import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[2]
NN_FIXTURES = ROOT / "crates/undiffuse-nn/tests/fixtures"
LIB_FIXTURES = ROOT / "crates/undiffuse/tests/fixtures"

VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "diffusers": diffusers.__version__,
    "safetensors": safetensors.__version__,
    "numpy": numpy.__version__,
}


def generator(*words) -> torch.Generator:
    """A generator keyed by words, so that adding a fixture never changes another one."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def normal(shape, *words) -> torch.Tensor:
    """Unit normal float32 numbers keyed by words."""
    return torch.randn(tuple(shape), generator=generator(*words))


@torch.no_grad()
def randomise(model: torch.nn.Module, *words, attention_gain: float = 2.0) -> None:
    """Gives every parameter values that matter: norms away from (1, 0), biases away from 0, and
    query/key products large enough that the softmax is far from uniform."""
    for name, parameter in model.named_parameters():
        noise = normal(parameter.shape, *words, name)
        if name == "time_proj.weight" and parameter.ndim == 1:
            parameter.copy_(16 * noise)  # the scale of diffusers' own Fourier frequencies
        elif parameter.ndim == 1 and name.endswith("weight"):
            parameter.copy_(1 + 0.3 * noise)
        elif parameter.ndim == 1:
            parameter.copy_(0.4 * noise)
        else:
            gain = attention_gain if ".to_q." in name or ".to_k." in name else 1.0
            fan_in = parameter[0].numel() if "embedding.weight" not in name else 4
            parameter.copy_(gain * noise / fan_in**0.5)


def save_tensors(path: Path, tensors: dict) -> None:
    """Contiguous float32/int64 copies to safetensors, in a byte-reproducible order."""
    plain = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        plain[name] = (tensor.float() if tensor.is_floating_point() else tensor.long()).contiguous().clone()
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(plain, str(path))


def load_tensors(path) -> dict:
    """The tensors of a safetensors file."""
    return safetensors.torch.load_file(str(path))


def write_json(path: Path, value) -> None:
    """Indented JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Largest absolute difference over the largest magnitude wanted."""
    scale = want.abs().max().clamp_min(1e-30)
    return float(((got.double() - want.double()).abs().max() / scale).item())


def folder_kib(path: Path) -> float:
    """Size of all files below a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1024


def begin(about: str, folder: Path, anew: bool = False) -> Path:
    """The beginning of a script's program: the folder that it writes to, where nothing of old stays if it makes all `anew`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", type=Path, default=folder)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    if anew and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return out


def write_index(out: Path, lines: list, *modules, **more) -> None:
    """The end of it: the index of its fixtures, with the versions of what they were made with."""
    versions = VERSIONS | {module.__name__: module.__version__ for module in modules}
    write_json(out / "INDEX.json", {"versions": versions, **more, "fixtures": lines})
    print(f"{folder_kib(out):.0f} KiB")


def make_fixtures(about: str, kind: str, rows: list, make, named: int = 0) -> None:
    """The program of a script: makes a fixture of each row in a folder called by column `named`, and an index of them all."""
    out = begin(about, NN_FIXTURES / kind)
    lines = [make(*row, out / row[named]) for row in rows]
    for line in lines:
        print(line)
    write_index(out, lines)
