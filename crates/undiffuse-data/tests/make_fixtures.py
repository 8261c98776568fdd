"""Makes tests/fixtures: small odd pictures, and expected.json with the pixels that Pillow sees in them.

usage: python make_fixtures.py        (made with Pillow 13.0.0, Python 3.11)
"""
import json, pathlib, struct, zlib
from PIL import Image, ImageOps

out = pathlib.Path(__file__).parent / "fixtures"
out.mkdir(exist_ok=True)
expected = {}
WIDTH, HEIGHT = 10, 6


def expect(name, image, tolerance=0):
    """Records what should be decoded: `image` upright, over white, as RGB or grey."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image if image.mode == "L" else image.convert("RGB")
    record(name, image.width, image.height, len(image.getbands()), image.tobytes(), tolerance)


def record(name, width, height, channels, pixels, tolerance=0):
    expected[name] = {"width": width, "height": height, "channels": channels, "tolerance": tolerance, "pixels": pixels.hex()}


def save(name, image, tolerance=0, **options):
    image.save(out / name, **options)
    expect(name, Image.open(out / name), tolerance)


def smooth(width=WIDTH, height=HEIGHT):
    """Every corner has a colour of its own, so that no turn or mirror image looks like another."""
    value = lambda x, y: (250 * x // (width - 1), 250 * y // (height - 1), 200 - 12 * x - 3 * y)
    image = Image.new("RGB", (width, height))
    image.putdata([value(x, y) for y in range(height) for x in range(width)])
    return image


rgb = smooth()
grey = rgb.convert("L")
rgba = rgb.copy()
rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))

# Orientation: the eight values of EXIF tag 0x0112, and the other formats that carry it.
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(f"orientation{orientation}.jpg", rgb, 6, exif=exif, quality=95, subsampling=0)
for name in ("orientation6.png", "orientation6.webp"):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(name, rgb, exif=exif, **({"lossless": True} if name.endswith("webp") else {}))
save("orientation8.tiff", rgb, tiffinfo={0x0112: 8})

# Formats.
save("rgb.png", rgb)
save("grey.png", grey)
save("rgba.png", rgba)
save("grey_alpha.png", rgba.convert("LA"))
save("palette.png", rgb.quantize(16))
save("bit1.png", grey.convert("1"))
transparent = rgb.quantize(15)
transparent.info["transparency"] = 3
save("palette_alpha.png", transparent, transparency=3)
save("progressive.jpg", rgb, 6, quality=95, subsampling=0, progressive=True)
save("subsampled.jpg", smooth(20, 12), 12, quality=90, subsampling=2)
save("grey.jpg", grey, 3, quality=95)
save("cmyk.jpg", rgb.convert("CMYK"), 8, quality=95)
save("lossy.webp", smooth(20, 12), 12, quality=95)
save("alpha.webp", rgba, lossless=True, exact=True)
save("still.gif", rgb.quantize(32))
save("animated.gif", rgb.quantize(32), save_all=True, append_images=[ImageOps.invert(rgb).quantize(32)], duration=50)
save("rgb.bmp", rgb)
save("grey.bmp", grey)
save("rgb.ppm", rgb)
save("grey.pgm", grey)
save("bit1.pbm", grey.convert("1"))
save("lzw.tiff", rgb, compression="tiff_lzw")
save("deflate.tiff", rgba, compression="tiff_adobe_deflate")

# 16 bits a sample: Pillow cannot write RGB of that depth, and the truth is a formula: round(v * 255 / 65535).
def png16(name, color_type, channels):
    values = [(9973 * i * i + 331 * i) % 65536 for i in range(WIDTH * HEIGHT * channels)]
    rows = [values[y * WIDTH * channels:(y + 1) * WIDTH * channels] for y in range(HEIGHT)]
    raw = b"".join(b"\0" + struct.pack(f">{len(row)}H", *row) for row in rows)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, color_type, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    (out / name).write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    record(name, WIDTH, HEIGHT, channels, bytes(round(v * 255 / 65535) for v in values))


png16("grey16.png", 0, 1)
png16("rgb16.png", 2, 3)

# Centre crop and Lanczos: Pillow's resize of the crop. The picture has edges, so that the filter shows, but keeps away from
# black and white: the two passes of a resize clip what overshoots, and ours runs in the other order.
busy = Image.new("RGB", (37, 23))
busy.putdata([(70 + (x * x + 7 * y) % 120, 60 + 130 * ((x // 5 + y // 5) % 2), 70 + (x * y) % 120) for y in range(23) for x in range(37)])
busy.save(out / "busy.png")
for size in (8, 23, 31):
    square = busy.crop((7, 0, 30, 23)).resize((size, size), Image.Resampling.LANCZOS)
    record(f"busy.png@{size}", size, size, 3, square.tobytes(), 1)
record("busy.png@grey", 37, 23, 1, busy.convert("L").tobytes())

(out / "expected.json").write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in expected.items()) + "\n}\n")
