"""Makes a pipeline as large as Stable Diffusion 1.5, with random weights and a vocabulary of letters: stable_diffusion.py FOLDER

The index of the pipeline is written last, so a folder that has it is whole. Needs 5 GB of disk and 8 GB of memory.
"""

import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

torch.manual_seed(0)
folder = Path(sys.argv[1])
UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_pretrained(folder / "unet")
AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, block_out_channels=(128, 256, 512, 512),
              layers_per_block=2, sample_size=512).save_pretrained(folder / "vae")
CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768)
              ).save_pretrained(folder / "text_encoder")
PNDMScheduler(beta_end=0.012, beta_start=0.00085, beta_schedule="scaled_linear", set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1
              ).save_pretrained(folder / "scheduler")

# Bytes are written as CLIP writes them: printable ones as themselves, the others from 256 on.
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
others = [byte for byte in range(256) if byte not in printable]
letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
words = [*letters, *(letter + "</w>" for letter in letters)]
vocabulary = {word: i for i, word in enumerate(words)}
vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
tokenizer = folder / "tokenizer"
tokenizer.mkdir(exist_ok=True)
(tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
(tokenizer / "merges.txt").write_text("#version: 0.2\n")
special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
(tokenizer / "special_tokens_map.json").write_text(json.dumps(special))
(tokenizer / "tokenizer_config.json").write_text(json.dumps({**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}))

index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None], "image_encoder": [None, None],
         "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "PNDMScheduler"],
         "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
         "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
(folder / "model_index.json").write_text(json.dumps(index, indent=2))
