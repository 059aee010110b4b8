#!/usr/bin/env python3
"""Writes test/golden/evaluation.json: two-sample figures by their definitions, which test/evaluation/*.test.ts compares with.

usage: python3 test/golden/evaluation.py        (needs numpy and scipy; the tests read only the JSON)

Everything in float64 from the formulas, with whole distance matrices and plain loops; inputs follow from `pattern`, which both sides
evaluate (see generate.py).
"""
import json, os
import numpy as np
from scipy import stats

HERE = os.path.dirname(os.path.abspath(__file__))


def pattern(shape, seed, scale=1.0, offset=0.0):
    """offset + scale * u, u uniform in [-1, 1) from Murmur3's finalizer of (row-major index, seed), rounded once to float32."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(1)) * np.uint32(2654435761) + np.uint32(seed) * np.uint32(40503)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    u = h.astype(np.float64) / 2**31 - 1
    return (offset + scale * u).astype(np.float32).astype(np.float64).reshape(shape)


def squared(a, b):
    return ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1)


def median_distance(x, y):
    z = np.concatenate([x, y])
    return np.median(np.sqrt(squared(z, z)[np.triu_indices(len(z), 1)]))


def rbf(sigmas):
    return lambda a, b: np.mean([np.exp(-squared(a, b) / (2 * s * s)) for s in sigmas], axis=0)


def imq(sigma):
    return lambda a, b: (1 + squared(a, b) / sigma**2) ** -0.5


def polynomial(degree, scale, offset):
    return lambda a, b: (a @ b.T * scale + offset) ** degree


def mmd(x, y, kernel):
    n, m = len(x), len(y)
    kxx, kyy, kxy = kernel(x, x), kernel(y, y), kernel(x, y)
    np.fill_diagonal(kxx, 0), np.fill_diagonal(kyy, 0)
    value = kxx.sum() / (n * (n - 1)) + kyy.sum() / (m * (m - 1)) - 2 * kxy.mean()
    hx = kxx.sum(1) / (n - 1) - kxy.mean(1)
    hy = kyy.sum(1) / (m - 1) - kxy.mean(0)
    return {"squared": value, "standardError": 2 * np.sqrt(hx.var(ddof=1) / n + hy.var(ddof=1) / m)}


def precision_recall(real, fake, k):
    def radius(z):
        d = squared(z, z)
        np.fill_diagonal(d, np.inf)
        return np.sort(d, axis=1)[:, k - 1]

    rr, rf, d = radius(real), radius(fake), squared(real, fake)
    in_real, in_fake = d <= rr[:, None], d <= rf[None, :]
    return {"k": k, "precision": in_real.any(0).mean(), "recall": in_fake.any(1).mean(),
            "density": in_real.sum() / (k * len(fake)), "coverage": (d.min(1) <= rr).mean()}


def nearest(x, y):
    z = np.concatenate([x, y])
    d = squared(z, z)
    np.fill_diagonal(d, np.inf)
    own = np.arange(len(z)) < len(x)
    right = own[d.argmin(1)] == own
    return {"accuracy": right.mean(), "accuracyX": right[: len(x)].mean(), "accuracyY": right[len(x):].mean()}


def inception(logits, splits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    scores = []
    for i in range(splits):
        part = p[i * len(p) // splits:(i + 1) * len(p) // splits]
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), 1))))
    return {"mean": np.mean(scores), "std": np.std(scores)}


def pair(n, m, d, seed):
    return pattern((n, d), seed), pattern((m, d), seed + 1, 1.3, 0.25)


def main():
    out = {"pairs": []}
    # Both ways of computing distances, and more rows than a block of one product would need to be whole.
    for n, m, d, seed in [(60, 45, 2, 1), (50, 50, 16, 3), (40, 70, 40, 5)]:
        x, y = pair(n, m, d, seed)
        sigma = median_distance(x, y)
        out["pairs"].append({
            "n": n, "m": m, "d": d, "seed": seed, "median": sigma,
            "rbf": mmd(x, y, rbf([sigma])), "rbfList": mmd(x, y, rbf([0.3, 1, 4])), "imq": mmd(x, y, imq(0.7)),
            "polynomial": mmd(x, y, polynomial(3, 1 / d, 1)), "quadratic": mmd(x, y, polynomial(2, 0.5, 0)),
            "precisionRecall": [precision_recall(x, y, k) for k in (1, 3, 5)], "nearest": nearest(x, y),
        })
    logits = pattern((57, 7), 9, 4)
    out["inception"] = [{"splits": s, **inception(logits, s)} for s in (1, 4, 10)]
    out["binomial"] = [{"n": n, "least": k, "p": stats.binom.sf(k - 1, n, 0.5)} for n, k in
                       [(10, 0), (10, 1), (10, 5), (10, 6), (10, 10), (101, 50), (1000, 540), (20000, 10200), (20000, 9900)]]
    with open(os.path.join(HERE, "evaluation.json"), "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")


main()
