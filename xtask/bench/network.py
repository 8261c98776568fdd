"""Times a whole network of any of diffusers' classes in PyTorch: network.py CONFIG.json|FOLDER step|forward|decode BATCH SECONDS MODE

A folder has weights, too; `decode` is that of an autoencoder.

MODE is `eager`, `channels_last` or `compile` (torch.compile of the channels_last network, weights frozen for `forward`). Prints
one JSON line like `cargo bench -p undiffuse-nn --bench network`, and `libraries_mb`, the resident size before the first run.
Denormal numbers are flushed; preload tcmalloc for PyTorch's best figures.
"""

import json
import resource
import sys
import time
from pathlib import Path

sys.modules["transformers"] = None  # where it is installed, diffusers imports it: memory that nothing here needs
import torch
import diffusers

torch.set_flush_denormal(True)
torch.manual_seed(0)
config, what, batch, seconds, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
folder = Path(config) if Path(config).is_dir() else None
config = json.loads((folder / "config.json" if folder else Path(config)).read_text())
kind = getattr(diffusers, config.pop("_class_name", "UNet2DModel"))
model = kind.from_pretrained(folder) if folder else kind(**config)
side = config["sample_size"]
channels = config["in_channels"]
if what == "decode":
    side, channels = side >> len(config["block_out_channels"]) - 1, config["latent_channels"]
x = torch.randn(batch, channels, side, side)
told = {"timestep": torch.arange(batch) * 997 % 1000}
if "cross_attention_dim" in config:
    told["encoder_hidden_states"] = torch.randn(batch, 77, config["cross_attention_dim"])
if "num_embeds_ada_norm" in config:
    told["class_labels"] = torch.arange(batch) % config["num_embeds_ada_norm"]
if mode != "eager":
    model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
network = model
if mode == "compile":
    torch._inductor.config.freezing = what == "forward"
    network = torch.compile(model)

if what == "step":
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    def run():
        loss = torch.nn.functional.mse_loss(network(x, **told).sample, x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
else:
    model.eval()

    @torch.no_grad() if mode == "compile" else torch.inference_mode()
    def run():
        network(x, **told) if what == "forward" else model.decode(x)

def peak():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


before = peak()
run()
run()
times, begin = [], time.perf_counter()
while len(times) < (5 if seconds > 0 else 2) or time.perf_counter() - begin < seconds:
    start = time.perf_counter()
    run()
    times.append(1e3 * (time.perf_counter() - start))
ms = round(sorted(times)[len(times) // 2], 3)
print(json.dumps({"ms": ms, "runs": len(times), "peak_mb": peak(), "libraries_mb": before}))
