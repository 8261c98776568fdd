"""Images in and out for the test-side scripts: idx files, folders of PNGs, arrays, grids."""

import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image

FASHION_CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def read_idx(path: Path) -> np.ndarray:
    """An idx(.gz) file of unsigned bytes."""
    opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
    with opened as file:
        content = file.read()
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an idx file of unsigned bytes")
    shape = np.frombuffer(content, ">u4", content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def fashion_mnist(folder: Path, part: str):
    """(images [N, 28, 28] uint8, labels [N] int64) of "train" or "t10k"."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def read_pngs(folder: Path, mode: str = "L", skip: str = "grid"):
    """(images [N, H, W(, 3)] uint8, file names) of a folder, contact sheets left out."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and skip not in f.stem)
    if not files:
        raise SystemExit(f"{folder}: no images")
    pixels = [np.asarray(Image.open(f).convert(mode)) for f in files]
    shapes = {p.shape for p in pixels}
    if len(shapes) > 1:
        raise SystemExit(f"{folder}: images of several shapes {sorted(shapes)}")
    return torch.from_numpy(np.stack(pixels)), [str(f.relative_to(folder)) for f in files]


def to_bytes(x: torch.Tensor) -> torch.Tensor:
    """[-1, 1] floats to 0..255 as diffusers' pipelines do: halves, clamp, round."""
    return ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def save_grid(x: torch.Tensor, path: Path, columns: int | None = None, scale: int = 2) -> None:
    """A contact sheet of [N, C, H, W] uint8 images."""
    n, c, h, w = x.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = torch.zeros(c, rows * h, columns * w, dtype=torch.uint8)
    for k in range(n):
        top, left = k // columns * h, k % columns * w
        sheet[:, top : top + h, left : left + w] = x[k]
    pixels = sheet[0].numpy() if c == 1 else sheet[:3].permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * scale, picture.height * scale), Image.NEAREST).save(path)
