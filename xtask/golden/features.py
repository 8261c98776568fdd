"""Feature networks and resize filters: what torchvision, pytorch-fid, clean-fid, Pillow and PyTorch make of some pictures.

Writes crates/undiffuse-features/tests/fixtures: `features.safetensors` (pictures, resized pictures, vectors), files as torch.save writes them,
and `user-network.safetensors` by way of export_features.py. The big networks run in float64 on weights that are a formula of a tensor's
name and index, so that the tests need no weights; with --mobilenet FILE the real ones give `mobilenet-real.*`, which
xtask/checks/features.py compares with.

    python features.py --cifar cifar10-test.zip --mobilenet mobilenet_v2-b0353104.pth
"""

import argparse
import io
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytorch_fid.inception
import safetensors.numpy
import torch
import torchvision
from cleanfid.resize import make_resizer
from PIL import Image
from sklearn.datasets import load_sample_image

from export_features import export

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "crates/undiffuse-features/tests/fixtures"


def uniform(name, count):
    """Numbers in [-1, 1): SplitMix64 of the index, beginning at FNV-1a of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def formula(name, shape):
    u = uniform(name, int(np.prod(shape)))
    if len(shape) > 1:
        u *= np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        u = 1 + u / 2
    elif name.endswith("weight"):
        u = 1 + u / 4
    else:
        u /= 4
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def state_by_formula(model):
    return {n: t if t.dtype == torch.int64 else formula(n, t.shape) for n, t in model.state_dict().items()}


def mobilenet(state=None):
    model = torchvision.models.mobilenet_v2(weights=None)
    model.load_state_dict(state or state_by_formula(model))
    return model.eval().double()


def inception():
    """pytorch-fid's own class, told to download what the formula gives."""
    empty = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    state = state_by_formula(empty)  # pytorch-fid's blocks have the same tensors
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: state
    return pytorch_fid.inception.InceptionV3([3]).eval().double()


def rgb(picture):
    return np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture


@torch.no_grad()
def mobilenet_features(model, picture):
    x = make_resizer("PIL", False, "bicubic", (224, 224))(rgb(picture))
    x = torch.from_numpy(x).double().permute(2, 0, 1)[None] / 255
    x = torchvision.transforms.functional.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return model.features(x).mean([2, 3])[0]


@torch.no_grad()
def inception_features(model, picture, clean):
    x = make_resizer("PIL", False, "bicubic", (299, 299))(rgb(picture)) if clean else rgb(picture)
    x = torch.from_numpy(x.astype(np.float32)).double().permute(2, 0, 1)[None] / 255
    return model(x)[0][0, :, 0, 0]


def resized(picture, name, height, width):
    """[channels, height, width] from 0 to 255."""
    if name == "torch-bilinear":
        x = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
        return torch.nn.functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)[0].numpy()
    if name == "clean-bicubic":
        return make_resizer("PIL", False, "bicubic", (width, height))(rgb(picture)).transpose(2, 0, 1)[: picture.shape[2]]
    filters = {"pillow-bicubic": Image.BICUBIC, "pillow-bilinear": Image.BILINEAR, "pillow-lanczos": Image.LANCZOS}
    image = Image.fromarray(picture.squeeze()).resize((width, height), filters[name])
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def pictures(cifar):
    photo = Image.fromarray(load_sample_image("china.jpg"))  # CC BY 2.0, danielbuechele
    with zipfile.ZipFile(cifar) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".png", ".jpg")))
        small = [np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in names[::3333][:2]]
    grey = np.asarray(photo.convert("L").resize((24, 40), Image.BOX))[:, :, None]
    return [np.asarray(photo.resize((96, 64), Image.LANCZOS)), *small, grey]


def pth_files(out):
    """Every way in which a tensor lies in its storage, in both formats."""
    base = torch.arange(24, dtype=torch.float32) / 7
    state = OrderedDict(
        plain=base.reshape(2, 3, 4),
        turned=base.reshape(4, 6).t(),
        part=base[5:17:3],
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        half=(base[:6] / 3).half(),
        brain=(base[:6] / 3).bfloat16(),
        double=base[:5].double() / 3,
        count=torch.tensor(-7),
        parameter=torch.nn.Parameter(base[:4] - 1),
    )
    torch.save(state, out / "new.pth")
    torch.save({"epoch": 3, "state_dict": state}, out / "old.pth", _use_new_zipfile_serialization=False)
    return {f"pth.{name}": t.detach().float().numpy() for name, t in state.items()}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--cifar", type=Path, required=True, help="a zip of 32x32 pictures")
    arguments.add_argument("--mobilenet", type=Path, help="torchvision's weights")
    arguments.add_argument("--out", type=Path, default=OUT)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    images = pictures(options.cifar)
    tensors = {f"picture.{i}": image for i, image in enumerate(images)}
    filters = ["clean-bicubic", "pillow-bicubic", "pillow-bilinear", "pillow-lanczos", "torch-bilinear"]
    for name in filters:
        for i, height, width in [(1, 43, 37), (0, 17, 11), (3, 40, 13), (3, 41, 1)]:
            tensors[f"resize.{name}.{i}.{height}.{width}"] = resized(images[i], name, height, width)
    networks = [("mobilenet-v2", mobilenet(), mobilenet_features)]
    if options.mobilenet:
        real = torch.load(options.mobilenet, weights_only=True)
        networks.append(("mobilenet-real", mobilenet(real), mobilenet_features))
    pool = inception()
    networks.append(("inception-v3-fid", pool, lambda m, p: inception_features(m, p, False)))
    networks.append(("inception-v3-fid-clean", pool, lambda m, p: inception_features(m, p, True)))
    for name, network, features in networks:
        for i in range(4) if name.startswith("mobilenet") else (0, 1):
            tensors[f"{name}.{i}"] = features(network, images[i])
    network = export(options.out / "user-network.safetensors")
    with torch.no_grad():
        x = np.stack([resized(p, "pillow-bicubic", 20, 24) for p in images[:3]])
        x = (torch.from_numpy(x).double() / 255 - 0.5) / 0.25
        tensors["user"] = network.double().eval()(x)
    tensors |= pth_files(options.out)
    arrays = {n: t if t.dtype == np.uint8 else np.asarray(t, np.float32) for n, t in tensors.items()}
    plain = {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in arrays.items()}
    safetensors.numpy.save_file(dict(sorted(plain.items())), options.out / "features.safetensors")
    for path in sorted(options.out.iterdir()):
        print(f"{path.stat().st_size:>8} {path.name}")


if __name__ == "__main__":
    main()
