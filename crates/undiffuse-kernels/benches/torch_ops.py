"""The same operations in PyTorch, beside ours: python torch_ops.py OURS.txt [THREADS]

OURS.txt is what `cargo bench -p undiffuse-kernels --bench ops > OURS.txt` printed (with RAYON_NUM_THREADS=THREADS). The
names in it say what is timed. PyTorch runs eagerly in its faster memory format for each operation, flushing denormal
numbers, without gradients' bookkeeping; preload tcmalloc for its best figures.
Prints milliseconds of both (median, best, CPU time of all threads) and the ratio, PyTorch over ours.
"""

import re
import sys
import time

import torch
import torch.nn.functional as F

torch.set_grad_enabled(False)
torch.set_flush_denormal(True)


def timed(run):
    """Median, best and CPU milliseconds of `run` over about half a second."""
    run()
    times, begin, cpu = [], time.perf_counter(), time.process_time()
    while len(times) < 5 or (time.perf_counter() - begin < 0.5 and len(times) < 2000):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / len(times)
    return [1e3 * t for t in (sorted(times)[len(times) // 2], min(times), cpu)]


def backward(outputs, inputs, mask):
    """A function that computes the gradients of `inputs` that `mask` keeps, by autograd, over and over."""
    wanted = [x for x, keep in zip(inputs, mask) if keep]
    gradient = torch.randn_like(outputs)
    return lambda: torch.autograd.grad(outputs, wanted, gradient, retain_graph=True)


def convolution(kernel, stride, c_in, c_out, size, batch, which):
    def make(memory_format):
        x = torch.randn(batch, c_in, size, size).contiguous(memory_format=memory_format)
        w = torch.randn(c_out, c_in, kernel, kernel).contiguous(memory_format=memory_format)
        b = torch.randn(c_out)
        y = F.conv2d(x, w, b, stride, kernel // 2)
        if which == "forward":
            return lambda: F.conv2d(x, w, b, stride, kernel // 2)
        mask = [which == "data", which == "weight", which == "weight"]
        dy, pad = torch.randn_like(y), [kernel // 2] * 2
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, w, [c_out], [stride] * 2, pad, [1, 1], False, [0, 0], 1, mask)

    formats = (torch.contiguous_format, torch.channels_last)
    return min((timed(make(f)) for f in formats), key=lambda t: t[1])


def group_norm(channels, size, batch, which):
    x = torch.randn(batch, channels, size, size)
    gamma, beta = torch.randn(channels), torch.randn(channels)
    if which == "forward":
        return timed(lambda: F.silu(F.group_norm(x, 32, gamma, beta)))
    with torch.enable_grad():
        inputs = [t.requires_grad_() for t in (x, gamma, beta)]
        y = F.silu(F.group_norm(x, 32, gamma, beta))
    return timed(backward(y, inputs, [1, 1, 1]))


def attention(heads, length, dim, which):
    qkv = [torch.randn(1, heads, length, dim) for _ in range(3)]
    if which == "forward":
        return timed(lambda: F.scaled_dot_product_attention(*qkv))
    with torch.enable_grad():
        qkv = [t.requires_grad_() for t in qkv]
        o = F.scaled_dot_product_attention(*qkv)
    return timed(backward(o, qkv, [1, 1, 1]))


def linear(rows, c_in, c_out, which):
    x, w, b = torch.randn(rows, c_in), torch.randn(c_out, c_in), torch.randn(c_out)
    dy = torch.randn(rows, c_out)
    return timed({
        "forward": lambda: F.linear(x, w, b),
        "data": lambda: dy @ w,
        "weight": lambda: (dy.t() @ x, dy.sum(0)),
    }[which])


def silu(n, which):
    x, dy = torch.randn(n), torch.randn(n)
    if which == "forward":
        return timed(lambda: F.silu(x))
    return timed(lambda: torch.ops.aten.silu_backward(dy, x))


PATTERNS = [
    (r"conv(\d+)x\d+/(\d+) (\d+)-(\d+)@(\d+) b(\d+) (\w+)", convolution),
    (r"groupnorm\+silu (\d+)@(\d+) b(\d+) (\w+)", group_norm),
    (r"attention (\d+)x(\d+)x(\d+) (\w+)", attention),
    (r"linear (\d+)x(\d+)-(\d+) (\w+)", linear),
    (r"silu (\d+) (\w+)", silu),
]


def main():
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    print(f"# PyTorch {torch.__version__}, {torch.get_num_threads()} threads; ms: median best CPU")
    print(f"{'# operation':40}{'PyTorch':>30}{'ours':>30}{'ratios':>24}")
    for line in open(sys.argv[1]):
        name, *figures = line.rstrip("\n").split("\t")
        for pattern, run in PATTERNS:
            found = re.fullmatch(pattern, name)
            if found:
                theirs = run(*[int(g) if g.isdigit() else g for g in found.groups()])
                ours = [float(figures[i]) for i in (0, 2, 4)]
                cells = [*theirs, *ours]
                ratios = [t / max(o, 1e-9) for t, o in zip(theirs, ours)]
                print(f"{name:40}" + "".join(f"{c:10.3f}" for c in cells) + "".join(f"{r:8.2f}" for r in ratios),
                      flush=True)


main()
