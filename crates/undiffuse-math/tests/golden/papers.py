"""Golden values from the papers' own formulas, in double precision: for every schedule, parameterization, weighting,
timing and spacing, and for the solvers whose paper is an algorithm of a few lines.

    pip install scipy
    python papers.py

writes papers.json beside itself. Nothing here knows how undiffuse computes these things. A walk's model is a smooth
function of x and sigma; noise is given by a formula and recorded.
"""

import json
import math
import pathlib
import platform

import scipy
from scipy.stats import beta, norm

SIZE = 3


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def linspace(start, end, n):
    return [start + (end - start) * i / (n - 1) for i in range(n)]


# Schedules: [time, alpha, sigma].

TIMES = [0, 1, 7, 250, 500, 998, 999]


def table(betas):
    bars, bar = [], 1.0
    for b in betas:
        bar *= 1 - b
        bars.append(bar)
    return bars


def rows_of(bars):
    return [[t, math.sqrt(bars[t]), math.sqrt(1 - bars[t])] for t in TIMES]


def cosine_betas(n):
    f = lambda t: math.cos((t / n + 0.008) / 1.008 * math.pi / 2) ** 2
    return [min(1 - f(t + 1) / f(t), 0.999) for t in range(n)]


def along(level, times):
    return [[t, *level(t)] for t in times]


def vp(t):
    log_alpha = -0.25 * t**2 * (20 - 0.1) - 0.5 * t * 0.1
    return math.exp(log_alpha), math.sqrt(1 - math.exp(2 * log_alpha))


def sub_vp(t):
    log_alpha = -0.25 * t**2 * (20 - 0.1) - 0.5 * t * 0.1
    return math.exp(log_alpha), 1 - math.exp(2 * log_alpha)


def cosine_vp(t, shift=0.0, ends=(15, -15)):
    low, high = (math.atan(math.exp(-0.5 * log_snr)) for log_snr in ends)
    log_snr = -2 * math.log(math.tan(low + t * (high - low))) + shift
    return math.sqrt(sigmoid(log_snr)), math.sqrt(sigmoid(-log_snr))


def flow(t, shift=1.0):
    s = shift * t / (1 + (shift - 1) * t)
    return 1 - s, s


LINEAR = table(linspace(1e-4, 0.02, 1000))
UNIT = [0.001, 0.1, 0.35, 0.5, 0.8, 1.0]
SIGMAS = [0.002, 0.3, 1.0, 17.0, 80.0]
SCHEDULES = [
    ("linear", "[Ho20, section 4]", rows_of(LINEAR)),
    ("scaled-linear", "[Rombach22, in its code]", rows_of(table([r**2 for r in linspace(8.5e-4**0.5, 0.012**0.5, 1000)]))),
    ("cosine", "[Nichol21, Eq. 17]", rows_of(table(cosine_betas(1000)))),
    ("sigmoid", "[Xu22, as diffusers has it]", rows_of(table([1e-4 + (0.02 - 1e-4) * sigmoid(u) for u in linspace(-6, 6, 1000)]))),
    ("trained:betas=0.1;0.2;0.3", "[Ho20, Eq. 4]", [[t, b**0.5, (1 - b) ** 0.5] for t, b in enumerate([0.9, 0.72, 0.504])]),
    ("vp", "[Song21, Eqs. 11 and 33]", along(vp, UNIT)),
    ("sub-vp", "[Song21, Eqs. 12 and 29]", along(sub_vp, UNIT)),
    ("cosine-vp", "[Hoogeboom23, section 3.1]", along(cosine_vp, UNIT)),
    ("cosine-vp:shift=-2", "[Hoogeboom23, section 3.1]", along(lambda t: cosine_vp(t, -2), UNIT)),
    ("cosine-vp:log_snr_max=12,log_snr_min=-7", "[Hoogeboom23, section 3.1]", along(lambda t: cosine_vp(t, 0, (12, -7)), UNIT)),
    ("ve", "[Song21, Eq. 9]", along(lambda s: (1.0, s), SIGMAS)),
    ("edm", "[Karras22, Table 1]", along(lambda s: (1.0, s), SIGMAS)),
    ("flow", "[Liu23, Eq. 1]", along(flow, UNIT)),
    ("flow:shift=3", "[Esser24, Eq. 23]", along(lambda t: flow(t, 3), UNIT)),
]

# Parameterizations: [alpha, sigma, skip, out, input, target_x0, target_eps]. Whatever multiplies x on its way into the network makes its
# variance 1 for data of unit variance, unless the paper has another.


