"""Golden pictures of LoRA files: one in each style of keys, and what diffusers and peft make with it.

The pipeline is `stable_diffusion/base` (`stable_diffusion.py`). A row of INDEX.json says which files are loaded and with which
scales; FILE.safetensors are the LoRAs, ROW.expected.safetensors what went in (`init_noise`) and came out: `latents`, `sample`, and
how far both are from what the base makes. Networks run in float64.
"""

import json
from pathlib import Path

import peft
import safetensors.torch
import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer

from common import LIB_FIXTURES, begin, normal, relative_error, save_tensors, write_index
from stable_diffusion import DDIM, TEXT, load, pictures

BASE = LIB_FIXTURES / "stable_diffusion"
PROMPTS = ["a red heart", "three blue circles on canvas"]
# Layers whose rank is not 2, and whose alpha is not 3. Of kohya's files diffusers mixes up alphas that differ within attention.
RANKS = {"conv1": 4, "fc1": 3, "to_k": 1}
ALPHAS = {"to_v": 0.5, "conv1": 1.0, "q_proj": 6.0}
KOHYA_ALPHAS = {"conv1": 1.0}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET = ATTENTION + ("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj",
                    "downsamplers.0.conv", "conv_in")
WORDS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
# The blocks of the base in the original layout, which has one residual block and a sampler a stage.
ORIGINAL = [("down_blocks.0.resnets.0", "input_blocks.1.0"), ("down_blocks.0.attentions.0", "input_blocks.1.1"),
            ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"), ("down_blocks.1.resnets.0", "input_blocks.3.0"),
            ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"),
            ("mid_block.resnets.1", "middle_block.2"), ("up_blocks.0.resnets.0", "output_blocks.0.0"),
            ("up_blocks.0.resnets.1", "output_blocks.1.0"), ("up_blocks.1.resnets.0", "output_blocks.2.0"),
            ("up_blocks.1.attentions.0", "output_blocks.2.1"), ("up_blocks.1.resnets.1", "output_blocks.3.0"),
            ("up_blocks.1.attentions.1", "output_blocks.3.1"), ("conv1", "in_layers.2"), ("conv2", "out_layers.3"),
            ("time_emb_proj", "emb_layers.1"), ("conv_shortcut", "skip_connection"), ("conv_in", "input_blocks.0.0")]


def of(table: dict, layer: str, usual):
    return next((value for end, value in table.items() if layer.endswith(end)), usual)


def layers(pipe, unet=UNET, words=WORDS) -> list:
    """(network, layer, A, B) of all layers that are adapted, the text encoder's with the prefix of published files."""
    found = []
    for network, module, ends in (("unet", pipe.unet, unet), ("text_encoder", pipe.text_encoder, words)):
        for name, layer in module.named_modules():
            if not name.endswith(ends) or not hasattr(layer, "weight"):
                continue
            rank, (out, *ins) = of(RANKS, name, 2), layer.weight.shape
            down = normal((rank, *ins), "lora", network, name, "down") / layer.weight[0].numel() ** 0.5
            up = normal((out, rank, *[1] * (len(ins) - 1)), "lora", network, name, "up") / rank**0.5
            found.append((network, ("text_model." if network == "text_encoder" else "") + name, 0.5 * down, up))
    return found


def dotted(down, up, rename=lambda name: name, prefix=lambda network: f"{network}.") -> dict:
    """A style whose keys are names with dots, given its ends."""
    return lambda found: {prefix(network) + rename(name) + end: tensor for network, name, a, b in found
                          for end, tensor in ((down, a), (up, b))}


def diffusers_style(found) -> dict:
    tensors = {}
    for network, name, a, b in found:
        middle = "lora" if network == "unet" else "lora_linear_layer"
        tensors |= {f"{network}.{name}.{middle}.down.weight": a, f"{network}.{name}.{middle}.up.weight": b}
    return tensors


def processor(name: str) -> str:
    """What attention processors called a projection, and CLIP's."""
    name = name.replace("attn1.", "attn1.processor.").replace("attn2.", "attn2.processor.").replace("to_out.0", "to_out")
    for ours, theirs in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")):
        name = name.replace(ours, theirs)
    return name + "_lora"


def original(name: str) -> str:
    for ours, theirs in ORIGINAL:
        name = name.replace(ours, theirs)
    return name


def kohya(found, words="lora_te", rename=lambda name: name) -> dict:
    tensors = {}
    for network, name, a, b in found:
        key = f"{'lora_unet' if network == 'unet' else words}_{rename(name).replace('.', '_')}"
        tensors |= {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, f"{key}.alpha": torch.tensor(of(KOHYA_ALPHAS, name, 3.0))}
    return tensors


