"""Whether two commits make the same weights and pictures, bit for bit, from fixed short trainings.

    same_bits.py                                  the commit before the redesign against the working tree
    same_bits.py --base REV --head REV            any two; the path of a program that is built already stands for a commit
    same_bits.py --changed LAST..FIRST            what lies between the two is known to change bits: what came before is compared up to
                                                  LAST, what came after from FIRST on; instead of CHANGED below; may be repeated
    same_bits.py --of PROGRAM                     prints the hashes of one program, nothing is built
    same_bits.py … --only NAME                    one of the trainings, and what is sampled from its model; may be repeated

Commits are built from target/same-bits, which keeps the programs, with the dependencies that target has. Both of a pair sample from the models that the older one trained, so that
a difference in sampling is not one in training, and the newer one shows that it reads what the older one wrote.
"""

import argparse, hashlib, json, pathlib, shutil, struct, subprocess, sys, tempfile, zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "target/same-bits"
# The last commit at which a model was a UNet2DModel on pixels and nothing else.
BASE = "211465c"
# Sums over pictures along a fixed tree (b08e051), which builds together with DiT since 123b701.
CHANGED = ["93a8a86..123b701"]
SMALL = ["network.width=32", "network.multiply=[1,2]", "network.layers=1", "train.batch=32", "train.previews=1"]
# A name, a preset and what is changed of it.
TRAININGS = [
    ("quick", "quick", []),
    ("edm", "edm", []),
    ("improved-ddpm", "improved-ddpm", []),
    ("flow", "flow", ["train.accumulate=2"]),
]
# A name, the model and options of `undiffuse sample`; PICTURE is the first picture of the first line.
SAMPLES = [
    ("quick", "quick", "-n 6 --seed 5"),
    ("guided", "quick", "-n 4 --seed 5 --class 3 --guidance 2.5 --solver dpmpp-2m --steps 6"),
    ("eta", "quick", "-n 4 --seed 2 --solver ddim --eta 0.5 --steps 6"),
    ("image", "quick", "-n 2 --seed 7 --init-image PICTURE --strength 0.5"),
    ("masked", "quick", "-n 2 --seed 7 --init-image PICTURE --mask PICTURE --solver ddpm --steps 6"),
    ("heun", "edm", "-n 4 --seed 1 --solver heun --steps 5"),
    ("adaptive", "edm", "-n 2 --seed 2 --adaptive 1e-2"),
    ("stochastic", "edm", "-n 4 --seed 4 --solver sa-solver --steps 6"),
    ("learned-variance", "improved-ddpm", "-n 4 --seed 1 --solver ddpm --steps 8"),
    ("flow", "flow", "-n 4 --seed 1 --steps 6"),
]


def call(*words, **options):
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def tensors(path):
    """The hash of a safetensors file's tensors, whatever their order and metadata."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = {name: entry for name, entry in json.loads(data[8:start]).items() if name != "__metadata__"}
    found = hashlib.sha256()
    for name, entry in sorted(header.items()):
        begin, end = entry["data_offsets"]
        found.update(f"{name} {entry['dtype']} {entry['shape']}".encode() + data[start + begin : start + end])
    return found.hexdigest()[:16]


def pixels(path):
    """The hash of a PNG's size and scanlines, whatever its text chunks and compression."""
    data, at, header, packed = path.read_bytes(), 8, b"", b""
    while at < len(data):
        (size,), kind, body = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8], at + 8
        header += data[body : body + size] if kind == b"IHDR" else b""
        packed += data[body : body + size] if kind == b"IDAT" else b""
        at = body + size + 4
    return hashlib.sha256(header + zlib.decompress(packed)).hexdigest()[:16]


def trained(program, folder, only):
    """Trains models in `folder`; the hashes of their weights."""
    hashes = {}
    for name, preset, settings in TRAININGS:
        if only and name not in only:
            continue
        sets = [word for setting in SMALL + settings for word in ("--set", setting)]
        run = ["--data", ROOT / "data/fashion-mnist", "--images", 320, "--seed", 3, "--run", folder / name, "--plain"]
        call(program, "train", "--preset", preset, *run, *sets)
        hashes[f"weights {name}"] = tensors(folder / name / "model/unet/diffusion_pytorch_model.safetensors")
    return hashes