def edm(alpha, sigma, data=0.5):
    # The paper's numbers are for x / alpha at s = sigma / alpha.
    s = sigma / alpha
    skip, out, scale = data**2 / (s**2 + data**2), s * data / math.hypot(s, data), 1 / math.hypot(s, data)
    # F* = (x0 - c_skip (x0 + s eps)) / c_out
    return [skip / alpha, out, scale / alpha, (1 - skip) / out, -skip * s / out]


def consistency(alpha, sigma, data=0.5, least=0.002):
    s = sigma / alpha
    skip = data**2 / ((s - least) ** 2 + data**2)
    out, scale = data * (s - least) / math.sqrt(s**2 + data**2), 1 / math.sqrt(s**2 + data**2)
    return [skip / alpha, out, scale / alpha, (1 - skip) / out, -skip * s / out]


ON_CIRCLE = [(0.6, 0.8), (0.28, 0.96), (math.sqrt(0.99), 0.1)]
ANY = ON_CIRCLE + [(1.0, 0.02), (1.0, 7.0), (0.3, 0.7)]
PARAMETERIZATIONS = [
    ("eps", "[Ho20, Eq. 14]", ANY, lambda a, s: [1 / a, -s / a, 1 / math.hypot(a, s), 0, 1]),
    ("x0", "D = F", ANY, lambda a, s: [0, 1, 1 / math.hypot(a, s), 1, 0]),
    ("v", "[Salimans22, Appendix D]", ON_CIRCLE, lambda a, s: [a, -s, 1, -s, a]),
    ("score", "[Song21, Eq. 7]", ANY, lambda a, s: [1 / a, s**2 / a, 1, 0, -1 / s]),
    ("edm", "[Karras22, Table 1]", ANY, edm),
    ("edm:sigma_data=2", "[Karras22, Table 1]", ANY, lambda a, s: edm(a, s, 2)),
    ("consistency", "[Song23, Appendix C]", ANY, consistency),
    ("consistency:sigma_data=1,sigma_min=0.01", "[Song23, Appendix C]", ANY, lambda a, s: consistency(a, s, 1, 0.01)),
    ("flow", "[Liu23, Eq. 1]", [(0.3, 0.7), (0.9, 0.1)], lambda a, s: [1, -s, 1, -1, 1]),
]

# Weightings: [alpha, sigma, rate, weight] on the squared error of x0, for a network that answers v.

snr = lambda a, s: a**2 / s**2
WEIGHTINGS = [
    ("simple", "[Ho20, Eq. 14]", lambda a, s, rate: snr(a, s)),
    ("uniform", "1", lambda a, s, rate: 1),
    ("truncated-snr", "[Salimans22, section 4]", lambda a, s, rate: max(snr(a, s), 1)),
    ("snr-plus-one", "[Salimans22, section 4]", lambda a, s, rate: snr(a, s) + 1),
    ("min-snr", "[Hang23, Min-SNR]", lambda a, s, rate: min(snr(a, s), 5)),
    ("edm", "[Karras22, Table 1]", lambda a, s, rate: ((s / a) ** 2 + 0.25) / (s / a * 0.5) ** 2),
    ("likelihood", "[Kingma21, continuous-time loss]", lambda a, s, rate: 0.5 * rate * snr(a, s)),
    ("sigmoid", "[Hoogeboom24, sigmoid loss]", lambda a, s, rate: 0.5 * rate * snr(a, s) * sigmoid(-1 - math.log(snr(a, s)))),
    ("target", "of v: its error is that of x0 over sigma", lambda a, s, rate: 1 / s**2),
]

# Timings: [schedule, quantile, time, correction].

QUANTILES = [0.003, 0.2, 0.5, 0.77, 0.999]


def importance(u):
    """[Nichol21, Eq. 18] with parts of time for its timesteps, and 0.1 % of draws uniform."""
    shares = [0.999 * root / sum(ROOTS) + 0.001 / 64 for root in ROOTS]
    part, below = 0, 0.0
    while part < 63 and u >= below + shares[part]:
        below += shares[part]
        part += 1
    return (part + (u - below) / shares[part]) / 64, 1 / (64 * shares[part])


