#!/usr/bin/env python3
"""Existing clients against a running service: the `openai` package, and `webuiapi` for AUTOMATIC1111's API.

    pip install openai webuiapi pillow
    xtask/checks/clients.py target/release/undiffuse RUN [WORDS]

RUN is a run or model with classes, such as the README's, WORDS a pipeline that takes prompts, such as a small random one. Every
picture must be the command line's for its seed, to the bit.
"""

import base64
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai
import webuiapi
from PIL import Image, ImageChops

TOKEN = "a-token-for-tests"


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and ImageChops.difference(a.convert("RGB"), b.convert("RGB")).getbbox() is None


def offline(program: str, run: str, folder: pathlib.Path, *arguments: str) -> list[Image.Image]:
    out = folder / "-".join(arguments).replace(" ", "_")
    subprocess.run([program, "sample", run, *arguments, "--out", out, "--overwrite"], check=True, stdout=subprocess.DEVNULL)
    return [Image.open(path) for path in sorted(out.glob("*.png")) if "grid" not in path.name]


def started(program: str, run: str, folder: pathlib.Path) -> tuple[subprocess.Popen, int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--addr", f"127.0.0.1:{port}", "--store", folder / "store", "--reports", folder / "eval"]
    environment = os.environ | {"UNDIFFUSE_TOKEN": TOKEN}
    process = subprocess.Popen([program, "serve", run, *arguments], env=environment, stdout=subprocess.DEVNULL)
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
            return process, port
        except OSError:
            time.sleep(0.1)
    sys.exit("the service is not ready after 30 s")


def openai_images(port: int, program: str, run: str, folder: pathlib.Path) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=TOKEN, max_retries=0)
    model = client.models.list().data[0].id
    headers = {"Authorization": f"Bearer {TOKEN}"}
    about = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/models", headers=headers)
    name = json.load(urllib.request.urlopen(about))["models"][0]["classes"][3]
    more = {"seed": 11, "steps": 10}
    asked = {"model": model, "prompt": f"a {name.lower()}, please", "n": 3, "extra_body": more}
    by_bytes = client.images.generate(response_format="b64_json", **asked).data
    by_url = client.images.generate(response_format="url", **asked).data
    wanted = offline(program, run, folder, "-n", "3", "--seed", "11", "--steps", "10", "--class", name)
    for text, link, picture in zip(by_bytes, by_url, wanted, strict=True):
        served = Image.open(urllib.request.urlopen(urllib.request.Request(link.url, headers=headers)))
        assert same(decoded(text.b64_json), picture) and same(served, picture)
    for wrong, error in [
        ({"prompt": "a unicorn"}, openai.BadRequestError),
        ({"prompt": name, "size": "1024x1024"}, openai.BadRequestError),
        ({"prompt": name, "model": "nothing"}, openai.NotFoundError),
    ]:
        try:
            client.images.generate(**({"model": model} | wrong))
        except error as e:
            assert e.body["message"], e.body
        else:
            sys.exit(f"openai: {wrong} was not refused")
    try:
        openai.OpenAI(base_url=client.base_url, api_key="another", max_retries=0).images.generate(prompt=name)
    except openai.AuthenticationError:
        print("openai", openai.__version__, "is content")
    else:
        sys.exit("openai: a wrong key was let in")


def automatic1111(port: int, program: str, run: str, folder: pathlib.Path) -> None:
    api = webuiapi.WebUIApi(host="127.0.0.1", port=port)
    api.session.headers["Authorization"] = f"Bearer {TOKEN}"
    assert api.get_sd_models() and api.get_samplers() and api.get_progress()["progress"] == 0
    made = api.txt2img(prompt="", seed=5, steps=10, batch_size=2, cfg_scale=1, sampler_name="ddim", eta=0)
    wanted = offline(program, run, folder, "-n", "2", "--seed", "5", "--steps", "10", "--solver", "ddim", "--guidance", "1")
    assert len(made.images) == 2 and all(map(same, made.images, wanted))
    again = api.img2img(images=[made.images[0]], seed=6, steps=10, denoising_strength=0.5)
    assert again.image.size == made.image.size and not same(again.image, made.image)
    api.interrupt()
    print("webuiapi is content")


