"""A prior that was trained here, part by part in diffusers and transformers: the same vectors from the same noise and words.

    python prior_in_diffusers.py PROGRAM runs/prior "a red circle left of a blue square"

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt). Fails where an answer differs by more than 1e-4 of
the largest.
"""

import pathlib
import subprocess
import sys
import tempfile

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file


def theirs(folder: pathlib.Path, prompt: str) -> tuple:
    prior = diffusers.PriorTransformer.from_pretrained(folder / "prior")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder")
    length = prior.config.num_embeddings
    tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    words, mask = encoder(**tokens), tokens.attention_mask
    hidden = words.last_hidden_state * mask[..., None]
    x = torch.randn(3, prior.config.embedding_dim, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([999.0, 400.0, 0.0])
    told = {"proj_embedding": words.text_embeds, "encoder_hidden_states": hidden, "attention_mask": mask.bool()}
    told = {name: tensor.expand(3, *tensor.shape[1:]).contiguous() for name, tensor in told.items()}
    answer = prior(x, times, **told).predicted_image_embedding
    given = {"sample": x[..., None, None], "timestep": times, "class_labels": told["proj_embedding"],
             "encoder_hidden_states": told["encoder_hidden_states"], "encoder_attention_mask": told["attention_mask"].float()}
    return given, {"sample": answer, "image_embeds": prior.post_process_latents(answer)}


def ours(program: str, folder: pathlib.Path, given: dict) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = pathlib.Path(scratch) / "in.safetensors", pathlib.Path(scratch) / "out.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in given.items()}, inputs)
        subprocess.run([program, "predict", folder, "--input", inputs, "--output", outputs], check=True, capture_output=True)
        return load_file(outputs)


def main():
    program, run, prompt = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    folder = run / "model" if (run / "model").is_dir() else run
    with torch.inference_mode():
        given, expected = theirs(folder, prompt)
    found = ours(program, folder, given)
    for name, tensor in expected.items():
        difference = ((found[name].reshape(tensor.shape) - tensor).abs().max() / tensor.abs().max()).item()
        print(f"{run}: {name} differs by {difference:.1e} of the largest")
        assert difference <= 1e-4


if __name__ == "__main__":
    main()