ROOTS = [0.5 + 3 * k / 64 for k in range(64)]
SEEN = "importance:seen=" + "10;" * 64 + ",squares=" + "".join(f"{root**2};" for root in ROOTS)
TIMINGS = [
    ("uniform", "vp", "its range of times", lambda u: (0.001 + u * 0.999, 1)),
    ("uniform", "linear", "[Ho20, Algorithm 1]", lambda u: (math.floor(1000 * u), 1)),
    ("lognormal", "edm:sigma_min=1e-9,sigma_max=1e9", "[Karras22, Table 1]", lambda u: (math.exp(-1.2 + 1.2 * norm.ppf(u)), 1)),
    ("logit-normal", "flow:t_min=0", "[Esser24, Eq. 19]", lambda u: (sigmoid(norm.ppf(u)), 1)),
    ("log-snr-uniform", "edm", "a ramp", lambda u: (0.002 * (80 / 0.002) ** u, 1)),
    (SEEN, "flow:t_min=0", "[Nichol21, Eq. 18]", importance),
]

# Spacings: times of schedules, from the noisiest down.


def karras(n, low=0.002, high=80.0, rho=7):
    ends = [high ** (1 / rho), low ** (1 / rho)]
    return [x**rho for x in linspace(*ends, n)]


def vp_time(log_snr):
    """Of log alpha: -t² 19.9 / 4 - t 0.05 = -log(1 + exp(-log_snr)) / 2, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(200):
        t = (low + high) / 2
        a, s = vp(t)
        low, high = (t, high) if 2 * math.log(a / s) > log_snr else (low, t)
    return t


ENDS = [2 * math.log(vp(t)[0] / vp(t)[1]) for t in (1.0, 0.001)]
ANGLES = [math.atan(s / 0.5) for s in (80.0, 0.002)]
# numpy's linspace and round, in words: halves to even.
SPACINGS = [
    ("linspace", "linear", "diffusers, timestep_spacing = linspace", [float(round(t)) for t in linspace(999, 0, 10)]),
    ("leading", "linear", "[Song21c, in its code]", [100.0 * i for i in reversed(range(10))]),
    ("trailing", "linear", "[Lin24, section 3.3]", [float(round(1000 - i * 1000 / 7) - 1) for i in range(7)]),
    ("karras", "edm", "[Karras22, Eq. 5]", karras(9)),
    ("exponential", "edm", "[Song21, Appendix C]", [80 * (0.002 / 80) ** (i / 8) for i in range(9)]),
    ("beta", "edm", "diffusers, use_beta_sigmas", [0.002 + beta.ppf(1 - i / 8, 0.6, 0.6) * (80 - 0.002) for i in range(9)]),
    ("log-snr", "vp", "[Lu22, uniform log-SNR]", [vp_time(ENDS[0] + i / 6 * (ENDS[1] - ENDS[0])) for i in range(6)]),
    ("karras:of=40", "edm", "[Song23, in its code]", [karras(40)[k] for k in (0, 5, 10, 15, 20, 25, 30)]),
    ("lcm", "linear", "[Luo23, in its code]", [20.0 * k - 1 for k in (50, 43, 36, 29, 22, 15, 8)]),
    ("lcm:strength=0.5", "linear", "[Luo23, in its code]", [20.0 * k - 1 for k in (25, 19, 13, 7)]),
    ("time-uniform", "vp", "[Lu22, uniform time]", [1 - i / 6 * 0.999 for i in range(6)]),
    ("optimal:exponent=0", "edm", "[Sabour24, section 3]", [0.5 * math.tan(angle) for angle in linspace(*ANGLES, 9)]),
]


# Walks.


class Walk:
    def __init__(self, solver, source, levels):
        self.case = {"solver": solver, "source": source, "levels": levels, "noise": [], "calls": []}

    def denoised(self, x, level):
        alpha, sigma = level
        s = sigma / alpha
        d = [math.tanh(0.8 * (v / alpha) / (1 + 0.3 * s)) + 0.2 * math.cos(s + v / alpha) for v in x]
        self.case["calls"].append({"sigma": s, "x": list(x), "denoised": d})
        return d

    def score(self, x, level):
        alpha, sigma = level
        return [(alpha * d - v) / sigma**2 for v, d in zip(x, self.denoised(x, level))]

    def eps(self, x, level):
        return [-level[1] * g for g in self.score(x, level)]

    def noise(self):
        n = SIZE * len(self.case["noise"])
        self.case["noise"].append([1.5 * math.sin(2 + 3.7 * (k + n)) for k in range(SIZE)])
        return self.case["noise"][-1]


def walk(solver, source, levels, step):
    """A walk of `step(walk, x, i, level, next)`, which gives the next x."""
    made = Walk(solver, source, [list(level) for level in levels])
    x = [math.hypot(*levels[0]) * v for v in linspace(-1.4, 1.6, SIZE)]
    for i, (level, after) in enumerate(zip(levels, levels[1:])):
        x = step(made, x, i, level, after)
    return {**made.case, "end": list(x)}


def mix(*terms):
    return [sum(c * x[k] for c, x in terms) for k in range(SIZE)]


def ddpm(large):
    def step(w, x, i, level, after):
        bar, before = level[0] ** 2, after[0] ** 2
        a = bar / before
        mean = mix((1 / math.sqrt(a), x), (-(1 - a) / math.sqrt(1 - bar) / math.sqrt(a), w.eps(x, level)))
        if after[1] == 0:
            return mean
        variance = (1 - a) if large else (1 - before) / (1 - bar) * (1 - a)
        return mix((1, mean), (math.sqrt(variance), w.noise()))

    return step


def ddim(eta):
    def step(w, x, i, level, after):
        bar, before = level[0] ** 2, after[0] ** 2
        eps = w.eps(x, level)
        s = eta * math.sqrt((1 - before) / (1 - bar)) * math.sqrt(1 - bar / before)
        x0 = mix((1 / math.sqrt(bar), x), (-math.sqrt(1 - bar) / math.sqrt(bar), eps))
        mean = mix((math.sqrt(before), x0), (math.sqrt(max(1 - before - s**2, 0)), eps))
        return mix((1, mean), (s, w.noise())) if s > 0 else mean

    return step


def slope(w, x, s):
    return mix((1 / s, x), (-1 / s, w.denoised(x, (1.0, s))))


def midpoint(w, x, i, level, after):
    s, t = level[1], after[1]
    middle = (s + t) / 2
    inner = mix((1, x), (middle - s, slope(w, x, s)))
    return mix((1, x), (t - s, slope(w, inner, middle)))


def euler(w, x, i, level, after):
    return mix((1, x), (after[1] - level[1], slope(w, x, level[1])))


def heun(w, x, s, t):
    d = slope(w, x, s)
    y = mix((1, x), (t - s, d))
    return mix((1, x), ((t - s) / 2, d), ((t - s) / 2, slope(w, y, t))) if t > 0 else y


def euler_ancestral(w, x, i, level, after):
    s, t = level[1], after[1]
    up = min(t, math.sqrt(t**2 * (s**2 - t**2) / s**2))
    down = math.sqrt(t**2 - up**2)
    y = mix((1, x), (down - s, slope(w, x, s)))
    return mix((1, y), (up, w.noise())) if t > 0 else y


def dpmpp_2m_sde(levels):
    lam = [math.log(a / s) if s > 0 else math.inf for a, s in levels]
    past = []

    def step(w, x, i, level, after):
        h = lam[i + 1] - lam[i]
        past.append(w.denoised(x, level))
        if i + 2 == len(levels):
            # Of first order, and h is infinite.
            return mix((after[0], past[i]))
        weight = after[0] * (1 - math.exp(-2 * h))
        mean = mix((after[1] / level[1] * math.exp(-h), x), (weight, past[i]))
        if i > 0:
            r = (lam[i] - lam[i - 1]) / h
            mean = mix((1, mean), (weight / 2 / r, past[i]), (-weight / 2 / r, past[i - 1]))
        return mix((1, mean), (after[1] * math.sqrt(1 - math.exp(-2 * h)), w.noise()))

    return step


def lcm(w, x, i, level, after):
    d = mix((after[0], w.denoised(x, level)))
    return mix((1, d), (after[1], w.noise())) if after[1] > 0 else d


def consistency_steps(least):
    def step(w, x, i, level, after):
        d = w.denoised(x, level)
        return mix((1, d), (math.sqrt(after[1] ** 2 - least**2), w.noise())) if after[1] > least else d

    return step


def langevin(per_level, share):
    def step(w, x, i, level, after):
        a = share * level[1] ** 2
        for _ in range(per_level):
            x = mix((1, x), (a / 2, w.score(x, level)), (math.sqrt(a), w.noise()))
        # The clean end is the denoised image [Song20, Algorithm 1].
        return x if after[1] > 0 else mix((1, x), (level[1] ** 2, w.score(x, level)))

    return step


def reverse_diffusion(w, x, i, level, after):
    a = level[0] / after[0]
    g2 = level[1] ** 2 - a**2 * after[1] ** 2
    mean = mix((2 - a, x), (g2, w.score(x, level)))
    return mix((1, mean), (math.sqrt(g2), w.noise())) if after[1] > 0 else mean


def euler_maruyama(w, x, i, level, after):
    if after[1] == 0:
        return w.denoised(x, level)
    # f dt = d ln alpha and g² dt = sigma² times the fall of ln(sigma² / alpha²): the increments of the SDE over the step.
    f = math.log(after[0] / level[0])
    g2 = 2 * level[1] ** 2 * math.log((level[1] / level[0]) / (after[1] / after[0]))
    return mix((1 + f, x), (g2, w.score(x, level)), (math.sqrt(g2), w.noise()))


def restart(sigmas, top, bottom, repeats):
    def step(w, x, i, level, after):
        x = heun(w, x, sigmas[i], sigmas[i + 1])
        if i + 1 == bottom:
            for _ in range(repeats):
                x = mix((1, x), (math.sqrt(sigmas[top] ** 2 - sigmas[bottom] ** 2), w.noise()))
                for k in range(top, bottom):
                    x = heun(w, x, sigmas[k], sigmas[k + 1])
        return x

    return step


CHAIN = [(math.sqrt(LINEAR[t]), math.sqrt(1 - LINEAR[t])) for t in (999, 871, 640, 500, 120, 30, 0)] + [(1.0, 0.0)]
EXPLODING = [(1.0, s) for s in karras(9)] + [(1.0, 0.0)]
RESTART = [80.0, 9.0, 2.2, 0.31, 0.12, 0.055, 0.01, 0.0]
WALKS = [
    walk("ddpm", "[Ho20, Algorithm 2]", CHAIN, ddpm(False)),
    walk("ddpm:variance=fixed-large", "[Ho20, Algorithm 2]", CHAIN, ddpm(True)),
    walk("ddim", "[Song21c, Eq. 12]", CHAIN, ddim(0.0)),
    walk("ddim:eta=0.5", "[Song21c, Eqs. 12 and 16]", CHAIN, ddim(0.5)),
    walk("euler", "[Karras22, Algorithm 1]", EXPLODING, euler),
    walk("midpoint", "[Karras22, Algorithm 3]", EXPLODING, midpoint),
    walk("euler-ancestral", "k-diffusion, get_ancestral_step", EXPLODING, euler_ancestral),
    walk("dpmpp-2m-sde", "[Lu22b, SDE-DPM-Solver++(2M)]", CHAIN, dpmpp_2m_sde(CHAIN)),
    walk("lcm", "[Luo23, Algorithm 3]", CHAIN, lcm),
    walk("lcm:sigma_min=0.002", "[Song23, Algorithm 1]", EXPLODING, consistency_steps(0.002)),
    walk("langevin:per_level=3,step=0.1", "[Song19, Algorithm 1]", EXPLODING, langevin(3, 0.1)),
    walk("reverse-diffusion", "[Song21, Appendix E]", CHAIN, reverse_diffusion),
    walk("euler-maruyama", "[Song21, Eq. 6]", CHAIN, euler_maruyama),
    walk("restart", "[Xu23, Algorithm 1]", [(1.0, s) for s in RESTART], restart(RESTART, 3, 5, 2)),
]

OUT = {
    "made_by": "papers.py",
    "versions": {"python": platform.python_version(), "scipy": scipy.__version__},
    "walks": WALKS,
    "schedules": [{"part": part, "source": source, "rows": rows} for part, source, rows in SCHEDULES],
    "parameterizations": [
        {"part": part, "source": source, "rows": [[a, s, *of(a, s)] for a, s in levels]} for part, source, levels, of in PARAMETERIZATIONS
    ],
    "weightings": [
        {"part": part, "source": source, "of": "v", "rows": [[a, s, rate, of(a, s, rate)] for a, s in ON_CIRCLE for rate in (1.0, 3.5)]}
        for part, source, of in WEIGHTINGS
    ],
    "timings": [
        {"part": part, "source": source, "schedule": on, "rows": [[u, *map(float, of(u))] for u in QUANTILES]} for part, on, source, of in TIMINGS
    ],
    "spacings": [{"part": part, "source": source, "schedule": on, "times": times} for part, on, source, times in SPACINGS],
}
path = pathlib.Path(__file__).with_name("papers.json")
path.write_text(json.dumps(OUT, separators=(",", ":")) + "\n")
