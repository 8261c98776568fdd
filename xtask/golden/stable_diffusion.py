"""Golden pictures of words: a tiny pipeline of Stable Diffusion's kind, and what diffusers makes with it from injected noise.

`base/` is a folder as `save_pretrained` leaves it, with a vocabulary of a few hundred tokens and texts of 12; `nine/` and `lcm/` are
other U-Nets for the same folder. A row of INDEX.json says which U-Net, pipeline, scheduler and call it is; ROW.safetensors has what
went in (`init_noise`, `noise.K`, `image`, `mask`) and what came out: `latents`, and `sample`, the decoded pictures before anything is
clipped. Networks run in float64. Posteriors of pictures are read by their mode.
"""

from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import (AutoencoderKL, LatentConsistencyModelPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionPipeline, UNet2DConditionModel)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import LIB_FIXTURES, begin, normal, randomise, save_tensors, write_index
from pipelines import Draws
from words import END, configure, learn

STEPS = 6
UNET = dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2, cross_attention_dim=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
UNETS = {"base": {}, "nine": dict(in_channels=9), "lcm": dict(time_cond_proj_dim=6)}
VAE = dict(down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 8),
           norm_num_groups=4, sample_size=16, layers_per_block=1)
# What Stable Diffusion 1.5 says of its process.
PROCESS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
OFFSET = dict(PROCESS, steps_offset=1)
DDIM = ("DDIMScheduler", dict(OFFSET, clip_sample=False, set_alpha_to_one=False))
PNDM = ("PNDMScheduler", dict(OFFSET, skip_prk_steps=True, set_alpha_to_one=False))
DPMPP = ("DPMSolverMultistepScheduler", dict(OFFSET, use_karras_sigmas=True))
EULER = ("EulerDiscreteScheduler", OFFSET)
LCM = ("LCMScheduler", dict(OFFSET, clip_sample=False, set_alpha_to_one=True, original_inference_steps=50))
V = ("DDIMScheduler", DDIM[1] | dict(prediction_type="v_prediction"))
ZERO = ("DDIMScheduler", V[1] | dict(rescale_betas_zero_snr=True, timestep_spacing="trailing"))
HEART, CIRCLE = "a red heart", "three blue circles on canvas"
TWO = dict(prompt=[HEART, CIRCLE])
TEXT, IMAGE, INPAINT = StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
# Name, U-Net, pipeline, scheduler, what is asked for.
ROWS = [
    ("ddim", "base", TEXT, DDIM, TWO),
    ("pndm", "base", TEXT, PNDM, TWO),
    ("euler", "base", TEXT, EULER, TWO),
    ("euler-ancestral", "base", TEXT, ("EulerAncestralDiscreteScheduler", OFFSET), TWO),
    ("dpmpp-2m-karras", "base", TEXT, DPMPP, TWO),
    ("v", "base", TEXT, V, TWO),
    ("no-guidance", "base", TEXT, DDIM, TWO | dict(guidance_scale=1.0)),
    ("negative", "base", TEXT, DDIM, TWO | dict(negative_prompt=["oil on canvas", "a horse"], guidance_scale=4.0)),
    ("clip-skip", "base", TEXT, DDIM, TWO | dict(clip_skip=1, guidance_scale=1.0)),
    ("rescale", "base", TEXT, ZERO, TWO | dict(guidance_rescale=0.7)),
    ("wide", "base", TEXT, PNDM, TWO | dict(height=16, width=24)),
    ("img2img", "base", IMAGE, DDIM, TWO | dict(strength=0.5)),
    ("img2img-dpmpp", "base", IMAGE, DPMPP, TWO | dict(strength=0.7)),
    ("inpaint", "base", INPAINT, DDIM, TWO | dict(strength=0.7)),
    ("inpaint-euler", "base", INPAINT, EULER, TWO | dict(strength=0.5)),
    ("inpaint-nine", "nine", INPAINT, DDIM, TWO | dict(strength=1.0)),
    ("inpaint-nine-half", "nine", INPAINT, EULER, TWO | dict(strength=0.5)),
    ("lcm", "lcm", LatentConsistencyModelPipeline, LCM, TWO | dict(guidance_scale=8.5, num_inference_steps=4)),
]


