"""Golden samples: tiny whole diffusers pipelines and what they make from injected noise.

Each folder of `pipelines_table.py` is a model folder as diffusers saves it, with an
expected.safetensors beside it. The protocol is in README.md.
"""

import argparse
import copy
import json
import shutil
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import DDPMPipeline, UNet2DModel

from common import (LIB_FIXTURES, VERSIONS, folder_kib, load_tensors, normal, randomise, relative_error,
                    save_tensors, write_json)
from pipelines_table import FIXTURES, UNETS
from toy_denoiser import example_of, train

BATCH = 2
NULL_LABEL = 10  # the label that means "no class" in the guided row


class Draws:
    """Stands in for `randn_tensor`: hands out keyed noise in order and remembers it."""

    def __init__(self, name, first=()):
        self.name, self.first, self.tensors = name, list(first), []

    def __call__(self, shape, *_, dtype=None, **__):
        if self.first:
            return self.first.pop(0)
        noise = normal(shape, self.name, "noise", len(self.tensors))
        self.tensors.append(noise)
        return noise.to(dtype or torch.float32)

    def inside(self, *objects):
        """Puts this in place of `randn_tensor` in the modules that define the objects."""
        for thing in objects:
            sys.modules[type(thing).__module__].randn_tensor = self


# What a network's training depends on: rows that agree in these share one.
TRAINED_ON = ("prediction_type", "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
              "rescale_betas_zero_snr", "sigma_data", "sigma_max")


def network(row, scheduler, trained) -> UNet2DModel:
    """The row's network, made on first use."""
    words = (row["unet"], example_of(scheduler).__name__, *(f"{key} {scheduler.config.get(key)}" for key in TRAINED_ON if scheduler.config.get(key)))
    if words not in trained:
        model = UNet2DModel(**UNETS[row["unet"]])
        randomise(model, "pipelines", row["unet"])
        print(f"trained {words}: loss {train(model, scheduler, *words):.3f}")
        trained[words] = model
    return copy.deepcopy(trained[words])


def predictor(model, row, dtype=torch.float64):
    """`(x, timestep) -> network output` in float32, computed in `dtype`, guided where the row says so."""
    labels = None if row["labels"] is None else torch.tensor(row["labels"])

    def run(x, timestep, labels):
        timestep = torch.as_tensor(timestep, dtype=dtype).expand(len(x))
        return model(x.to(dtype), timestep, class_labels=labels).sample.float()

    def guided(x, timestep):
        free = run(x, timestep, torch.full_like(labels, NULL_LABEL))
        return free + row["guidance"] * (run(x, timestep, labels) - free)

    return guided if row["guidance"] else lambda x, timestep: run(x, timestep, labels)


def walk(predict, scheduler, row, init, told):
    """The sample after every network call of an ordinary scheduler."""
    x = init * float(getattr(scheduler, "init_noise_sigma", 1.0))
    after = {}
    for i, t in enumerate(scheduler.timesteps):
        told.append(float(t))
        if row["scheduler"] == "UnCLIPScheduler":  # its pipelines say what comes next
            after = {"prev_timestep": scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None}
        output = predict(scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x, t)
        x = scheduler.step(output, t, x, **row["call"], **after).prev_sample
        yield x


def walk_ve(predict, scheduler, row, init, told):
    """The same for score-based VE: correctors, then the predictor, at each noise level; the mean comes last."""
    x = init * scheduler.init_noise_sigma
    for k, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[k]
        for _ in range(scheduler.config.correct_steps):
            told.append(float(sigma))
            x = scheduler.step_correct(predict(x, sigma), x).prev_sample
            yield x
        told.append(float(sigma))
        output = scheduler.step_pred(predict(x, sigma), t, x)
        x = output.prev_sample
        yield output.prev_sample_mean if k + 1 == len(scheduler.timesteps) else x


def sample(model, scheduler, row, init, dtype) -> dict:
    """Everything that expected.safetensors holds."""
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(row["steps"])
    ve = row["scheduler"].startswith("ScoreSdeVe")
    if ve:
        scheduler.set_sigmas(row["steps"])
    draws, told, steps, drawn_at = Draws(row["name"]), [], [], []
    draws.inside(scheduler)
    with torch.no_grad():
        for x in (walk_ve if ve else walk)(predictor(model, row, dtype), scheduler, row, init, told):
            drawn_at += [len(steps)] * (len(draws.tensors) - len(drawn_at))
            steps.append(x)
    result = {"init_noise": init, "timesteps": scheduler.timesteps.float(), "told": torch.tensor(told), "sample": steps[-1]}
    if hasattr(scheduler, "sigmas"):
        result["sigmas"] = torch.as_tensor(scheduler.sigmas).float()
    if row["labels"]:
        result["class_labels"] = torch.tensor(row["labels"])
    if drawn_at:
        result["noise_call"] = torch.tensor(drawn_at)
    result |= {f"noise.{k}": noise for k, noise in enumerate(draws.tensors)}
    return result | {f"step.{k}": x for k, x in enumerate(steps)}


