#!/usr/bin/env python3
"""Writes test/golden/diagnostics.json: kernel Stein discrepancies, chain diagnostics and integrals as numpy and scipy compute them.

usage: python3 test/golden/diagnostics.py        (needs numpy and scipy; the tests read only the JSON)

Float64 throughout; inputs follow from `pattern`, as in generate.py. The Stein kernel is differentiated by hand for each pair, the
autocovariances are direct sums, ranks are scipy's: nothing here shares its method with the library.
"""
import json, os
import numpy as np
from scipy import integrate, optimize, stats

HERE = os.path.dirname(os.path.abspath(__file__))


def pattern(shape, seed, scale=1.0, offset=0.0):
    """The same numbers as pattern() of generate.py and pattern.ts."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(1)) * np.uint32(2654435761) + np.uint32(seed) * np.uint32(40503)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    u = h.astype(np.float64) / 2**31 - 1
    return (offset + scale * u).astype(np.float32).astype(np.float64).reshape(shape)


def stein(x, s, kernel):
    """u(x_i, x_j) pair by pair from the kernel's value and explicit derivatives."""
    n, d = x.shape
    u = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            r = x[i] - x[j]
            k, gx, cross = kernel(r, d)
            u[i, j] = s[i] @ s[j] * k + s[i] @ (-gx) + s[j] @ gx + cross
    return u


def imq(c, beta):
    def k(r, d):
        q = c * c + r @ r
        gx = 2 * beta * q ** (beta - 1) * r
        # tr of d/dx d/dy: each coordinate -(2 beta q^(beta-1) + 4 beta (beta-1) q^(beta-2) r_k^2)
        cross = -np.sum(2 * beta * q ** (beta - 1) + 4 * beta * (beta - 1) * q ** (beta - 2) * r * r)
        return q**beta, gx, cross
    return k


def rbf(c):
    def k(r, d):
        v = np.exp(-(r @ r) / (2 * c * c))
        return v, -r / c**2 * v, v * np.sum(1 / c**2 - r * r / c**4)
    return k


def stein_cases():
    x, s = pattern((40, 3), 1, 2.0, 0.5), pattern((40, 3), 2, 1.5)
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(40, 1)]
    median = float(np.median(distances))
    out = {"median": median}
    for name, kernel in {"imq": imq(1.0, -0.5), "imq_c2_b03": imq(2.0, -0.3), "rbf_median": rbf(median), "rbf_07": rbf(0.7)}.items():
        u = stein(x, s, kernel)
        off = u - np.diag(np.diag(u))
        h = off.sum(1) / 39
        out[name] = {"u": off.sum() / (40 * 39), "v": u.mean(), "se": float(np.sqrt(4 * h.var(ddof=1) / 40))}
    return out


def draws():
    """[4 chains, 101 draws, 4 dimensions]: correlated, heavy-tailed white, one chain shifted, antithetic."""
    noise = pattern((4, 101, 4), 7)
    out = np.zeros_like(noise)
    for k, a in enumerate([0.7, 0.0, 0.3, -0.6]):
        out[:, 0, k] = noise[:, 0, k]
        for t in range(1, 101):
            out[:, t, k] = a * out[:, t - 1, k] + noise[:, t, k]
    out[:, :, 1] = noise[:, :, 1] / (1.02 - np.abs(noise[:, :, 1]))
    out[3, :, 2] += 1.5
    return out.astype(np.float32).astype(np.float64)


def split(x):
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half:]])


def scores(x):
    return stats.norm.ppf((stats.rankdata(x).reshape(x.shape) - 0.375) / (x.size + 0.25))


def rhat(x):
    n = x.shape[1]
    w, b = x.var(axis=1, ddof=1).mean(), n * x.mean(axis=1).var(ddof=1)
    return np.sqrt(((n - 1) / n * w + b / n) / w)


def ess(x):
    m, n = x.shape
    c = x - x.mean(axis=1, keepdims=True)
    acov = np.array([[np.dot(row[: n - t], row[t:]) / n for t in range(n)] for row in c]).mean(axis=0)
    mean_var = acov[0] * n / (n - 1)
    var_plus = mean_var * (n - 1) / n + x.mean(axis=1).var(ddof=1)
    rho = 1 - (mean_var - acov) / var_plus
    rho[0] = 1
    last = 0
    while last < n - 5 and rho[last] + rho[last + 1] > 0:
        last += 2
    p = [rho[t] + rho[t + 1] for t in range(0, last, 2)]
    p = np.minimum.accumulate(p) if p else np.zeros(1)
    end = rho[last] if rho[last] + rho[last + 1] >= 0 else max(rho[last], 0)
    return m * n / max(-1 + 2 * np.sum(p) + end, 1 / np.log10(m * n))


def chain_cases():
    out = []
    for k in range(4):
        x = split(draws()[:, :, k])
        tail = [ess((x <= np.quantile(x, p)).astype(float)) for p in (0.05, 0.95)]
        fold = np.abs(x - np.median(x))
        out.append({"bulk": ess(scores(x)), "tail": min(tail), "mean": ess(x), "rhat": max(rhat(scores(x)), rhat(scores(fold))),
                    "first": [float(v) for v in draws()[1, :3, k]]})
    return out


def integrals():
    ring = lambda y, x: np.exp(-8 * (np.hypot(x, y) - 2) ** 2 - 0.3 * x)
    z, _ = integrate.dblquad(ring, -4, 4, -4, 4, epsabs=1e-10, epsrel=1e-10)
    cut, _ = integrate.quad(lambda x: np.exp(-abs(x) ** 1.5 - np.cos(2 * x)), -1, 2, points=[0], epsabs=1e-13)
    return {"ring": float(np.log(z)), "cut": float(np.log(cut))}


def bennett():
    w, v = pattern((30,), 11, 1.5, 0.2), pattern((20,), 12, 1.2, 0.9)
    f = lambda c: np.sum(1 / (1 + 1.5 * np.exp(c - w))) - np.sum(1 / (1 + np.exp(v - c) / 1.5))
    return float(optimize.brentq(f, -20, 20, xtol=1e-13))


quantiles = {str(p): float(stats.norm.ppf(p)) for p in (1e-7, 1e-3, 0.02425, 0.3, 0.5, 0.77, 0.999, 1 - 1e-6)}
with open(os.path.join(HERE, "diagnostics.json"), "w") as f:
    json.dump({"stein": stein_cases(), "chains": chain_cases(), "integrals": integrals(), "bennett": bennett(), "quantiles": quantiles}, f, indent=1)
    f.write("\n")