def configuration(found) -> dict:
    """What diffusers keeps of peft's configuration in the header of a file."""
    told = {}
    for network in ("unet", "text_encoder"):
        named = [(name.removeprefix("text_model."), a) for of_network, name, a, _ in found if of_network == network]
        config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=[name for name, _ in named],
                                 rank_pattern={name: len(a) for name, a in named if len(a) != 2},
                                 alpha_pattern={name: of(ALPHAS, name, 3.0) for name, _ in named if of(ALPHAS, name, 3.0) != 3})
        told |= {f"{network}.{key}": sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    return {"lora_adapter_metadata": json.dumps(told, indent=2, sort_keys=True)}


def merged(files: dict, found: dict) -> dict:
    """The same by the definition: `W + scale alpha / rank B A` [Hu21]."""
    pipe = load(BASE, "base", TEXT, DDIM)
    for file, scale in files.items():
        alphas = {"peft": ALPHAS, "kohya": KOHYA_ALPHAS, "kohya-original": KOHYA_ALPHAS}.get(file)
        for network, name, a, b in found[file]:
            weight = getattr(pipe, network).get_submodule(name.removeprefix("text_model.")).weight.data
            factor = 1.0 if alphas is None else of(alphas, name, 3.0) / len(a)
            weight += scale * factor * (b.double().flatten(1) @ a.double().flatten(1)).reshape(weight.shape)
    return sample(pipe)


PEFT = (".lora_A.weight", ".lora_B.weight")
OLD = (".down.weight", ".up.weight")
# File, layers of the two networks, style, what the header says.
FILES = [
    ("peft", {}, dotted(*PEFT, lambda name: name.removeprefix("text_model.")), configuration),
    ("peft-prefix", dict(unet=("conv_in",)), dotted(*PEFT), None),
    ("diffusers", dict(unet=ATTENTION), diffusers_style, None),
    ("processors", dict(unet=ATTENTION, words=WORDS[:4]), dotted(*OLD, processor), None),
    ("unprefixed", dict(unet=ATTENTION, words=()), dotted(*OLD, processor, lambda network: ""), None),
    ("kohya", {}, kohya, None),
    ("kohya-original", dict(words=("fc1",)), lambda found: kohya(found, "lora_te1", original), None),
]
# Row, files with their scales.
ROWS = [(name, {name: 1.0}) for name, *_ in FILES] + [
    ("scaled", {"kohya": -0.6}),
    ("several", {"peft": 0.7, "kohya-original": -0.4, "unprefixed": 1.2}),
]


def attach(pipe, file: Path, name: str, count: int) -> None:
    """Loads a file as diffusers does, and makes sure that it loads all of it."""
    vars(pipe.text_encoder).pop("text_model", None)  # by which diffusers tells old releases of transformers
    before = adapted(pipe)
    if name == "unprefixed":
        pipe.unet.load_lora_adapter(safetensors.torch.load_file(str(file)), prefix=None, adapter_name=name)
    else:
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name, unet_config=pipe.unet.config)
    assert adapted(pipe) - before == count, f"{name}: diffusers loads {adapted(pipe) - before} layers of {count}"


def adapted(pipe) -> int:
    return sum(len(layer.lora_A) for module in (pipe.unet, pipe.text_encoder) for layer in module.modules() if isinstance(layer, BaseTunerLayer))


def sample(pipe) -> dict:
    return pictures(pipe, "lora", prompt=PROMPTS, num_inference_steps=4, guidance_scale=5.0)


def main():
    out = begin(__doc__, LIB_FIXTURES / "lora", anew=True)
    plain, found, lines = load(BASE, "base", TEXT, DDIM), {}, []
    for name, wanted, style, about in FILES:
        found[name] = layers(plain, **wanted)
        tensors = {key: tensor.float().contiguous() for key, tensor in style(found[name]).items()}
        metadata = {"format": "pt"} if about is None else about(found[name])
        safetensors.torch.save_file(tensors, str(out / f"{name}.safetensors"), metadata)
    without = sample(plain)
    for name, files in ROWS:
        pipe = load(BASE, "base", TEXT, DDIM)
        for file in files:
            attach(pipe, out / f"{file}.safetensors", file, len(found[file]))
        pipe.to(torch.float64)
        pipe.set_adapters(list(files), list(files.values()))
        made = sample(pipe)
        error = relative_error(merged(files, found)["sample"], made["sample"])
        assert error < 1e-6, f"{name}: diffusers differs from the definition by {error}"
        save_tensors(out / f"{name}.expected.safetensors", made)
        moved = {key: float(f"{relative_error(without[key], made[key]):.2g}") for key in ("latents", "sample")}
        lines.append({"name": name, "files": files, "layers": [len(found[file]) for file in files], "moved": moved})
        print(lines[-1])
    base = {"unet": "base", "pipeline": TEXT.__name__, "scheduler": dict(_class_name=DDIM[0], **DDIM[1])}
    write_index(out, lines, transformers, peft, base=base, prompts=PROMPTS)


if __name__ == "__main__":
    main()
