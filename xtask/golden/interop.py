"""Our program and diffusers, each with the other's models.

    interop.py ours   BINARY MODEL [--work DIR]   a folder that undiffuse wrote: diffusers loads it, networks are
                                                  compared, 16 images are drawn with 50 DDIM steps
    interop.py theirs BINARY [--work DIR]         full-size random diffusers models: undiffuse predicts and samples
                                                  from injected noise, tensors and pixels are compared

Noise goes in as a safetensors file with `init_noise` [B, C, H, W] (unit normal) and, for stochastic
solvers, `noise.K` in the order of use. Exit code 1 when a bound is passed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DiffusionPipeline, UNet2DModel

from common import load_tensors, normal, relative_error, save_tensors
from images import read_pngs, save_grid, to_bytes
from pipelines import Draws, walk

NETWORK_BOUND, SAMPLE_BOUND, PIXEL_BOUND = 1e-4, 1e-3, 1  # relative, relative, grey levels

REFERENCE = dict(  # the workload that the project's timings are about
    sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(64, 128, 128),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), norm_num_groups=32, attention_head_dim=32)
CLASSES = dict(
    sample_size=28, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(32, 64, 64),
    down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=8, attention_head_dim=16,
    num_class_embeds=11)
V = {"prediction_type": "v_prediction"}  # an untrained network keeps samples of unit size with this one

# (name, network, saved scheduler, its config, steps, words for `undiffuse sample`, scheduler that is to be matched)
# The last two are for asking for another solver than the folder's own.
# DDIM with clipping keeps the network's own eps; on random weights that is chaotic: PyTorch in float32 ends 0.16 of 1 away
# from itself in float64 after 20 steps. The trained networks of `pipelines.py` hold us to clipped DDIM instead.
FREE = {"clip_sample": False}
SAMPLINGS = [
    ("ddim", REFERENCE, "DDIMScheduler", FREE, 20, [], None),
    ("ddpm", REFERENCE, "DDPMScheduler", V, 20, [], None),
    ("ddim-of-ddpm", REFERENCE, "DDPMScheduler", V | FREE, 20, ["--solver", "ddim"], "DDIMScheduler"),
    ("euler", REFERENCE, "EulerDiscreteScheduler", V, 20, [], None),
    ("heun", REFERENCE, "HeunDiscreteScheduler", V, 10, [], None),
    ("dpmpp-2m", REFERENCE, "DPMSolverMultistepScheduler", V, 20, [], None),
    ("edm-euler", REFERENCE, "EDMEulerScheduler", {}, 18, [], None),
    ("flow", REFERENCE, "FlowMatchEulerDiscreteScheduler", {}, 20, [], None),
    ("ddim-class", CLASSES, "DDIMScheduler", V | FREE, 20, ["--class", "7"], None),
    ("ddim-eta", CLASSES, "DDIMScheduler", V | FREE, 20, ["--class", "7", "--eta", "0.5"], None),
]


class Report:
    """Prints one line per comparison and remembers whether any bound was passed."""

    failed = False

    def line(self, what: str, value: float, bound: float, beside: str = ""):
        good = value <= bound
        self.failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {what:44} {value:.2e} (bound {bound:.0e}) {beside}", flush=True)


def run(binary: Path, *words) -> None:
    """Runs undiffuse and stops with its own message when it fails."""
    command = [str(binary), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")


def offers(binary: Path, command: str, word: str) -> bool:
    """Whether the command's help mentions the word."""
    done = subprocess.run([str(binary), command, "--help"], capture_output=True, text=True)
    return word in done.stdout


def compare_networks(report: Report, binary: Path, folder: Path, unet: UNet2DModel, work: Path, batch: int = 4) -> None:
    """The bare network on random inputs, against the same network in double precision."""
    config = unet.config
    size = config.sample_size if isinstance(config.sample_size, (list, tuple)) else (config.sample_size,) * 2
    io = {"sample": normal((batch, config.in_channels, *size), "interop", "sample"), "timestep": torch.linspace(3, 980, batch).round()}
    if config.num_class_embeds:
        io["class_labels"] = torch.arange(batch) % config.num_class_embeds
    save_tensors(work / "in.safetensors", io)
    run(binary, "predict", folder, "--input", work / "in.safetensors", "--output", work / "out.safetensors")
    ours = load_tensors(work / "out.safetensors")["sample"]

    def theirs(model, dtype):
        with torch.no_grad():
            return model(io["sample"].to(dtype), io["timestep"].to(dtype), class_labels=io.get("class_labels")).sample

    single = theirs(unet.float().eval(), torch.float32)
    truth = theirs(unet.double().eval(), torch.float64)
    unet.float()
    report.line("network output", relative_error(ours, truth), NETWORK_BOUND,
                f"diffusers in float32: {relative_error(single, truth):.1e}")


