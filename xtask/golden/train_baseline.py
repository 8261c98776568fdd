"""What PyTorch and diffusers reach in the same minutes: the usual DDPM recipe on Fashion-MNIST.

    train_baseline.py FASHION_MNIST_FOLDER OUT --minutes 5 [--config unet.json] [--part t10k]

AdamW, linear warm-up and cosine decay over the wall clock, EMA, batch 64, channels_last, DDPM's linear
schedule with the eps target. Prints images per second; writes OUT/model (a pipeline folder),
OUT/grid.png (64 images, 50 DDIM steps) and OUT/samples.safetensors (`sample`, for classifier.py).
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel

from common import normal, save_tensors
from images import fashion_mnist, save_grid, to_bytes

SMALL = dict(  # the 1.6 M parameter network of diffusers' own training example, cut to size
    sample_size=28, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(32, 64, 64),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), norm_num_groups=8, attention_head_dim=8)


def network(config: Path | None) -> UNet2DModel:
    """From a UNet2DModel config.json, or the built-in one."""
    if config is None:
        return UNet2DModel(**SMALL)
    return UNet2DModel.from_config(json.loads(config.read_text()))


def curve(done: float, lr: float, warmup: float) -> float:
    """The learning rate at a share of the time."""
    if done < warmup:
        return lr * done / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


def train(model, x0, labels, options):
    """Trains for the minutes given; returns the EMA."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=1e-4)
    ema = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
    classes = model.config.num_class_embeds
    model.train()
    seen, started, spoken, running = 0, time.time(), time.time(), None
    while (elapsed := time.time() - started) < options.minutes * 60:
        for group in optimizer.param_groups:
            group["lr"] = curve(elapsed / (options.minutes * 60), options.lr, 0.05)
        rows = torch.randint(len(x0), (options.batch,))
        clean, noise = x0[rows], torch.randn(options.batch, *x0.shape[1:])
        t = torch.randint(1000, (options.batch,))
        label = None
        if classes:  # one label in ten is replaced by the last one: "no class"
            label = torch.where(torch.rand(options.batch) < 0.1, classes - 1, labels[rows])
        noisy = scheduler.add_noise(clean, noise, t).contiguous(memory_format=torch.channels_last)
        loss = ((model(noisy, t, class_labels=label).sample - noise) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.step(model.parameters())
        seen += options.batch
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if time.time() - spoken > 15:
            spoken = time.time()
            print(f"{elapsed:6.0f} s  {seen:8} images  {seen / (spoken - started):6.1f} images/s  loss {running:.4f}", flush=True)
    print(f"trained {seen} images in {time.time() - started:.0f} s: {seen / (time.time() - started):.1f} images/s, loss {running:.4f}")
    ema.copy_to(model.parameters())
    return model.eval()


@torch.no_grad()
def sample(model, n: int, steps: int, batch: int = 64) -> torch.Tensor:
    """DDIM without noise, from keyed unit noise."""
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    classes = model.config.num_class_embeds
    init = normal((n, model.config.in_channels, model.config.sample_size, model.config.sample_size), "baseline")
    made, started = [], time.time()
    for part, x in enumerate(init.split(batch)):
        label = (torch.arange(len(x)) + part * batch) % (classes - 1) if classes else None
        for t in scheduler.timesteps:
            output = model(x.contiguous(memory_format=torch.channels_last), t, class_labels=label).sample
            x = scheduler.step(output, t, x).prev_sample
        made.append(x)
    print(f"sampled {n} images with {steps} steps in {time.time() - started:.0f} s")
    return torch.cat(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--config", type=Path, help="a UNet2DModel config.json")
    parser.add_argument("--part", choices=["t10k", "train"], default="t10k")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    images, labels = fashion_mnist(options.data, options.part)
    x0 = images.float()[:, None] / 127.5 - 1
    model = network(options.config).to(memory_format=torch.channels_last)
    size = model.config.sample_size
    if size != 28:
        border = (size - 28) // 2
        x0 = torch.nn.functional.pad(x0, (border, size - 28 - border) * 2, value=-1.0)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {len(x0)} images of {size}x{size}")
    model = train(model, x0, labels, options)
    DDPMPipeline(unet=model, scheduler=DDPMScheduler(num_train_timesteps=1000)).save_pretrained(options.out / "model")
    made = sample(model, options.samples, options.steps)
    save_tensors(options.out / "samples.safetensors", {"sample": made})
    save_grid(to_bytes(made[:64]), options.out / "grid.png", columns=8)
    print(f"{options.out / 'grid.png'}")


if __name__ == "__main__":
    main()
