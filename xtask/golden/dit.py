"""Golden values of `DiTTransformer2DModel`: what `unet.py` makes of U-Nets, for class-conditional transformers.

The network runs in eval(), where diffusers drops no labels; everything else is as in `unet.py`, and INDEX.json says what moved the
output how far when it was changed.
"""

import shutil
from pathlib import Path

import torch
from diffusers import DiTTransformer2DModel

from common import folder_kib, generator, make_fixtures, normal, randomise, relative_error, save_tensors

SMALL = dict(num_attention_heads=2, attention_head_dim=8, num_layers=2, in_channels=3, sample_size=8, patch_size=2,
             num_embeds_ada_norm=4)
ROWS = [
    ("plain", "the defaults, small", {}, (8, 8)),
    ("learned-variance", "twice as many channels out, patches of 4", dict(out_channels=6, patch_size=4), (8, 8)),
    ("other-size", "images larger than it was made for: positions are stretched", {}, (12, 12)),
    ("gelu-eps", "exact GELU, another epsilon, one head, one channel, patches of one pixel",
     dict(activation_fn="gelu", norm_eps=0.1, num_attention_heads=1, attention_head_dim=12, in_channels=1, sample_size=4,
          patch_size=1), (4, 4)),
    ("no-classes", "a table of one row", dict(num_embeds_ada_norm=0, num_layers=1), (8, 8)),
]
# Options of the forward pass that fit the same weights, each with another value.
OTHERWISE = dict(num_attention_heads=lambda c: dict(num_attention_heads=c["attention_head_dim"],
                                                    attention_head_dim=c["num_attention_heads"]),
                 norm_eps=lambda c: dict(norm_eps=0.1 if c["norm_eps"] < 0.01 else 1e-5),
                 sample_size=lambda c: dict(sample_size=2 * c["sample_size"]),
                 activation_fn=lambda c: dict(activation_fn="gelu" if c["activation_fn"] != "gelu" else "gelu-approximate"))


def build(options) -> DiTTransformer2DModel:
    """The network in double precision, ready to predict."""
    return DiTTransformer2DModel(**options).eval().double()


def predict(model, io) -> torch.Tensor:
    """The output in the precision of `model`; timesteps as they are stored, classes as rows of the table."""
    dtype = model.proj_out_2.weight.dtype
    return model(io["sample"].to(dtype), timestep=io["timestep"], class_labels=io["labels"]).sample


def dimmest_parameter(model, io, output) -> tuple:
    """The parameter whose loss (read as zero) moves the output least, and how far; offsets of keys cannot be seen."""
    weakest = (float("inf"), "")
    for name, parameter in model.named_parameters():
        if name.endswith("to_k.bias"):
            continue
        kept = parameter.detach().clone()
        parameter.data.zero_()
        weakest = min(weakest, (relative_error(predict(model, io), output), name))
        parameter.data.copy_(kept)
    return weakest


def make(name, covers, changes, size, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    options = SMALL | changes
    model = build(options)
    randomise(model, "dit", name)
    if folder.exists():
        shutil.rmtree(folder)
    model.float().save_pretrained(folder)
    single = DiTTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    model = build(options)
    model.load_state_dict(single.state_dict())

    classes = options["num_embeds_ada_norm"]
    io = {"sample": normal((3, options["in_channels"], *size), "dit", name, "sample"),
          "timestep": torch.tensor([0.0, 17.0, 903.5]),
          "labels": torch.tensor([classes, 0, min(2, classes)])}  # the last row is "no class"
    with torch.no_grad():
        output = predict(model, io)
        least = dimmest_parameter(model, io, output)
        noticed = {}
        for option, other in OTHERWISE.items():
            changed = build(options | other(model.config))
            changed.load_state_dict(model.state_dict())
            noticed[option] = float(f"{relative_error(predict(changed, io), output):.1e}")
        float32_error = relative_error(predict(single, io), output)
    assert least[0] > 5e-4, f"{name}: the output hardly depends on {least}"
    assert noticed["num_attention_heads"] == 0 or noticed["num_attention_heads"] > 1e-3, noticed

    sample = io["sample"].double().requires_grad_()
    output = predict(model, io | {"sample": sample})
    target = torch.randn(output.shape, generator=generator("dit", name, "target"))
    loss = ((output - target.double()) ** 2).mean()
    loss.backward()
    stored = {key: io[key] for key in ("sample", "timestep")} | {"output": output, "target": target, "loss": loss.reshape(1)}
    if classes:
        stored["class_labels"] = io["labels"]
    stored |= {"grad.sample": sample.grad} | {f"grad.{key}": p.grad for key, p in model.named_parameters()}
    save_tensors(folder / "io.safetensors", stored)
    return {"name": name, "covers": covers, "options": options, "output_std": float(f"{output.std():.3g}"),
            "float32_error": float(f"{float32_error:.1e}"), "least_seen_parameter": [least[1], float(f"{least[0]:.1e}")],
            "option_noticed": noticed, "kib": round(folder_kib(folder))}


if __name__ == "__main__":
    make_fixtures(__doc__, "dit", ROWS, make)
