"""Golden values of `UNet2DConditionModel`: what `unet.py` makes of `UNet2DModel`, for U-Nets that attend to tokens.

INDEX.json says what moved the output how far when it was changed: a parameter (read as zero), an option that fits the same weights, an
input.
"""

import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from common import folder_kib, generator, make_fixtures, normal, randomise, relative_error, save_tensors

CROSS_DOWN, CROSS_UP, DOWN, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "DownBlock2D", "UpBlock2D"
SMALL = dict(sample_size=8, in_channels=2, out_channels=2, block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=1,
             down_block_types=(CROSS_DOWN, DOWN), up_block_types=(UP, CROSS_UP), cross_attention_dim=6, attention_head_dim=2)
BATCH, TOKENS = 3, 7
# name, what it covers, options, (height, width), whether tokens are masked, whether gradients are stored
ROWS = [
    ("sd1", "Stable Diffusion 1, small: convolutions between pixels and tokens", {}, (8, 8), False, True),
    ("sd2", "Stable Diffusion 2, small: linear maps between pixels and tokens, heads by stage; tokens that do not count",
     dict(use_linear_projection=True, attention_head_dim=(1, 4), upcast_attention=True, down_block_types=(CROSS_DOWN, CROSS_DOWN),
          up_block_types=(CROSS_UP, CROSS_UP)), (8, 8), True, False),
    ("inpaint", "more channels in than out, a picture that is no square, channels that do not divide into the heads",
     dict(in_channels=5, attention_head_dim=3), (4, 6), False, False),
    ("lcm", "a vector beside the time, time features shifted, sines first", dict(time_cond_proj_dim=5, freq_shift=1, flip_sin_to_cos=False),
     (8, 8), False, True),
    ("only-cross", "attention to tokens alone, in one stage of two; transformers of two blocks there; no padding when halved",
     dict(only_cross_attention=(True, False), transformer_layers_per_block=(2, 1), downsample_padding=0,
          down_block_types=(CROSS_DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, CROSS_UP)), (8, 8), True, False),
    ("nested", "layers by stage, transformer blocks by layer, another way up, a divided middle, another epsilon",
     dict(layers_per_block=(2, 1), transformer_layers_per_block=([1, 2], 1), reverse_transformer_layers_per_block=([1, 1], [2, 1, 1]),
          mid_block_scale_factor=1.7, norm_eps=0.01), (8, 8), False, False),
    ("odd-sides", "sides that are halved with a rest, three stages",
     dict(block_out_channels=(4, 4, 8), down_block_types=(CROSS_DOWN, DOWN, DOWN), up_block_types=(UP, UP, CROSS_UP)), (7, 5), False, False),
    ("classes", "a table of classes that stands beside the time", dict(num_class_embeds=5, class_embeddings_concat=True), (8, 8), False, True),
    ("class-timestep", "labels like timesteps, scale and shift, a middle without attention, another activation",
     dict(class_embed_type="timestep", resnet_time_scale_shift="scale_shift", mid_block_type="UNetMidBlock2D", act_fn="gelu"), (8, 8),
     False, False),
    ("class-identity", "labels that are vectors, a time embedding of its own width", dict(class_embed_type="identity", time_embedding_dim=10),
     (8, 8), False, False),
    ("class-projection", "vectors that are projected, activations after the embeddings, other filters at both ends",
     dict(class_embed_type="projection", projection_class_embeddings_input_dim=5, timestep_post_act="mish", time_embedding_act_fn="silu",
          conv_in_kernel=1, conv_out_kernel=5, center_input_sample=True), (8, 8), False, False),
    ("class-simple-projection", "vectors under one map, tokens that are projected, no middle",
     dict(class_embed_type="simple_projection", projection_class_embeddings_input_dim=5, encoder_hid_dim=9, mid_block_type=None), (8, 8),
     True, False),
]
# Options of the forward pass that fit the same weights, each with another value.
OTHERWISE = dict(
    attention_head_dim=lambda c: dict(attention_head_dim=1 if c["attention_head_dim"] != 1 else 2),
    norm_num_groups=lambda c: dict(norm_num_groups=4),
    norm_eps=lambda c: dict(norm_eps=0.3),
    act_fn=lambda c: dict(act_fn="mish"),
    downsample_padding=lambda c: dict(downsample_padding=1 - c["downsample_padding"]),
    flip_sin_to_cos=lambda c: dict(flip_sin_to_cos=not c["flip_sin_to_cos"]),
    freq_shift=lambda c: dict(freq_shift=1 - c["freq_shift"]),
    center_input_sample=lambda c: dict(center_input_sample=not c["center_input_sample"]),
    mid_block_scale_factor=lambda c: dict(mid_block_scale_factor=c["mid_block_scale_factor"] + 1),
)


