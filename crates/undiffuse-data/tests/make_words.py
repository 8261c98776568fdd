"""Makes tests/words: small pictures that carry words as AUTOMATIC1111's web UI writes them, and expected.json with the words.

usage: python make_words.py        (made with Pillow 13.0.0 and piexif 1.1.3, Python 3.11)

The web UI gives a PNG the text `parameters` by Pillow's `PngInfo.add_text`, and a JPEG or WebP the EXIF comment that
`piexif.helper.UserComment.dump(words, "unicode")` makes, in a file of the byte order "MM". Others are "II".
"""
import json, pathlib
import piexif, piexif.helper
from PIL import Image, PngImagePlugin

out = pathlib.Path(__file__).parent / "words"
out.mkdir(exist_ok=True)
image = Image.new("RGB", (8, 8), "teal")
PLAIN = "a red heart\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: hearts"
LATIN = PLAIN.replace("heart", "café")
WORLD = PLAIN.replace("heart", "\u732b \U0001f431 \u05d0\u05d1")
expected = {}


def png(name, words, **how):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", words, **how)
    image.save(out / name, pnginfo=texts)
    expected[name] = {"parameters": words}


def exif(name, words, code="unicode"):
    comment = piexif.helper.UserComment.dump(words, encoding=code)
    image.save(out / name, quality=80)
    piexif.insert(piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}}), str(out / name))
    expected[name] = {"UserComment": words}


def little(name, words, order):
    """As a program writes it that keeps to the byte order of its file, and one that does not."""
    data = Image.Exif()
    data.endian = "<"
    data.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + words.encode(order)
    image.save(out / name, exif=data.tobytes())
    expected[name] = {"UserComment": words}


png("plain.png", PLAIN)
png("latin.png", LATIN)
png("world.png", WORLD)
png("packed.png", WORLD * 2, zip=True)
for kind in ("jpg", "webp"):
    exif(f"plain.{kind}", PLAIN)
    exif(f"world.{kind}", WORLD)
exif("ascii.jpg", PLAIN, "ascii")
little("little.jpg", LATIN, "utf-16-le")
little("mixed.webp", LATIN, "utf-16-be")
little("exif.png", WORLD, "utf-16-le")
image.save(out / "silent.jpg")
expected["silent.jpg"] = {}
(out / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
