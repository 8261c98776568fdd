"""Golden values of `UNet2DModel`: one folder per row of `unet_table.py`.

config.json and diffusion_pytorch_model.safetensors are what diffusers' `save_pretrained` writes;
io.safetensors holds inputs and the output of the network run in double precision (and gradients).
A fixture must be able to fail: every parameter, and every option whose tensor shapes allow it, is
changed once and must move the output; the amounts are recorded in INDEX.json.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import UNet2DModel
from diffusers.models import embeddings

from common import (NN_FIXTURES, VERSIONS, folder_kib, load_tensors, normal, randomise,
                    relative_error, save_tensors, write_json)
from unet_table import FIXTURES, OTHERWISE

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WEIGHTS = "diffusion_pytorch_model.safetensors"
# What diffusers calls (to_q, …) was once called (query, …); released checkpoints still say so.
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
# Values that mean the same as the one in the config.
MEANS = {
    "act_fn": lambda value, _: {value, "silu"} if value == "swish" else {value},
    "attention_head_dim": lambda value, config: {value} if value else set(config.block_out_channels),
    "norm_num_groups": lambda value, config: {value} if value else {c // 4 for c in config.block_out_channels},
    "attn_norm_num_groups": lambda value, config: {value or config.norm_num_groups},
}
# Adding one constant to all keys changes no softmax, so this bias alone is allowed to be invisible.
INVISIBLE = ("to_k.bias", "key.bias")


def build(row, **changes) -> UNet2DModel:
    """The row's network, in double precision, ready to predict."""
    model = UNet2DModel(**(row["options"] | changes)).eval().double()
    if row["options"].get("class_embed_type") == "timestep":
        # diffusers leaves these sinusoids in float32; a double-precision layer needs them wider.
        model.class_embedding.register_forward_pre_hook(lambda _, args: (args[0].double(),))
    return model


def inputs(row, model) -> dict:
    """The io tensors that go in, as they are stored."""
    batch, (height, width) = len(row["timesteps"]), row["size"]
    shape = (batch, row["options"]["in_channels"], height, width)
    io = {"sample": normal(shape, row["name"], "sample"), "timestep": torch.tensor(row["timesteps"], dtype=torch.float32)}
    if row["labels"] == "embedding":
        io["class_labels"] = normal((batch, model.time_embedding.linear_2.out_features), row["name"], "labels")
    elif row["labels"] is not None:
        io["class_labels"] = torch.tensor(row["labels"])
    return io


def predict(model, row, io, dtype=torch.float64) -> torch.Tensor:
    """The network's output for stored inputs, computed in `dtype`."""
    timestep = io["timestep"]
    learned = row["options"].get("time_embedding_type") == "learned"
    timestep = timestep.long() if learned else timestep.to(dtype)
    labels = io.get("class_labels")
    if labels is not None and labels.is_floating_point():
        labels = labels.to(dtype)
    return model(io["sample"].to(dtype), timestep, class_labels=labels).sample


def sinusoid_in_double(timesteps, embedding_dim, flip_sin_to_cos=False, downscale_freq_shift=1.0, **_):
    """The positional embedding in float64, to see how much diffusers' float32 one matters."""
    half = embedding_dim // 2
    exponent = torch.arange(half, dtype=torch.float64) / (half - downscale_freq_shift)
    angle = timesteps.double()[:, None] * torch.exp(-torch.log(torch.tensor(1e4).double()) * exponent)
    order = (torch.cos, torch.sin) if flip_sin_to_cos else (torch.sin, torch.cos)
    return torch.cat([f(angle) for f in order], dim=-1)


def with_double_sinusoid(model, row, io) -> torch.Tensor:
    """The output with that embedding."""
    plain, embeddings.get_timestep_embedding = embeddings.get_timestep_embedding, sinusoid_in_double
    try:
        return predict(model, row, io)
    finally:
        embeddings.get_timestep_embedding = plain


def dimmest_parameter(model, row, io) -> tuple:
    """(relative change of the output when a parameter is forgotten, read as 0, and its name), for the
    parameter that is seen least."""
    weakest = (float("inf"), "")
    with torch.no_grad():
        reference = predict(model, row, io)
        for name, parameter in model.named_parameters():
            if name.endswith(INVISIBLE):
                continue
            kept = parameter.clone()
            parameter.zero_()
            weakest = min(weakest, (relative_error(predict(model, row, io), reference), name))
            parameter.copy_(kept)
    return weakest