def build(options) -> UNet2DConditionModel:
    """The network in double precision, ready to predict."""
    model = UNet2DConditionModel(**options).eval().double()
    if options.get("class_embed_type") == "timestep":
        model.class_embedding.register_forward_pre_hook(lambda _, args: (args[0].double(),))
    return model


def predict(model, io) -> torch.Tensor:
    """The output in the precision of `model`."""
    dtype = model.conv_in.weight.dtype
    wide = {key: value.to(dtype) if value.is_floating_point() else value for key, value in io.items()}
    return model(wide["sample"], wide["timestep"], wide["encoder_hidden_states"], class_labels=wide.get("class_labels"),
                 timestep_cond=wide.get("timestep_cond"), encoder_attention_mask=wide.get("encoder_attention_mask")).sample


def inputs(name, options, size, masked) -> dict:
    """What goes in, as it is stored."""
    told = options.get("encoder_hid_dim") or options["cross_attention_dim"]
    io = {"sample": normal((BATCH, options["in_channels"], *size), "unet-condition", name, "sample"),
          "timestep": torch.tensor([0.0, 17.0, 903.5]),
          "encoder_hidden_states": normal((BATCH, TOKENS, told), "unet-condition", name, "tokens")}
    if masked:
        io["encoder_attention_mask"] = torch.tensor([[1.0] * 7, [1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 1, 1]])
    if width := options.get("time_cond_proj_dim"):
        io["timestep_cond"] = normal((BATCH, width), "unet-condition", name, "timestep_cond")
    kind = options.get("class_embed_type")
    if kind == "timestep":
        io["class_labels"] = torch.tensor([3.0, 100.5, 7.0])
    elif kind:
        width = options.get("projection_class_embeddings_input_dim") or options["time_embedding_dim"]
        io["class_labels"] = normal((BATCH, width), "unet-condition", name, "labels")
    elif classes := options.get("num_class_embeds"):
        io["class_labels"] = torch.tensor([0, classes - 1, 2])
    return io


def dimmest(model, io, output) -> list:
    """The parameter whose loss (read as zero) moves the output least, and how far."""
    weakest = (float("inf"), "")
    for name, parameter in model.named_parameters():
        kept = parameter.detach().clone()
        parameter.data.zero_()
        weakest = min(weakest, (relative_error(predict(model, io), output), name))
        parameter.data.copy_(kept)
    assert weakest[0] > 2e-4, f"the output hardly depends on {weakest}"
    return [weakest[1], float(f"{weakest[0]:.1e}")]


def noticed(model, options, io, output) -> dict:
    """How far the output moves when an option, or an input, is another."""
    moved = {}
    for option, other in OTHERWISE.items():
        changed = build(options | other(model.config))
        try:
            changed.load_state_dict(model.state_dict())
        except RuntimeError:
            continue  # other shapes
        moved[option] = float(f"{relative_error(predict(changed, io), output):.1e}")
    for key in sorted(io.keys() - {"sample", "timestep"}):
        other = io[key].flip(0)
        moved[key] = float(f"{relative_error(predict(model, io | {key: other}), output):.1e}")
        assert moved[key] > 1e-3, (key, moved)
    return moved


def make(name, covers, changes, size, masked, gradients, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    options = SMALL | changes
    model = build(options)
    randomise(model, "unet-condition", name)
    if folder.exists():
        shutil.rmtree(folder)
    model.float().save_pretrained(folder)
    single = UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    model = build(options)
    model.load_state_dict(single.state_dict())
    io = inputs(name, options, size, masked)
    with torch.no_grad():
        output = predict(model, io)
        least, moved = dimmest(model, io, output), noticed(model, options, io, output)
        float32_error = relative_error(predict(single, io), output)
    stored = io | {"output": output}
    if gradients:
        sample = io["sample"].double().requires_grad_()
        output = predict(model, io | {"sample": sample})
        target = torch.randn(output.shape, generator=generator("unet-condition", name, "target"))
        loss = ((output - target.double()) ** 2).mean()
        loss.backward()
        stored |= {"target": target, "loss": loss.reshape(1), "grad.sample": sample.grad}
        stored |= {f"grad.{key}": p.grad for key, p in model.named_parameters()}
    save_tensors(folder / "io.safetensors", stored)
    return {"name": name, "covers": covers, "options": options, "output_std": float(f"{output.std():.3g}"),
            "float32_error": float(f"{float32_error:.1e}"), "least_seen_parameter": least, "noticed": moved,
            "kib": round(folder_kib(folder))}


if __name__ == "__main__":
    make_fixtures(__doc__, "unet_condition", ROWS, make)
