#!/usr/bin/env python3
"""The words in our pictures as other programs read them: Pillow, and the rules of AUTOMATIC1111's web UI.

    pip install pillow
    xtask/checks/picture_words.py target/release/undiffuse WORDS

WORDS is a pipeline that takes prompts, such as a small random one.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from PIL import Image

PROMPTS = ["a red heart", "caf\u00e9, (cr\u00e8me:1.2)", "\u732b \U0001f431 \u05d0\u05d1", "two\nlines, a: b", "\u202eturned <b>around</b>"]
NEGATIVE = "blurry, na\u00efve"
# One setting of the last line, as the web UI finds them.
SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def kinds(path: pathlib.Path) -> dict[str, str]:
    """The kind of chunk of each text of a PNG."""
    data, at, found = path.read_bytes(), 8, {}
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode()
        if kind in ("tEXt", "iTXt"):
            found[data[at + 8 : at + 8 + length].split(b"\0")[0].decode()] = kind
        at += 12 + length
    return found


def main() -> None:
    program, model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for prompt in PROMPTS:
            out = pathlib.Path(folder) / "out"
            arguments = ["--prompt", prompt, "--negative", NEGATIVE, "-n", "1", "--steps", "2", "--guidance", "3", "--seed", "4"]
            subprocess.run([program, "sample", model, *arguments, "--out", out, "--overwrite"], check=True, stdout=subprocess.DEVNULL)
            (path,) = out.glob("*.png")
            image = Image.open(path)
            facts = json.loads(image.text["undiffuse"])
            assert (facts["prompt"], facts["negative"]) == (prompt, NEGATIVE), facts
            *words, last = image.info["parameters"].split("\n")
            settings = {name: value.strip('"') for name, value in SETTING.findall(last)}
            assert "\n".join(words) == f"{prompt}\nNegative prompt: {NEGATIVE}", words
            assert (settings["Steps"], settings["CFG scale"], settings["Seed"]) == ("2", "3", "4"), settings
            assert settings["Size"] == f"{image.width}x{image.height}", settings
            latin = all(ord(letter) < 256 for letter in prompt)
            assert kinds(path)["parameters"] == ("tEXt" if latin else "iTXt"), kinds(path)
            told = json.loads(subprocess.run([program, "inspect", path, "--json"], check=True, capture_output=True).stdout)
            assert (told["prompt"], told["negative"]) == (prompt, NEGATIVE), told
    print("all is well")


main()
