"""One picture from words with diffusers: pipeline.py MODEL PNG STEPS PROMPT MODE

The twin of `undiffuse sample MODEL -n 1 --prompt PROMPT --guidance 7.5 --steps STEPS`. MODE is `eager` or `channels_last`. Prints one JSON
line as soon as the PNG is on disk; `cargo xtask bench pipelines` measures from the start of the process to that line.
"""

import time

begin = time.perf_counter()
import json
import sys

import torch
from diffusers import StableDiffusionPipeline

imported = time.perf_counter()
torch.set_flush_denormal(True)
model, png, steps, prompt, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
pipeline = StableDiffusionPipeline.from_pretrained(model, use_safetensors=True, safety_checker=None)
pipeline.set_progress_bar_config(disable=True)
if mode == "channels_last":
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
loaded = time.perf_counter()
generator = torch.Generator().manual_seed(0)
pipeline(prompt, num_inference_steps=steps, guidance_scale=7.5, generator=generator).images[0].save(png)

said = {"import_ms": imported - begin, "load_ms": loaded - imported, "sample_ms": time.perf_counter() - loaded}
print(json.dumps({name: round(1e3 * seconds, 1) for name, seconds in said.items()}), flush=True)