PROMPT, NEGATIVE = "a (red:1.2) heart, caf\u00e9 \u732b", "blurry"


def words_by_openai(port: int, program: str, run: str, folder: pathlib.Path) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=TOKEN, max_retries=0)
    model = client.models.list().data[0].id
    more = {"seed": 11, "steps": 3, "guidance": 4}
    for size in ("auto", "32x16"):
        made = client.images.generate(model=model, prompt=PROMPT, n=2, size=size, response_format="b64_json", extra_body=more).data
        sizes = [] if size == "auto" else ["--size", size]
        wanted = offline(program, run, folder, "-n", "2", "--seed", "11", "--steps", "3", "--guidance", "4", "--prompt", PROMPT, *sizes)
        assert [image.revised_prompt for image in made] == [PROMPT] * 2
        assert all(same(decoded(image.b64_json), picture) for image, picture in zip(made, wanted, strict=True)), size
    for wrong in ({"prompt": "x" * 5000}, {"prompt": "a\0b"}, {"prompt": "a", "size": "33x17"}, {"prompt": "a", "size": "big"}):
        try:
            client.images.generate(model=model, **wrong)
        except openai.BadRequestError as e:
            assert e.body["param"] == ("size" if "size" in wrong else "prompt"), e.body
        else:
            sys.exit(f"openai: {wrong} was not refused")
    print("openai is content with words")


def words_by_automatic1111(port: int, program: str, run: str, folder: pathlib.Path) -> None:
    api = webuiapi.WebUIApi(host="127.0.0.1", port=port)
    api.session.headers["Authorization"] = f"Bearer {TOKEN}"
    asked = {"seed": 5, "steps": 3, "batch_size": 2, "cfg_scale": 4, "sampler_name": "Euler a", "width": 32, "height": 16}
    made = api.txt2img(prompt=PROMPT, negative_prompt=NEGATIVE, **asked)
    settings = ["-n", "2", "--seed", "5", "--steps", "3", "--guidance", "4", "--solver", "euler-ancestral:eta=1", "--size", "32x16"]
    wanted = offline(program, run, folder, *settings, "--prompt", PROMPT, "--negative", NEGATIVE)
    assert len(made.images) == 2 and all(map(same, made.images, wanted))
    text = made.info["infotexts"][0]
    # webuiapi keeps no texts of pictures, so the picture's own is that of the native API.
    native = json.dumps({"prompt": PROMPT, "negative": NEGATIVE, "seed": 5, "steps": 3, "guidance": 4, "solver": "euler-ancestral:eta=1", "width": 32, "height": 16})
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/generate", native.encode(), headers)
    picture = decoded(json.load(urllib.request.urlopen(request))["images"][0]["png"])
    assert same(picture, wanted[0]) and picture.info["parameters"] == wanted[0].info["parameters"]
    for told in (text, picture.info["parameters"]):
        prompt, negative, settings = told.split("\n")
        assert (prompt, negative) == (PROMPT, f"Negative prompt: {NEGATIVE}")
        assert settings.startswith("Steps: 3, Sampler: ") and "CFG scale: 4" in settings and "Seed: 5, Size: 32x16" in settings, settings
    print("webuiapi is content with words")


def main() -> None:
    program, *runs = sys.argv[1:]
    checks = ([openai_images, automatic1111], [words_by_openai, words_by_automatic1111])
    for run, of_run in zip(runs, checks):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            service, port = started(program, run, folder)
            try:
                for check in of_run:
                    check(port, program, run, folder)
            finally:
                service.terminate()
                assert service.wait() == 0, "the service did not end in order"
    print("all is well")


main()
