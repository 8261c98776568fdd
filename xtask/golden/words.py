"""Golden values of tokenizers: the tokens that transformers makes of odd prompts.

A small vocabulary is learned here from a few lines, in the files that CLIP's have (`clip`), with another token to fill up with
(`pad`, as SD 2's and SDXL's second have) and as a `tokenizer.json` (`whole`). `odd_prompts` is also what
`xtask/checks/tokens.py` asks of real vocabularies.
"""

import json
import random
import shutil
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from common import LIB_FIXTURES, begin, write_index, write_json

START, END = "<|startoftext|>", "<|endoftext|>"
TEXT = """a photograph of an astronaut riding a horse, highly detailed, 4k, trending on artstation
the cat's whiskers weren't there; we've seen a red heart and three blue circles
portrait of a woman by greg rutkowski, oil on canvas, soft light, cinematic
ein mädchen mit dem perlenohrring, über den dächern von paris, café à la crème
""" * 3

WORDS = TEXT.split() + ["BREAK", "don't", "I'LL", "they're", "1234567", "3.14", "e.g.", "C++", "naïve", "ﬁne", "ÅNGSTRÖM", "straße",
                        "İstanbul", "ΌΔΟΣ", START, END, END.upper(), "<|endoftext", "!", "hello!", "!!!", "()", "(a:1.2)", "[b]",
                        "\\(", ":", "_", "__init__", "a_b", "#tag", "@name", "http://x.y/z?q=1&r=%20"]
RANGES = [(0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0x0600, 0x06FF),
          (0x0590, 0x05FF), (0x0900, 0x0DFF), (0x0E00, 0x0E7F), (0x0300, 0x036F), (0x0370, 0x052F), (0x1F00, 0x1FFF),
          (0x2000, 0x206F), (0x2070, 0x218F), (0x1E00, 0x1EFF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF),
          (0x20000, 0x2A6DF), (0x0000, 0x00FF), (0x0100, 0x024F), (0x10000, 0x1013F), (0xE000, 0xE0FF)]
SPACES = [" "] * 12 + ["  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u200b", "\u200d", "", "", ","]


def odd_prompts(count: int) -> list[str]:
    """Words and characters of many scripts, mixed: emoji, joined marks, unusual spaces, nothing at all, very long ones."""
    chance = random.Random(17)

    def character():
        low, high = chance.choice(RANGES)
        return chr(chance.randint(low, high))

    def word():
        kind = chance.random()
        if kind < 0.5:
            return chance.choice(WORDS)
        if kind < 0.6:
            return "".join(c.upper() if chance.random() < 0.5 else c for c in chance.choice(WORDS))
        if kind < 0.7:
            return chance.choice(["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇺🇳", "1️⃣", "e\u0301", "\u1100\u1161\u11a8", "가", "ﷺ", "Ⅷ", "½", "٣", "²"])
        return "".join(character() for _ in range(chance.randint(1, 6)))

    prompts = ["", " ", "\n", "a", "!", END, START + END, "a" * 3000, "🙂" * 200, "漢字" * 100, "ab " * 500, "\u0301", "''''", "' s"]
    while len(prompts) < count:
        length = chance.choice([1, 2, 3, 8, 20, 20, 60]) if chance.random() < 0.99 else 1500
        prompts.append("".join(word() + chance.choice(SPACES) for _ in range(length)))
    return prompts[:count]


def learn(folder: Path) -> None:
    """A vocabulary like CLIP's: all bytes, all bytes that end a word, and some merges."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), learner.pre_tokenizer])
    learner.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(vocab_size=400, end_of_word_suffix="</w>", show_progress=False))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = dict.fromkeys("".join(pair) for pair in merges)
    tokens = list(dict.fromkeys(letters + [letter + "</w>" for letter in letters] + list(merged))) + [START, END]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def configure(folder: Path, pad) -> None:
    """The two files that lie beside CLIP's vocabulary in SD 1.5's folder."""
    token = lambda text: dict(content=text, lstrip=False, normalized=True, rstrip=False, single_word=False)
    special = dict(bos_token=token(START), eos_token=token(END), unk_token=token(END), pad_token=pad)
    write_json(folder / "special_tokens_map.json", special)
    typed = {key: value | {"__type": "AddedToken"} if isinstance(value, dict) else value for key, value in special.items()}
    write_json(folder / "tokenizer_config.json", typed | dict(model_max_length=12, tokenizer_class="CLIPTokenizer"))


def make(folder: Path, prompts) -> dict:
    """Writes what transformers makes of the prompts, and what diffusers would feed (padded, cut); returns a line of the index."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    plain = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    fed = [tokenizer(prompt, padding="max_length", max_length=12, truncation=True).input_ids for prompt in prompts]
    lines = [json.dumps([prompt, ids, padded]) for prompt, ids, padded in zip(prompts, plain, fed)]
    (folder / "tokens.jsonl").write_text("".join(line + "\n" for line in lines))
    return {"name": folder.name, "prompts": len(prompts), "tokens": sum(map(len, plain)), "tokenizer": type(tokenizer).__name__}


def main():
    out = begin(__doc__, LIB_FIXTURES / "tokenizers", anew=True)
    learn(out / "clip")
    shutil.copytree(out / "clip", out / "pad")
    configure(out / "clip", END)
    configure(out / "pad", "!")
    CLIPTokenizer.from_pretrained(out / "clip").save_pretrained(out / "whole")
    prompts = [prompt for prompt in odd_prompts(400) if len(prompt) < 200][:200]
    lines = [make(out / name, prompts) for name in ("clip", "pad", "whole")]
    print(lines)
    write_index(out, lines, transformers, tokenizers)


if __name__ == "__main__":
    main()