def options_noticed(model, row, io, reference) -> dict:
    """For each option, how far the output moves when the config says something else."""
    noticed = {}
    for option, values in OTHERWISE.items():
        value = model.config[option]
        same = MEANS.get(option, lambda value, _: {value})(value, model.config)
        changes = []
        for other in values:
            if other in same or (option == "norm_eps" and max(other, value) < 1e-3):
                continue  # (no float32 output can tell an epsilon of 1e-5 from 1e-6)
            try:
                changed = build(row, **{option: other})
                changed.load_state_dict(model.state_dict())
                with torch.no_grad():
                    changes.append(relative_error(predict(changed, row, io), reference))
            except (RuntimeError, ValueError, ZeroDivisionError):
                continue  # the weights no longer fit: noticed by their shapes
        if changes:
            noticed[option] = float(f"{min(changes):.2e}")
    return noticed


def gradients(model, row, io) -> dict:
    """`grad.*` of mean((output - target)^2)."""
    model.zero_grad()
    sample = io["sample"].double().requires_grad_()
    output = predict(model, row, io | {"sample": sample})
    io["target"] = normal(output.shape, row["name"], "target")
    loss = ((output - io["target"].double()) ** 2).mean()
    loss.backward()
    found = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.requires_grad}
    return {"grad.sample": sample.grad, "loss": loss.reshape(1)} | found


def rename_to_old(folder: Path) -> None:
    """Rewrites a saved weights file with the tensor names of old checkpoints."""
    renamed = {}
    for name, tensor in load_tensors(folder / WEIGHTS).items():
        for new, old in OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = tensor
    save_tensors(folder / WEIGHTS, renamed)


def make(row, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    model = build(row)
    randomise(model, row["name"])
    stored = model.to(DTYPES[row["dtype"]])
    if folder.exists():
        shutil.rmtree(folder)
    stored.save_pretrained(folder)
    if row["legacy"]:
        rename_to_old(folder)

    # What is measured is the file: the network is read back through diffusers' own loader.
    single = UNet2DModel.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    model = build(row)
    model.load_state_dict(single.state_dict())
    io = inputs(row, model)
    with torch.no_grad():
        io["output"] = predict(model, row, io)
        double_sinusoid = with_double_sinusoid(model, row, io)
        float32 = predict(single, row, io, torch.float32)
    noticed = options_noticed(model, row, io, io["output"])
    change, name = dimmest_parameter(model, row, io)
    weak = [option for option, by in noticed.items() if by < 1e-3 and option in row["own"]]
    assert not weak, f"{row['name']}: the output hardly depends on {weak}: {noticed}"
    assert change > 5e-4, f"{row['name']}: the output hardly depends on {name} ({change:.1e})"

    output = io["output"]
    line = {
        "name": row["name"],
        "covers": row["covers"],
        "may_refuse": row["may_refuse"],
        "gradients": row["gradients"],
        "weights_dtype": row["dtype"],
        "options": row["options"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "output_std": float(f"{output.std():.3g}"),
        "float32_error": float(f"{relative_error(float32, output):.1e}"),
        "float32_sinusoid_error": float(f"{relative_error(output, double_sinusoid):.1e}"),
        "least_seen_parameter": [name, float(f"{change:.1e}")],
        "option_noticed": {option: by for option, by in noticed.items() if by > 0},
    }
    if row["gradients"]:
        io |= gradients(model, row, io)
    save_tensors(folder / "io.safetensors", io)
    line["kib"] = round(folder_kib(folder))
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=NN_FIXTURES / "unet")
    parser.add_argument("--only", nargs="*", help="names of fixtures; the index is not rewritten")
    options = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    lines = []
    for row in FIXTURES:
        if options.only and row["name"] not in options.only:
            continue
        line = make(row, options.out / row["name"])
        lines.append(line)
        print(f"{line['name']:24}{line['kib']:5} KiB  std {line['output_std']:<7} f32 error {line['float32_error']:.0e}"
              f"  sinusoid {line['float32_sinusoid_error']:.0e}  least seen {line['least_seen_parameter']}")
        print("   ", json.dumps(line["option_noticed"]))
    print(f"total {sum(line['kib'] for line in lines)} KiB")
    if not options.only:
        write_json(options.out / "INDEX.json", {"versions": VERSIONS, "fixtures": lines})


if __name__ == "__main__":
    main()
