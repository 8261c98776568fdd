"""Pictures a second of the feature networks, ours and PyTorch's, in turns on the same machine, threads and batch.

    cargo build --release -p undiffuse-features --example features
    python features_speed.py target/release/examples/features FOLDER_OF_PICTURES

Both sides resize, normalise and run the network on pictures that are decoded already. On a shared machine the best round and the
CPU seconds say more than an average.
"""

import argparse
import resource
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from cleanfid.resize import make_resizer
from PIL import Image
from pytorch_fid import inception


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def networks():
    resize = make_resizer("PIL", False, "bicubic", (224, 224))
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    mobilenet = torchvision.models.mobilenet_v2(weights=None).eval()

    def small(batch):
        x = torch.stack([torch.from_numpy(resize(p)).permute(2, 0, 1) for p in batch])
        return mobilenet.features((x / 255 - mean) / std).mean([2, 3])

    empty = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    inception.load_state_dict_from_url = lambda *_, **__: empty.state_dict()
    pool = inception.InceptionV3([3]).eval()

    def large(batch):
        return pool(torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2) / 255)[0]

    return [("mobilenet-v2", mobilenet, small, 64), ("inception-v3-fid", pool, large, 16)]


@torch.inference_mode()
def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("program")
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    files = sorted(options.pictures.iterdir())
    for name, network, features, count in networks():
        pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files[:count]]
        batches = [pictures[i : i + options.batch] for i in range(0, count, options.batch)]
        command = [options.program, name, "-", "/dev/null"]
        env = {"RAYON_NUM_THREADS": str(options.threads)}

        def run(repeat):
            words = [*command, str(repeat), *files[:count]]
            return subprocess.run(words, check=True, text=True, capture_output=True, env=env).stdout

        features(batches[0])
        modes = {"PyTorch": torch.contiguous_format, "channels_last": torch.channels_last}
        rows = {"ours": [], **{mode: [] for mode in modes}}
        for _ in range(options.rounds):
            begin = cpu_of_children()
            run(0)
            start = cpu_of_children() - begin
            out = run(1)
            cpu = (cpu_of_children() - begin - 2 * start) / count
            rows["ours"].append((float(out.split()[2]), cpu))
            for mode, memory_format in modes.items():
                network.to(memory_format=memory_format)
                wall, cpu = time.perf_counter(), time.process_time()
                for batch in batches:
                    features(batch)
                rows[mode].append((count / (time.perf_counter() - wall), (time.process_time() - cpu) / count))
        for side, rounds in rows.items():
            rates = sorted(rate for rate, _ in rounds)
            cpu = min(cpu for _, cpu in rounds)
            middle = rates[len(rates) // 2]
            print(f"{name:18} {side:13} best {rates[-1]:6.1f}, median {middle:6.1f} pictures/s; {1000 * cpu:5.1f} ms of CPU")


if __name__ == "__main__":
    main()
