"""Golden numbers of undiffuse-metrics, by the tools that the field reports with.

    metrics.py [--out crates/undiffuse-metrics/tests/fixtures]       some seconds

Features are small random rows with correlated dimensions; every tool is given the same numbers in float64. Besides the tools of
`requirements.txt`: torch-fidelity, pytorch-fid, prdc, scipy, scikit-learn, whose versions metrics.json records.
"""

import argparse
import importlib.metadata
import math
from pathlib import Path

import numpy as np
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_rbf, kid_features_to_metric, mmd2
from torch_fidelity.metric_prc import prc_features_to_metric

from common import ROOT, VERSIONS, normal, save_tensors, write_json

TOOLS = ["torch-fidelity", "pytorch-fid", "prdc", "scipy", "scikit-learn"]
KID = dict(kid_subsets=5, kid_subset_size=20, rng_seed=2020)


def correlated(n, dims, *words, decay=0.5):
    """Rows with a spectrum that falls over four orders of magnitude, positive like features after a ReLU."""
    mix = normal((dims, dims), *words, "mix") / dims**0.5
    scale = torch.logspace(0, -4 * decay, dims)
    return (normal((n, dims), *words, "rows") * scale) @ mix


def more_images(name):
    real, generated = correlated(200, 24, name), correlated(150, 24, name)
    return torch.relu(real + 0.3), torch.relu(1.2 * generated.flip(0) + 0.4 + 0.05 * normal(generated.shape, name, "n"))


def fewer_images(name):
    return correlated(40, 64, name), 0.9 * correlated(70, 64, name)[40:] + 0.1


def collapsed(name):
    real = correlated(120, 16, name, decay=0.2) + 3
    return real, real[:5].repeat(20, 1) + 0.02 * normal((100, 16), name, "near")


CASES = [more_images, fewer_images, collapsed]


def frechet(real, generated):
    stats = [fid_features_to_statistics(x.double()) for x in (real, generated)]
    pytorch = calculate_frechet_distance(*[s[k] for s in stats for k in ("mu", "sigma")])
    # The same trace without a square root of a product: the nuclear norm of a product of factors.
    factors = [np.linalg.svd((x.double() - x.double().mean(0)).numpy() / math.sqrt(len(x) - 1), full_matrices=False) for x in (real, generated)]
    roots = [(s[:, None] * v) for _, s, v in factors]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    apart = float(((stats[0]["mu"] - stats[1]["mu"]) ** 2).sum())
    exact = apart + sum(np.trace(s["sigma"]) for s in stats) - 2 * shared
    return {"pytorch_fid": float(pytorch), "torch_fidelity": fid_statistics_to_metric(*stats, False)["frechet_inception_distance"], "nuclear_norm": float(exact)}


def kid(real, generated):
    x, y = real.double(), generated.double()
    # torch-fidelity's first input is what is generated; the order is immaterial but for its draws.
    found = kid_features_to_metric(y, x, verbose=False, kid_kernel="poly", **KID)
    random = np.random.RandomState(KID["rng_seed"])
    subsets = [[random.choice(len(s), KID["kid_subset_size"], replace=False).tolist() for s in (y, x)] for _ in range(KID["kid_subsets"])]
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    whole = off(kernel(x, x)) + off(kernel(y, y)) - 2 * kernel(x, y).mean()
    return {"torch_fidelity_mean": found["kernel_inception_distance_mean"], "torch_fidelity_std": found["kernel_inception_distance_std"],
            "subsets_generated_real": subsets, "all": float(whole)}


def cmmd(real, generated):
    n = min(len(real), len(generated))
    x, y = [torch.nn.functional.normalize(s[:n].double()).numpy() for s in (real, generated)]
    kernel = lambda a, b: kernel_rbf(a, b, kid_kernel_rbf_sigma=10.0)
    return {"images": n, "value": 1000 * float(mmd2(kernel(x, x), kernel(x, y), kernel(y, y), mmd_est="biased"))}


def manifold(real, generated):
    x, y = real.double(), generated.double()
    found = prc_features_to_metric(y, x, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False, verbose=False)
    prdc = {f"prdc_{k}": {name: float(v) for name, v in compute_prdc(x.numpy(), y.numpy(), k).items()} for k in (3, 5)}
    return {"torch_fidelity_3": {k: found[k] for k in ("precision", "recall")}, **prdc}


def wasserstein():
    """Squared 1-D distances of few points, as assignments of copies."""
    rows = []
    for n, m in [(12, 12), (12, 8), (5, 3), (2, 7)]:
        a, b = normal((n,), "w", n, m, "a"), 1.5 * normal((m,), "w", n, m, "b") + 0.5
        copies = math.lcm(n, m)
        cost = (a.double().repeat_interleave(copies // n)[:, None] - b.double().repeat_interleave(copies // m)) ** 2
        i, j = linear_sum_assignment(cost.numpy())
        rows.append({"a": a.tolist(), "b": b.tolist(), "squared": float(cost[i, j].mean())})
    return rows


def figures(cases, rows):
    """The numbers of whole metrics, as a report has them: the two sets by the name of a case, or as numbers."""
    found = []
    for name, case in cases.items():
        row = lambda figure, by, value, tolerance, **more: found.append({"figure": figure, "by": by, "case": name, **more, "value": value, "tolerance": tolerance})
        row("fid", "pytorch-fid", case["frechet"]["pytorch_fid"], 1e-6)
        row("kid", "the definition over all pairs", case["kid"]["all"], 1e-5)
        row("cmmd", "torch-fidelity, kernel_rbf and mmd2", case["cmmd"]["value"], 1e-4, images=case["cmmd"]["images"])
        for figure, k in [("precision", 3), ("recall", 3), ("density", 5), ("coverage", 5)]:
            row(figure, "prdc", case["manifold"][f"prdc_{k}"][figure], 1e-6)
    for row in rows:
        found.append({"figure": "sliced", "by": "scipy, linear_sum_assignment", "dims": 1, "real": row["a"], "generated": row["b"], "value": row["squared"] ** 0.5, "tolerance": 1e-6})
    return found


def probe(tensors):
    """sklearn's optimum of Σ cross-entropy + ½‖W‖² on standardised features."""
    labels = torch.arange(150) % 3
    rows = correlated(150, 12, "probe", decay=0.2) + 0.25 * normal((3, 12), "probe", "classes")[labels]
    x = StandardScaler().fit_transform(rows.double().numpy())
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000).fit(x, labels.numpy())
    p = model.predict_proba(x)
    loss = -np.log(p[np.arange(150), labels.numpy()]).sum() + 0.5 * (model.coef_**2).sum()
    tensors |= {"probe.rows": rows, "probe.labels": labels, "probe.probabilities": torch.tensor(p)}
    return {"mean_objective": float(loss / 150)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "crates/undiffuse-metrics/tests/fixtures")
    out = parser.parse_args().out
    tensors, cases = {}, {}
    for case in CASES:
        name = case.__name__
        real, generated = (x.float() for x in case(name))
        tensors |= {f"{name}.real": real, f"{name}.generated": generated}
        cases[name] = {"frechet": frechet(real, generated), "kid": kid(real, generated), "cmmd": cmmd(real, generated), "manifold": manifold(real, generated)}
    versions = VERSIONS | {tool: importlib.metadata.version(tool) for tool in TOOLS}
    rows = wasserstein()
    found = {"versions": versions, "cases": cases, "wasserstein": rows, "figures": figures(cases, rows), "probe": probe(tensors)}
    save_tensors(out / "metrics.safetensors", tensors)
    write_json(out / "metrics.json", found)


if __name__ == "__main__":
    main()