def sampled(program, models, folder):
    """Samples from those of the `models` that there are into `folder`; the hashes of numbers and pixels."""
    hashes = {}
    for name, model, options in SAMPLES:
        if not (models / model).exists():
            continue
        out, raw = folder / name, folder / f"{name}.safetensors"
        picture = next((models / "picture").glob("*.png"), "") if "PICTURE" in options else ""
        call(program, "sample", models / model, *options.replace("PICTURE", str(picture)).split(), "--out", out, "--raw", raw, "--plain")
        if not (models / "picture").exists():
            (models / "picture").mkdir()
            shutil.copy(min(out.glob("*.png")), models / "picture")
        hashes[f"numbers {name}"] = tensors(raw)
        pictures = sorted(out.glob("*.png"))
        hashes |= {f"pixels {name}/{path.name}": pixels(path) for path in pictures}
    return hashes


def built(end):
    """The program of a commit, of the working tree where there is none, or the program that is given."""
    build = ["cargo", "build", "--release", "--locked", "--workspace", "--bin", "undiffuse"]
    if isinstance(end, pathlib.Path):
        return end
    if end is None:
        call(*build, cwd=ROOT)
        return ROOT / "target/release/undiffuse"
    kept, tree = KEPT / end, KEPT / "tree"
    if not kept.exists():
        call("git", "worktree", "add", "--force", "--detach", tree, end, cwd=ROOT)
        try:
            call(*build, "--target-dir", ROOT / "target", cwd=tree)
            shutil.copy(ROOT / "target/release/undiffuse", kept)
        finally:
            call("git", "worktree", "remove", "--force", tree, cwd=ROOT)
    return kept


def compare(old, new, only):
    """Whether two programs agree, after saying where not."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [pathlib.Path(folder) / part for part in ("old", "new", "old-samples", "new-samples")]
        for part in parts:
            part.mkdir()
        before = trained(old, parts[0], only) | sampled(old, parts[0], parts[2])
        after = trained(new, parts[1], only) | sampled(new, parts[0], parts[3])
    names = sorted(before.keys() | after.keys())
    other = [name for name in names if before.get(name) != after.get(name)]
    print("\n".join(f"  differs: {name}" for name in other), end="\n" if other else "")
    print(f"  {len(names) - len(other)} of {len(names)} are the same", flush=True)
    return not other


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--head", help="the working tree when not given")
    parser.add_argument("--changed", action="append", metavar="LAST..FIRST")
    parser.add_argument("--of", type=pathlib.Path, metavar="PROGRAM")
    parser.add_argument("--only", action="append", choices=[name for name, *_ in TRAININGS], metavar="NAME")
    options = parser.parse_args()
    if options.of:
        with tempfile.TemporaryDirectory() as folder:
            models, samples = pathlib.Path(folder) / "models", pathlib.Path(folder) / "samples"
            models.mkdir()
            samples.mkdir()
            for name, digest in (trained(options.of, models, options.only) | sampled(options.of, models, samples)).items():
                print(digest, name)
        return
    program = lambda end: pathlib.Path(end).resolve() if pathlib.Path(end).is_file() else None
    full = lambda end: program(end) or call("git", "rev-parse", "--verify", f"{end}^{{commit}}", cwd=ROOT)
    shown = lambda end: "the working tree" if end is None else str(end if isinstance(end, pathlib.Path) else end[:9])
    changed = CHANGED if options.changed is None and options.base == BASE else options.changed or []
    ends = [full(options.base), *(full(end) for span in changed for end in span.split(".."))]
    ends.append(options.head and full(options.head))
    same = True
    for old, new in zip(ends[::2], ends[1::2]):
        print(f"{shown(old)} and {shown(new)}:", flush=True)
        same &= old == new or compare(built(old), built(new), options.only)
    sys.exit(not same)


if __name__ == "__main__":
    main()
