"""Golden values of transformers' encoders of words and pictures: `CLIPTextModel`, `CLIPTextModelWithProjection`,
`CLIPVisionModelWithProjection` and `BertModel`.

Tiny random networks in double precision, written by `save_pretrained`; INDEX.json says how much the least visible parameter
moves the output. transformers 5 writes `CLIPTextModel` without the `text_model.` that all published files have, and leaves out
the position ids that old ones have: a row says `published` where the fixture is written as those are.
"""

import shutil
from pathlib import Path

import safetensors.torch
import torch
import transformers
from transformers import (BertConfig, BertModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig,
                          CLIPVisionModelWithProjection)

from common import (NN_FIXTURES, begin, folder_kib, generator, load_tensors, normal, randomise, relative_error, save_tensors,
                    write_index)

SIZE = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2)
WORDS = SIZE | dict(vocab_size=40, max_position_embeddings=9, bos_token_id=38, eos_token_id=39, pad_token_id=39)
PICTURES = SIZE | dict(num_channels=3, image_size=12, patch_size=4, projection_dim=10)
BERT = SIZE | dict(vocab_size=40, max_position_embeddings=9)
# Class, name, what it covers, options, what else.
ROWS = [
    (CLIPTextModel, "plain", "the defaults, small; the end by its id, behind which is what a text was filled up with", WORDS,
     {"gradients"}),
    (CLIPTextModel, "published", "as published files are: their prefix, their position ids, the end said to be token 2; GELU",
     WORDS | dict(hidden_act="gelu", eos_token_id=2), {"published"}),
    (CLIPTextModel, "mask", "tokens that don't count, other heads and epsilon",
     WORDS | dict(num_attention_heads=4, layer_norm_eps=0.1), {"mask"}),
    (CLIPTextModelWithProjection, "projection", "a projected end", WORDS | dict(projection_dim=7), {"gradients"}),
    (CLIPTextModelWithProjection, "projection-published", "the same as published, one layer, the tanh GELU",
     WORDS | dict(projection_dim=20, num_hidden_layers=1, hidden_act="gelu_new", eos_token_id=2), {"published"}),
    (CLIPVisionModelWithProjection, "plain", "the defaults, small", PICTURES, {"gradients"}),
    (CLIPVisionModelWithProjection, "not-whole", "patches that leave a rim, one channel, GELU",
     PICTURES | dict(image_size=15, num_channels=1, hidden_act="gelu", num_attention_heads=1), set()),
    (BertModel, "plain", "the defaults, small", BERT, {"gradients"}),
    (BertModel, "mask", "tokens that don't count, other heads, kinds and epsilon, ReLU",
     BERT | dict(num_attention_heads=4, layer_norm_eps=0.1, type_vocab_size=3, hidden_act="relu"), {"mask"}),
]
CONFIGS = {CLIPTextModel: CLIPTextConfig, CLIPTextModelWithProjection: CLIPTextConfig,
           CLIPVisionModelWithProjection: CLIPVisionConfig, BertModel: BertConfig}
FOLDERS = {CLIPTextModel: "clip_text", CLIPTextModelWithProjection: "clip_text", CLIPVisionModelWithProjection: "clip_vision",
           BertModel: "bert"}


def inputs(kind, options, extras, *words) -> dict:
    """Three texts of eight tokens, of which the ends are at different places, or three pictures."""
    if kind is CLIPVisionModelWithProjection:
        side = options["image_size"]
        return {"pixel_values": normal((3, options["num_channels"], side, side), *words, "pixels")}
    ids = torch.randint(0, 38, (3, 8), generator=generator(*words, "ids"))
    if kind is not BertModel:
        ids[:, 0] = 38
        for text, end in enumerate((7, 3, 5)):
            ids[text, end:] = 39
        ids[2, 5:] = torch.tensor([39, 4, 39])
    mask = torch.ones_like(ids)
    for text, count in enumerate((8, 4, 6)):
        mask[text, count:] = 0
    return {"input_ids": ids} | ({"attention_mask": mask} if "mask" in extras else {})