def unet(name: str) -> UNet2DConditionModel:
    model = UNet2DConditionModel(**UNET | UNETS[name])
    randomise(model, "stable-diffusion", name)
    return model.eval()


def base(folder: Path) -> None:
    """The folder that all rows share."""
    learn(folder / "tokenizer")
    configure(folder / "tokenizer", END)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                            max_position_embeddings=12, projection_dim=16, bos_token_id=tokenizer.bos_token_id,
                            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    encoder, vae = CLIPTextModel(config).eval(), AutoencoderKL(**VAE).eval()
    randomise(encoder, "stable-diffusion", "text_encoder")
    randomise(vae, "stable-diffusion", "vae")
    scheduler = getattr(diffusers, PNDM[0])(**PNDM[1])
    pipeline = StableDiffusionPipeline(vae, encoder, tokenizer, unet("base"), scheduler, None, None, requires_safety_checker=False)
    pipeline.save_pretrained(folder)


def load(out: Path, name: str, pipeline, scheduler) -> diffusers.DiffusionPipeline:
    """The pipeline of a row in double precision."""
    parts = dict(vae=AutoencoderKL.from_pretrained(out / "base/vae"), unet=UNet2DConditionModel.from_pretrained(out / name / "unet"),
                 text_encoder=CLIPTextModel.from_pretrained(out / "base/text_encoder"),
                 tokenizer=CLIPTokenizer.from_pretrained(out / "base/tokenizer"),
                 scheduler=getattr(diffusers, scheduler[0])(**scheduler[1]))
    made = pipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False).to(torch.float64)
    made.set_progress_bar_config(disable=True)
    # Where diffusers looks for the last normalisation, which transformers 5 has moved.
    object.__setattr__(made.text_encoder, "text_model", made.text_encoder)
    return made


def pictures(pipe, name: str, **call) -> dict:
    """What a pipeline draws, and what it makes: latents, and pictures before anything is clipped."""
    draws = Draws(name)
    draws.inside(pipe, pipe.scheduler)
    with torch.no_grad():
        latents = pipe(**call, output_type="latent").images
        sample = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    noises = {f"noise.{k}": noise for k, noise in enumerate(draws.tensors[1:])}
    return {"init_noise": draws.tensors[0], **noises, "latents": latents, "sample": sample}


def make(out: Path, name, network, pipeline, scheduler, call) -> dict:
    """Writes ROW.safetensors and returns the row's line of the index."""
    pipe = load(out, network, pipeline, scheduler)
    height, width = call.get("height", 16), call.get("width", 16)
    given, io = dict(num_inference_steps=STEPS) | call, {}
    if pipeline in (IMAGE, INPAINT):
        io["image"] = torch.tanh(normal((1, 3, height, width), "stable-diffusion", "image"))
        given["image"] = io["image"].double()
    if pipeline is INPAINT:
        # A rectangle that is not a whole number of latents' pixels.
        io["mask"] = torch.zeros(1, 1, height, width)
        io["mask"][:, :, 3:13, 5:] = 1
        given |= dict(mask_image=io["mask"].double(), height=height, width=width)
    made = pictures(pipe, f"stable-diffusion-{name}", **given)
    save_tensors(out / f"{name}.safetensors", io | made)
    return {"name": name, "unet": network, "pipeline": pipeline.__name__, "scheduler": dict(_class_name=scheduler[0], **scheduler[1]),
            "call": dict(num_inference_steps=STEPS, guidance_scale=7.5) | call, "sample_std": float(f"{made['sample'].std():.3g}"),
            "latents_std": float(f"{made['latents'].std():.3g}")}


def main():
    out = begin(__doc__, LIB_FIXTURES / "stable_diffusion", anew=True)
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    base(out / "base")
    for name in UNETS.keys() - {"base"}:
        unet(name).save_pretrained(out / name / "unet")
    lines = []
    for row in ROWS:
        lines.append(make(out, *row))
        print(lines[-1])
    write_index(out, lines, transformers)


if __name__ == "__main__":
    main()
