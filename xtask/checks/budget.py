#!/usr/bin/env python3
"""Does a budget keep its word?  budget.py PROGRAM [--budget 180] [--show burst|late|kills|calm ...] [--data FOLDER] [TRAIN OPTIONS]

Trains with a budget of time beside a neighbour, or under `kill -9`, and says for each show: how long it ran, whether that is
within 5 % of the budget, whether the learning rate came to its end with model, validation and samples written, and whether a
replay of its decisions with the clock off ends in the same bits.

  calm    alone
  burst   a neighbour burns one core for the first sixth of the budget
  late    a neighbour burns one core during the last half
  kills   20 kills at random moments, each resumed
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BURN = [sys.executable, "-c", "while True: pass"]


class Neighbour:
    """Burns a core from `start` to `end`, in seconds from now."""

    def __init__(self, start, end):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(start, end))
        self.thread.start()

    def run(self, start, end):
        if self.over.wait(start):
            return
        burner = subprocess.Popen(BURN)
        self.over.wait(end - start)
        burner.kill()
        burner.wait()

    def stop(self):
        self.over.set()
        self.thread.join()


def life(command, seconds=None):
    """Runs a command, kills it after `seconds`; how long it ran, and whether it came to its end."""
    began = time.monotonic()
    with open("/dev/null") as nothing, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=nothing, stdout=said, stderr=said)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.monotonic() - began, False
        if code:
            said.seek(0)
            sys.exit(f"{' '.join(command)} failed ({code}):\n{said.read().decode()[-2000:]}")
        return time.monotonic() - began, True


def show(name, args, folder, rng):
    run, budget = folder / name, args.budget
    base = [args.program, "train", "--plain"]
    start = [*base, "--run", str(run), "--budget", f"{budget}s", "--seed", "1", *args.options]
    start += ["--data", args.data] if args.data else []
    neighbour = {"burst": (0, budget / 6), "late": (budget / 2, 10 * budget)}.get(name)
    neighbour = neighbour and Neighbour(*neighbour)
    try:
        if name == "kills":
            cuts = sorted(rng.uniform(0.01, 0.99) * budget for _ in range(args.kills))
            lengths = [b - a for a, b in zip([0.0, *cuts], cuts)]
            seconds, command = 0.0, start
            for length in [*lengths, None]:
                took, over = life(command, length)
                seconds += took
                if (run / "config.toml").exists():
                    command = [*base, "--resume", str(run)]
                elif run.exists():
                    shutil.rmtree(run)
                if over and length is not None:
                    print(f"  {name}: came to its end before the last kill")
                    break
        else:
            seconds, _ = life(start)
    finally:
        if neighbour:
            neighbour.stop()
    return judge(name, args, run, seconds)


def judge(name, args, run, seconds):
    lines = [json.loads(line) for line in open(run / "metrics.jsonl")]
    steps = [line for line in lines if line["event"] == "step"]
    length = json.loads((run / "length.json").read_text())["segments"][-1]
    peak, last = max(s["lr"] for s in steps), steps[-1]
    replay = run.with_name(run.name + "-replay")
    life([args.program, "train", "--plain", "--replay", str(run), "--run", str(replay)])
    sums = [digest(sorted((folder / "checkpoints").glob("*"))[-1]) for folder in (run, replay)]
    weights = [digest(folder / "model/unet/diffusion_pytorch_model.safetensors") for folder in (run, replay)]
    checks = {
        "within 5 %": abs(seconds / args.budget - 1) <= 0.05,
        "at its end": last["nimg"] == length["until"],
        "annealed": last["lr"] <= 0.01 * peak,
        "model": (run / "model/unet/config.json").is_file(),
        "validated": any(line["event"] == "validation" and line["nimg"] == last["nimg"] for line in lines),
        "last samples": (run / f"samples/{last['nimg']:09}.png").is_file(),
        "equals its replay": sums[0] == sums[1] and weights[0] == weights[1],
    }
    print(f"{name}: {seconds:.1f} s of {args.budget} s ({100 * (seconds / args.budget - 1):+.1f} %), {last['nimg']} pictures, "
          f"{len(length['decisions'])} decisions, lr {last['lr']:.1e} of {peak:.1e}, "
          f"{len(list((run / 'samples').glob('*.png')))} grids")
    failed = [check for check, holds in checks.items() if not holds]
    print(f"  {'all hold' if not failed else 'FAILED: ' + ', '.join(failed)}: {', '.join(checks)}", flush=True)
    return not failed


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--budget", type=int, default=180)
    parser.add_argument("--show", action="append", choices=["calm", "burst", "late", "kills"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which stay there")
    args, args.options = parser.parse_known_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        results = [show(name, args, folder, rng) for name in args.show or ["burst", "late", "kills"]]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