def predict(model, io) -> dict:
    """All that comes out, in the precision of `model`: with the states after the last layer but one as Stable Diffusion reads
    them (`clip_skip` 1)."""
    dtype = next(model.parameters()).dtype
    io = {name: tensor.to(dtype) if name == "pixel_values" else tensor for name, tensor in io.items()}
    out = model(**io, output_hidden_states=True)
    pooled = {name: out[name] for name in ("pooler_output", "text_embeds", "image_embeds") if name in out}
    answer = {"last_hidden_state": out.last_hidden_state} | pooled
    if "input_ids" in io and len(out.hidden_states) > 2:
        early = out.hidden_states[-2]
        text_model = getattr(model, "text_model", model)
        answer["skip_1"] = text_model.final_layer_norm(early) if hasattr(text_model, "final_layer_norm") else early
    return answer


def joined(answer) -> torch.Tensor:
    """All that comes out as one vector, each part with its own magnitude taken out."""
    return torch.cat([part.double().flatten() / part.double().std() for part in answer.values()])


def least_seen(model, io, answer) -> tuple:
    """The parameter whose loss (read as zero) moves the answer least, and how far; offsets of keys cannot be seen."""
    weakest = (float("inf"), "")
    for name, parameter in model.named_parameters():
        if name.endswith(("k_proj.bias", "key.bias")):
            continue
        kept = parameter.detach().clone()
        parameter.data.zero_()
        weakest = min(weakest, (relative_error(joined(predict(model, io)), joined(answer)), name))
        parameter.data.copy_(kept)
    return weakest


def publish(folder: Path) -> None:
    """Renames the tensors to what published files call them."""
    path = folder / "model.safetensors"
    tensors = {name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}": tensor
               for name, tensor in load_tensors(path).items()}
    places = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
    tensors["text_model.embeddings.position_ids"] = torch.arange(places).expand((1, -1)).contiguous()
    safetensors.torch.save_file(tensors, str(path), metadata={"format": "pt"})


def make(kind, name, covers, options, extras, folder: Path) -> dict:
    """Writes one fixture and returns its line of the index."""
    words = (kind.__name__, name)
    model = kind(CONFIGS[kind](**options)).eval()
    randomise(model, *words)
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if parameter.endswith(("q_proj.weight", "k_proj.weight", "query.weight", "key.weight")):
                weight.mul_(2)
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    io = inputs(kind, options, extras, *words)
    with torch.no_grad():
        single = predict(model, io)
        model = model.double()
        answer = predict(model, io)
        least = least_seen(model, io, answer)
    assert least[0] > 5e-4, f"{name}: the answer hardly depends on {least}"
    stored = io | answer
    if "gradients" in extras:
        answer = predict(model, io)
        loss = sum((part ** 2).mean() for part in answer.values())
        loss.backward()
        stored |= {f"grad.{key}": p.grad for key, p in model.named_parameters()}
    save_tensors(folder / "io.safetensors", stored)
    if "published" in extras:
        publish(folder)
    errors = {key: float(f"{relative_error(single[key], answer[key]):.1e}") for key in answer}
    return {"class": kind.__name__, "name": name, "covers": covers, "options": options, "float32_error": errors,
            "least_seen_parameter": [least[1], float(f"{least[0]:.1e}")], "kib": round(folder_kib(folder))}


def main():
    out = begin(__doc__, NN_FIXTURES)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    lines = {}
    for kind, name, *row in ROWS:
        line = make(kind, name, *row, out / FOLDERS[kind] / name)
        print(line)
        lines.setdefault(FOLDERS[kind], []).append(line)
    for folder, fixtures in lines.items():
        write_index(out / folder, fixtures, transformers)


if __name__ == "__main__":
    main()
