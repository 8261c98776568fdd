"""kill -9 at each system call that saving a model makes (strace --inject): what is at model/ is the old model or the new
one, whole, and saving goes on from there.   usage: kill_saving.py BINARY [CALL...]   (Linux, with strace and leave to trace)"""

import hashlib, pathlib, shutil, subprocess, sys, tempfile

CALLS = ["mkdir", "openat", "write", "fsync", "rename", "renameat2", "unlink", "unlinkat", "rmdir"]
binary = sys.argv[1]
data = pathlib.Path(__file__).resolve().parents[2] / "data/fashion-mnist"
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def train(run, seed):
    settings = ["network.width=8", "network.groups=4", "network.head_dim=8", "train.batch=8", "train.previews=0"]
    sets = [word for s in settings for word in ("--set", s)]
    length = ["--images", "16", "--seed", seed, "--threads", "1"]
    subprocess.run([binary, "train", "--data", data, "--run", run, *length, *sets], check=True, **quiet)


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".undiffuse-" not in p.name)
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for seed in "12":
        train(folder / seed, seed)
    old, new = digest(folder / "1/model"), digest(folder / "2/model")
    assert old != new
    resume = [binary, "train", "--resume", folder / "run", "--threads", "1"]
    points = {}
    for call in sys.argv[2:] or CALLS:
        for when in range(1, 10_000):
            # A finished run that is resumed has its model to write and nothing else.
            shutil.rmtree(folder / "run", ignore_errors=True)
            shutil.copytree(folder / "2", folder / "run")
            shutil.rmtree(folder / "run/model")
            shutil.copytree(folder / "1/model", folder / "run/model")
            inject = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={when}"]
            ended = subprocess.run([*inject, *resume], **quiet).returncode
            found = digest(folder / "run/model")
            assert found in (old, new), f"neither the old nor the new model, killed at {call} number {when}"
            if ended == 0:
                assert found == new
                break
            subprocess.run(resume, check=True, **quiet)
            assert digest(folder / "run/model") == new, f"not saved after a kill at {call} number {when}"
            left = [p.name for p in (folder / "run").iterdir() if ".undiffuse-" in p.name]
            assert not left, f"{left} stays after a kill at {call} number {when}"
            points[call] = when
    print(f"{sum(points.values())} kills: {points}")
