"""Golden values of text encoders that stay as they are while a network learns: folders as people download them, and the states
and vectors of texts of several lengths.

A tiny random `BertModel` with its WordPiece tokenizer in one folder (`bert`, as sentence encoders are published), and a tiny
random CLIP's reader of words in `text_encoder/` and `tokenizer/` (`clip`). transformers reads all texts as one padded batch, in
double precision; the vector of a BERT's text is the mean of the states that the mask leaves [Reimers19], that of CLIP's
`text_embeds`.
"""

import shutil

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoTokenizer, BertConfig, BertModel, CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer,
                          PreTrainedTokenizerFast)

from common import LIB_FIXTURES, begin, randomise, save_tensors, write_index

TEXTS = ["", "red", "a red circle", "a small blue square left of a large red circle", "zebra, café!"]
# What the vocabulary is learned from, besides: the captions of the trainings that are tested.
MORE = ["a bright square", "the square is dark"]
SIZE = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)


def bert(folder) -> tuple:
    """A sentence encoder's folder."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.train_from_iterator((TEXTS + MORE) * 3, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special, show_progress=False))
    marks = [(mark, words.token_to_id(mark)) for mark in ("[SEP]", "[CLS]")]
    words.decoder = decoders.WordPiece()
    words.post_processor = processors.BertProcessing(*marks)
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]", model_max_length=32)
    fast.save_pretrained(folder)
    config = BertConfig(vocab_size=words.get_vocab_size(), max_position_embeddings=40, **SIZE)
    model = BertModel(config).eval()
    randomise(model, "frozen", "bert")
    model.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).double().eval()


def clip(folder) -> tuple:
    """A CLIP's reader of words; its vocabulary is that of `words.py`."""
    shutil.copytree(LIB_FIXTURES / "tokenizers/clip", folder / "tokenizer", ignore=shutil.ignore_patterns("*.jsonl"))
    words = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(vocab_size=len(words), max_position_embeddings=77, projection_dim=16, bos_token_id=words.bos_token_id,
                            eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, **SIZE)
    model = CLIPTextModelWithProjection(config).eval()
    randomise(model, "frozen", "clip")
    model.save_pretrained(folder / "text_encoder")
    return words, CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").double().eval()


@torch.no_grad()
def main() -> None:
    out, lines = begin(__doc__, LIB_FIXTURES / "frozen", anew=True), []
    for name, make in (("bert", bert), ("clip", clip)):
        words, model = make(out / name)
        batch = words(TEXTS, padding=True, return_tensors="pt")
        told = model(**batch)
        states, mask = told.last_hidden_state, batch["attention_mask"]
        kept = mask[..., None].double()
        vectors = told.text_embeds if name == "clip" else (states * kept).sum(1) / kept.sum(1)
        save_tensors(out / f"{name}.safetensors", {"mask": mask, "states": states * kept, "vectors": vectors})
        lines.append({"name": name, "class": type(model).__name__})
    write_index(out, lines, tokenizers, transformers, texts=TEXTS)


if __name__ == "__main__":
    main()
