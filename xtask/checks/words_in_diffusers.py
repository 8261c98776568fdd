"""A model of words that was trained here, part by part in diffusers and transformers: the same picture from the same noise and words.

    python words_in_diffusers.py PROGRAM runs/scenes "a red circle left of a blue square"

Needs torch, diffusers and transformers (versions in ../golden/requirements.txt). Fails where the pictures differ by more than 1e-3.
"""

import pathlib
import sys

import diffusers
import transformers

import one_picture


def main():
    program, run, prompt = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    folder = one_picture.folder_of(run)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    words = encoder(tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids)

    def network(x, t):
        return unet(x, t, words.last_hidden_state, class_labels=words.pooler_output).sample

    what = ["--prompt", prompt, "--emphasis", "none"]
    one_picture.compare(program, folder, network, unet.config.sample_size, what, 1e-3)


if __name__ == "__main__":
    main()
