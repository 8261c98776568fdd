"""kill -9 at random instants of a short run, resumed each time: the last checkpoint (weights, averages, optimizer,
counters) must be that of a run that was never killed.   usage: kill.py BINARY [KILLS] [SEED]"""

import hashlib, pathlib, random, subprocess, sys, tempfile, time

binary, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
data = pathlib.Path(__file__).resolve().parents[2] / "data/fashion-mnist"
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def start(run):
    if (run / "config.toml").exists():
        return [binary, "train", "--resume", run]
    settings = ["network.width=8", "network.groups=4", "network.head_dim=8", "train.batch=32", "train.previews=2"]
    settings += ["sample.steps=5", "train.checkpoint_seconds=0"]
    sets = [word for s in settings for word in ("--set", s)]
    return [binary, "train", "--data", data, "--run", run, "--images", "12800", *sets]


def digest(run):
    newest = max((run / "checkpoints").glob("*.safetensors"))
    return newest.name, hashlib.sha256(newest.read_bytes()).hexdigest()


with tempfile.TemporaryDirectory() as folder:
    whole, killed = pathlib.Path(folder, "whole"), pathlib.Path(folder, "killed")
    began = time.time()
    subprocess.run(start(whole), check=True, **quiet)
    length = time.time() - began
    done = 0
    while done < kills:
        process = subprocess.Popen(start(killed), **quiet)
        try:
            process.wait(random.uniform(0.02, 1.5 * length / kills))
            print("ended before it could be killed")
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            at = sorted(p.stem.lstrip("0") for p in (killed / "checkpoints").glob("*.safetensors"))
            left = [p.name for p in killed.rglob("*.tmp")]
            print(f"kill {done:2}: newest checkpoint {at[-1] if at else 'none'}{', a half-written ' + left[0] if left else ''}")
    subprocess.run(start(killed), check=True, **quiet)
    a, b = digest(whole), digest(killed)
    print(f"never killed: {a[0]} {a[1]}\n{done:2} times:     {b[0]} {b[1]}")
    sys.exit(0 if a == b else 1)