def predictor(unet, labels):
    """`(x, timestep) -> network output` for the scheduler loop."""
    def predict(x, timestep):
        told = torch.as_tensor(timestep, dtype=torch.float32).expand(len(x))
        return unet(x.float(), told, class_labels=labels).sample

    return predict


def sample_theirs(unet, scheduler, steps, init, labels=None, call=None):
    """(final sample, noise drawn on the way) of the hand loop that the golden pipelines use."""
    scheduler.set_timesteps(steps)
    draws = Draws("interop")
    draws.inside(scheduler)
    with torch.no_grad():
        *_, last = walk(predictor(unet, labels), scheduler, {"call": call or {}}, init, [])
    return last, draws.tensors


def check_ours(binary: Path, folder: Path, work: Path) -> bool:
    """diffusers with a model of ours."""
    report = Report()
    pipeline = DDPMPipeline.from_pretrained(folder)
    generic = DiffusionPipeline.from_pretrained(folder)
    print(f"loaded as DDPMPipeline with {type(pipeline.scheduler).__name__}, and as {type(generic).__name__}; "
          f"{sum(p.numel() for p in pipeline.unet.parameters()):,} parameters")
    unet, scheduler = pipeline.unet, pipeline.scheduler
    compare_networks(report, binary, folder, unet, work)
    if {"beta_schedule", "clip_sample"} <= scheduler.config.keys():
        scheduler = DDIMScheduler.from_config(scheduler.config)
    config = unet.config
    size = config.sample_size if isinstance(config.sample_size, (list, tuple)) else (config.sample_size,) * 2
    labels = torch.arange(16) % min(10, config.num_class_embeds) if config.num_class_embeds else None
    init = normal((16, config.in_channels, *size), "interop", "grid")
    last, _ = sample_theirs(unet, scheduler, 50, init, labels)
    save_grid(to_bytes(last), work / "diffusers-grid.png")
    print(f"16 images by {type(scheduler).__name__} in 50 steps: {work / 'diffusers-grid.png'}")
    return not report.failed


def label_in(words) -> int | None:
    """The class that the sampling's words ask for."""
    return int(words[words.index("--class") + 1]) if "--class" in words else None


def check_theirs(binary: Path, work: Path, batch: int = 2) -> bool:
    """undiffuse with models of diffusers."""
    report, compared = Report(), []
    raw = offers(binary, "sample", "--raw")
    for name, network, saved, config, steps, words, matched in SAMPLINGS:
        torch.manual_seed(0)
        unet = UNet2DModel(**network).eval()
        scheduler = getattr(diffusers, saved)(**config)
        folder = work / name
        DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder)
        print(f"{name}: {saved} {json.dumps(config)} {' '.join(words)}")
        if network not in compared:
            compare_networks(report, binary, folder, unet, work)
            compared.append(network)

        if matched:
            scheduler = getattr(diffusers, matched).from_config(scheduler.config)
        init = normal((batch, network["in_channels"], network["sample_size"], network["sample_size"]), "interop", name)
        label = label_in(words)
        labels = None if label is None else torch.full((batch,), label)
        call = {"eta": float(words[words.index("--eta") + 1])} if "--eta" in words else {}
        last, noise = sample_theirs(unet, scheduler, steps, init, labels, call)
        save_tensors(work / f"{name}.safetensors", {"init_noise": init} | {f"noise.{k}": x for k, x in enumerate(noise)})

        out = work / f"{name}-out"
        arguments = ["sample", folder, "-n", batch, "--init-noise", work / f"{name}.safetensors", "--steps", steps, *words, "--out", out, "--overwrite"]
        if raw:
            arguments += ["--raw", work / f"{name}-raw.safetensors"]
        run(binary, *arguments)
        if raw:
            tensors = load_tensors(work / f"{name}-raw.safetensors")
            ours = tensors.get("sample", next(iter(tensors.values())))
            report.line("samples", relative_error(ours, last), SAMPLE_BOUND)
        pixels, _ = read_pngs(out, "L" if network["in_channels"] == 1 else "RGB")
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        difference = (pixels.int() - to_bytes(last).int()).abs()
        report.line("pixels, largest difference", difference.max().item(), PIXEL_BOUND,
                    f"differing: {(difference > 0).float().mean().item():.1%}")
    return not report.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["ours", "theirs"])
    parser.add_argument("binary", type=Path, help="the undiffuse program")
    parser.add_argument("model", type=Path, nargs="?", help="ours: the model folder")
    parser.add_argument("--work", type=Path, default=Path("interop-out"), help="where files go")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    diffusers.logging.set_verbosity_error()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.which == "ours" and options.model is None:
        parser.error("ours needs MODEL")
    good = (check_ours(options.binary, options.model, options.work) if options.which == "ours"
            else check_theirs(options.binary, options.work))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
