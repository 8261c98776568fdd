"""A judge for generated Fashion-MNIST: a small classifier trained on the labelled photographs.

    classifier.py train FASHION_MNIST_FOLDER WEIGHTS.pt
    classifier.py judge FASHION_MNIST_FOLDER WEIGHTS.pt IMAGES   (a folder of PNGs, .npy or .safetensors)

`judge` prints the share of images it is confident about beside the same share for real test images,
the class histogram and its entropy, a Fréchet distance between penultimate features (lower is closer;
the floor printed beside it is real against real), and, when file names carry labels, the conditional accuracy.
It is a measure of recognisability for this one data set, not a published metric.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from images import FASHION_CLASSES, fashion_mnist, read_pngs


def network() -> nn.Sequential:
    """[N, 1, 28, 28] in [-1, 1] to ten logits; the last layer but one gives 128 features."""
    def stage(inside, outside):
        return [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]

    return nn.Sequential(
        *stage(1, 24), nn.MaxPool2d(2), *stage(24, 48), *stage(48, 48), nn.MaxPool2d(2), *stage(48, 96),
        *stage(96, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10))


def normalised(images: torch.Tensor) -> torch.Tensor:
    """[N, H, W] uint8 to the network's input; a border of padding (32 -> 28) is cut off."""
    x = images.float()[:, None] / 127.5 - 1
    height, width = x.shape[-2:]
    if (height, width) == (32, 32):
        x = x[..., 2:30, 2:30]
    elif (height, width) != (28, 28):
        x = F.interpolate(x, (28, 28), mode="area" if height > 28 else "bilinear")
    return x


def logits_and_features(model, x, batch=500):
    """Both for every image."""
    model.eval()
    logits, features = [], []
    with torch.no_grad():
        for part in x.split(batch):
            inner = model[:-2](part)
            features.append(inner)
            logits.append(model[-1](inner))
    return torch.cat(logits), torch.cat(features)


def train(data: Path, weights: Path, epochs: int, batch: int = 128):
    """One-cycle SGD with flips and shifts by a pixel; keeps the final weights."""
    torch.manual_seed(0)
    images, labels = fashion_mnist(data, "train")
    x = normalised(images)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * (len(x) // batch)
    curve = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=0.25)
    started = time.time()
    for epoch in range(epochs):
        model.train()
        right = 0
        for rows in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            picture, label = x[rows], labels[rows]
            flip = torch.rand(batch) < 0.5
            picture = torch.where(flip[:, None, None, None], picture.flip(-1), picture)
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            picture = torch.roll(picture, (dy, dx), (-2, -1))
            logits = model(picture)
            loss = F.cross_entropy(logits, label)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.step()
            right += (logits.argmax(1) == label).sum().item()
        print(f"epoch {epoch + 1}/{epochs}  train accuracy {right / len(x):.4f}  {time.time() - started:.0f} s", flush=True)
    images, labels = fashion_mnist(data, "t10k")
    accuracy = (logits_and_features(model, normalised(images))[0].argmax(1) == labels).float().mean().item()
    torch.save({"weights": model.state_dict(), "test_accuracy": accuracy}, weights)
    print(f"test accuracy {accuracy:.4f}; weights in {weights}")


def load_images(path: Path):
    """(uint8 [N, H, W], names or None) from a folder, .npy or .safetensors ([-1, 1] floats, tensor `sample`)."""
    if path.is_dir():
        return read_pngs(path)
    if path.suffix == ".npy":
        x = torch.from_numpy(np.load(path))
    else:
        tensors = safetensors.torch.load_file(str(path))
        x = tensors["sample"] if "sample" in tensors else next(iter(tensors.values()))
    if x.is_floating_point():
        x = ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    if x.ndim == 4:
        x = x[:, 0] if x.shape[1] in (1, 3) else x[..., 0]
    return x, None


def frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """|mean difference|² + tr(A + B − 2 (AB)^½), from the eigenvalues of A^½ B A^½."""
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum().item() + (cov_a.trace() + cov_b.trace() - 2 * cross).item()


def confident(logits: torch.Tensor, threshold: float) -> float:
    """Share of rows whose largest probability passes the threshold."""
    return (logits.softmax(1).max(1).values > threshold).float().mean().item()


def labels_in(names, pattern: str):
    """The class that each file name carries, or None when one carries none."""
    found = [re.search(pattern, name) for name in names or []]
    return torch.tensor([int(m.group(1)) for m in found]) if found and all(found) else None


def judge(data: Path, weights: Path, path: Path, threshold: float, pattern: str):
    """Prints the report."""
    kept = torch.load(weights, weights_only=True)
    model = network()
    model.load_state_dict(kept["weights"])
    real, _ = fashion_mnist(data, "t10k")
    real_logits, real_features = logits_and_features(model, normalised(real))
    images, names = load_images(path)
    logits, features = logits_and_features(model, normalised(images))
    classes = logits.argmax(1)
    histogram = torch.bincount(classes, minlength=10)
    share = histogram / histogram.sum()
    entropy = -(share * share.clamp_min(1e-12).log()).sum().item()
    print(f"{len(images)} images; classifier's own test accuracy {kept['test_accuracy']:.4f}")
    print(f"probability > {threshold}: {confident(logits, threshold):.3f} of them; of real test images {confident(real_logits, threshold):.3f}")
    print("classes: " + "  ".join(f"{name} {count}" for name, count in zip(FASHION_CLASSES, histogram.tolist())))
    print(f"classes present {int((histogram > 0).sum())}/10; entropy {entropy:.3f} nats of at most {np.log(10):.3f}")
    n = min(len(features), 5000)
    floor = frechet(real_features[:n], real_features[n:])
    print(f"feature distance to real images {frechet(features, real_features):.2f}; real to real with as many {floor:.2f}"
          + ("" if n > 256 else "  (too few images to mean much)"))
    labels = labels_in(names, pattern)
    if labels is not None:
        print(f"conditional accuracy {(classes == labels).float().mean().item():.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["train", "judge"])
    parser.add_argument("data", type=Path, help="folder of the four Fashion-MNIST idx.gz files")
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path, nargs="?", help="judge: what to look at")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--labels", default=r"(?:class|label)[-_ ]?(\d+)", help="expression finding the class in a file name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.task == "train":
        train(options.data, options.weights, options.epochs)
    elif options.images is None:
        parser.error("judge needs IMAGES")
    else:
        judge(options.data, options.weights, options.images, options.threshold, options.labels)


if __name__ == "__main__":
    main()