def pipeline_agrees(folder: Path, row, expected) -> float:
    """Relative error of diffusers' own pipeline, run on the saved folder with the same noise."""
    pipeline = getattr(diffusers, row["pipeline"]).from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    Draws(row["name"], first=[expected["init_noise"]]).inside(pipeline, pipeline.scheduler)
    options = {"eta": row["call"]["eta"]} if "eta" in row["call"] else {}
    if row["labels"]:
        options["class_labels"] = list(row["labels"])
    images = pipeline(batch_size=BATCH, num_inference_steps=row["steps"], output_type="np", **options).images
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    wanted = expected["sample"] if row["scheduler"].startswith("ScoreSdeVe") else expected["sample"] / 2 + 0.5
    return relative_error(images, wanted.clamp(0, 1))


def make(row, folder: Path, trained: dict) -> dict:
    """Writes one fixture and returns its line of the index."""
    scheduler = getattr(diffusers, row["scheduler"])(**row["config"])
    model = network(row, scheduler, trained)
    if folder.exists():
        shutil.rmtree(folder)
    pipeline_class = getattr(diffusers, row["pipeline"]) if row["pipeline"] else DDPMPipeline
    pipeline_class(unet=model, scheduler=scheduler).save_pretrained(folder)

    unet = UNETS[row["unet"]]
    init = normal((BATCH, unet["in_channels"], unet["sample_size"], unet["sample_size"]), row["name"], "init")
    rough = sample(model, scheduler, row, init, torch.float32)
    expected = sample(model.double(), scheduler, row, init, torch.float64)
    assert all(torch.isfinite(t).all() for t in expected.values() if t.is_floating_point()), row["name"]
    save_tensors(folder / "expected.safetensors", expected)

    before = expected.get(f"step.{len(expected['told']) - 2}", init)
    line = {key: row[key] for key in ("name", "scheduler", "config", "unet", "steps", "call", "guidance", "may_refuse")}
    if row["guidance"]:
        line["null_label"] = NULL_LABEL
    line |= {
        "calls": len(expected["told"]),
        "draws": len(expected.get("noise_call", [])),
        "init_noise_sigma": initial_scale(scheduler, row),
        "sample_std": float(f"{expected['sample'].std():.3g}"),
        "last_call_moves": float(f"{relative_error(before, expected['sample']):.1e}"),
        "float32_error": float(f"{relative_error(rough['sample'], expected['sample']):.1e}"),
    }
    if row["pipeline"]:
        line["pipeline_error"] = float(f"{pipeline_agrees(folder, row, load_tensors(folder / 'expected.safetensors')):.1e}")
        assert line["pipeline_error"] < 1e-4, f"{row['name']}: {row['pipeline']} itself differs by {line['pipeline_error']}"
    line["kib"] = round(folder_kib(folder))
    return line


def initial_scale(scheduler, row) -> float:
    """What multiplies the unit noise before the first call."""
    scheduler.set_timesteps(row["steps"])
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=LIB_FIXTURES / "pipelines")
    parser.add_argument("--only", nargs="*", help="names of fixtures; the others stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    lines, trained = [], {}
    for row in FIXTURES:
        if options.only and row["name"] not in options.only:
            continue
        line = make(row, options.out / row["name"], trained)
        lines.append(line)
        print(f"{line['name']:28}{line['kib']:4} KiB {line['calls']:3} calls {line['draws']:3} draws  std {line['sample_std']:<7}"
              f" last call {line['last_call_moves']:.0e} f32 error {line['float32_error']:.0e}  pipeline {line.get('pipeline_error', '-')}", flush=True)
    print(f"total {sum(line['kib'] for line in lines)} KiB")
    index = options.out / "INDEX.json"
    if options.only and index.exists():
        made = {line["name"] for line in lines}
        lines += [line for line in json.loads(index.read_text())["fixtures"] if line["name"] not in made]
    order = [row["name"] for row in FIXTURES]
    lines = sorted((line for line in lines if line["name"] in order), key=lambda line: order.index(line["name"]))
    write_json(index, {"versions": VERSIONS, "fixtures": lines})


if __name__ == "__main__":
    main()
