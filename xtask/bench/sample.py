"""One picture from a model folder with diffusers: sample.py MODEL PNG STEPS MODE

The twin of `undiffuse sample MODEL -n 1 --solver ddim --guidance 1 --steps STEPS`. MODE is `eager` or `channels_last`. Prints
one JSON line as soon as the PNG is on disk; `cargo xtask bench` measures from the start of the process to that line.
"""

import time

begin = time.perf_counter()
import json
import sys

sys.modules["transformers"] = None  # where it is installed, diffusers imports it: a second that nothing here needs
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

imported = time.perf_counter()
torch.set_flush_denormal(True)
model, png, steps, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
network = UNet2DModel.from_pretrained(model, subfolder="unet", use_safetensors=True, low_cpu_mem_usage=False).eval()
scheduler = DDIMScheduler.from_pretrained(model, subfolder="scheduler")
scheduler.set_timesteps(steps)
loaded = time.perf_counter()

config = network.config
x = torch.randn(1, config.in_channels, config.sample_size, config.sample_size, generator=torch.Generator().manual_seed(0))
labels = torch.tensor([0]) if config.num_class_embeds else None
if mode == "channels_last":
    network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t, class_labels=labels).sample, t, x).prev_sample
pixels = (x[0].clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(1, 2, 0).numpy()
Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(png)

said = {"import_ms": imported - begin, "load_ms": loaded - imported, "sample_ms": time.perf_counter() - loaded}
print(json.dumps({name: round(1e3 * seconds, 1) for name, seconds in said.items()}), flush=True)
