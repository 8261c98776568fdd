"""Golden values of the contrast of pictures and texts, by torch in double precision: the loss of transformers' CLIPModel pair by
pair, and the slopes of its sum.

    python contrast.py

needs torch and transformers, and writes contrast.json beside itself. Pairs with the same words are taken out of each other's
softmax by a mask; without such pairs the mean is what transformers' own function says, which is checked here.
"""

import json
import pathlib
import platform

import torch
import transformers
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

torch.set_default_dtype(torch.float64)


def vectors(n: int, width: int, seed: int) -> torch.Tensor:
    """Numbers that f32 holds."""
    numbers = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return numbers.float().double().requires_grad_()


def case(n: int, width: int, groups: list[int], scale: float, seed: int) -> dict:
    pictures, texts = vectors(n, width, seed), vectors(n, width, seed + 1)
    log_scale = torch.tensor(scale).log().requires_grad_()
    unit = lambda x: x / x.norm(dim=-1, keepdim=True)
    logits = log_scale.exp() * unit(pictures) @ unit(texts).T
    group = torch.tensor(groups)
    alike = (group[:, None] == group[None, :]) & ~torch.eye(n, dtype=torch.bool)
    logits = logits.masked_fill(alike, -torch.inf)
    own = torch.arange(n)
    losses = sum(torch.nn.functional.cross_entropy(z, own, reduction="none") for z in (logits, logits.T)) / 2
    if len(set(groups)) == n:
        torch.testing.assert_close(losses.mean(), image_text_contrastive_loss(logits.T))
    losses.sum().backward()
    return {
        "part": f"{n} pairs, groups {groups}", "source": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "width": width, "groups": groups, "log_scale": log_scale.item(),
        "pictures": pictures.flatten().tolist(), "texts": texts.flatten().tolist(), "losses": losses.tolist(),
        "by_pictures": pictures.grad.flatten().tolist(), "by_texts": texts.grad.flatten().tolist(),
        "by_log_scale": log_scale.grad.item(),
    }


def main():
    cases = [case(5, 3, [0, 1, 2, 3, 4], 1 / 0.07, 0), case(6, 4, [0, 1, 0, 2, 1, 0], 5.0, 10), case(4, 7, [0, 1, 2, 3], 100.0, 20)]
    out = {"python": platform.python_version(), "contrast": cases}
    pathlib.Path(__file__).with_name("contrast.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
