"""Golden values of `PriorTransformer`: what `unet.py` makes of U-Nets, for transformers from words to the embedding of a picture.

In `io.safetensors` an embedding is a picture of one pixel, `sample` [B, D, 1, 1] → `output` [B, D', 1, 1]; `class_labels` [B, E] is the
vector of a text. `image_embeds` [B, D'] is the output as the embedding of a picture.
"""

import shutil
from pathlib import Path

import torch
from diffusers import PriorTransformer

from common import folder_kib, generator, make_fixtures, normal, randomise, relative_error, save_tensors

SMALL = dict(num_attention_heads=2, attention_head_dim=4, num_layers=2, embedding_dim=6, num_embeddings=5)
BATCH = 3
# name, what it covers, options, whether tokens are masked (which also hides what comes later), whether gradients are stored
ROWS = [
    ("plain", "the defaults, small", {}, True, True),
    ("unmasked", "every token sees every token; other widths in and out, another activation",
     dict(embedding_proj_dim=5, clip_embed_dim=7, time_embed_dim=9, time_embed_act_fn="gelu"), False, False),
    ("norms", "normalisation of the vector and before the blocks, tokens of words as they are, no token of its own",
     dict(norm_in_type="layer", embedding_proj_norm_type="layer", encoder_hid_proj_type=None, added_emb_type=None, embedding_dim=8,
          additional_embeddings=3, num_attention_heads=1, attention_head_dim=8), True, False),
]


def build(options) -> PriorTransformer:
    """The network in double precision, ready to predict."""
    return PriorTransformer(**options).eval().double()


def predict(model, io) -> torch.Tensor:
    """The output in the precision of `model`, as a picture of one pixel."""
    dtype = model.proj_in.weight.dtype
    wide = {key: value.to(dtype) for key, value in io.items()}
    out = model(wide["sample"].flatten(1), wide["timestep"], wide["class_labels"], wide["encoder_hidden_states"],
                wide.get("encoder_attention_mask")).predicted_image_embedding
    return out.reshape(BATCH, -1, 1, 1)


def dimmest(model, io, output) -> list:
    """The parameter whose loss (read as zero) moves the output least, and how far; offsets of keys cannot be seen."""
    weakest = (float("inf"), "")
    for name, parameter in model.named_parameters():
        if name.endswith("to_k.bias") or name.startswith("clip_"):
            continue
        kept = parameter.detach().clone()
        parameter.data.zero_()
        weakest = min(weakest, (relative_error(predict(model, io), output), name))
        parameter.data.copy_(kept)
    assert weakest[0] > 5e-4, f"the output hardly depends on {weakest}"
    return [weakest[1], float(f"{weakest[0]:.1e}")]


def make(name, covers, changes, masked, gradients, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    options = SMALL | changes
    model = build(options)
    randomise(model, "prior", name)
    if folder.exists():
        shutil.rmtree(folder)
    model.float().save_pretrained(folder)
    single = PriorTransformer.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    model = build(options)
    model.load_state_dict(single.state_dict())
    vector = options.get("embedding_proj_dim") or options["embedding_dim"]
    io = {"sample": normal((BATCH, options["embedding_dim"], 1, 1), "prior", name, "sample"), "timestep": torch.tensor([0.0, 17.0, 903.5]),
          "class_labels": normal((BATCH, vector), "prior", name, "vector"),
          "encoder_hidden_states": normal((BATCH, options["num_embeddings"], options["embedding_dim"]), "prior", name, "tokens")}
    if masked:
        io["encoder_attention_mask"] = torch.tensor([[1.0] * 5, [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    moved = {}
    with torch.no_grad():
        output = predict(model, io)
        for key in sorted(io.keys() - {"sample"}):
            moved[key] = float(f"{relative_error(predict(model, io | {key: io[key].flip(0)}), output):.1e}")
            assert moved[key] > 1e-3, (key, moved)
        least = dimmest(model, io, output)
        float32_error = relative_error(predict(single, io), output)
    stored = io | {"output": output, "image_embeds": model.post_process_latents(output.flatten(1))}
    if gradients:
        sample = io["sample"].double().requires_grad_()
        output = predict(model, io | {"sample": sample})
        target = torch.randn(output.shape, generator=generator("prior", name, "target"))
        loss = ((output - target.double()) ** 2).mean()
        loss.backward()
        stored |= {"target": target, "loss": loss.reshape(1), "grad.sample": sample.grad}
        stored |= {f"grad.{key}": p.grad for key, p in model.named_parameters() if p.grad is not None}
    save_tensors(folder / "io.safetensors", stored)
    return {"name": name, "covers": covers, "options": options, "output_std": float(f"{output.std():.3g}"),
            "float32_error": float(f"{float32_error:.1e}"), "least_seen_parameter": least, "noticed": moved, "kib": round(folder_kib(folder))}


if __name__ == "__main__":
    make_fixtures(__doc__, "prior", ROWS, make)
