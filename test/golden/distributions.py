#!/usr/bin/env python3
"""Writes test/golden/distributions.json: log densities by scipy, and a Gaussian and an EM fit by numpy, that the tests compute again.

usage: python3 test/golden/distributions.py        (needs numpy and scipy; the tests read only the JSON)

Everything is float64 on inputs rounded to float32, by the formula `pattern` of generate.py.
"""
import json, os
import numpy as np
from scipy import stats
from scipy.special import logsumexp

HERE = os.path.dirname(os.path.abspath(__file__))


def pattern(shape, seed, scale=1.0, offset=0.0):
    """As in generate.py and pattern.ts."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(1)) * np.uint32(2654435761) + np.uint32(seed) * np.uint32(40503)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    u = h.astype(np.float64) / 2**31 - 1
    return (offset + scale * u).astype(np.float32).astype(np.float64).reshape(shape)


def lower(d, seed):
    """A lower triangular factor with a diagonal of about 1."""
    return np.tril(pattern((d, d), seed, 0.6), -1) + np.diag(pattern((d,), seed + 100, 0.4, 1.0))


def densities():
    d, k, n = 3, 4, 12
    x = pattern((n, d), 1, 3.0)
    mean, factor = pattern((d,), 2, 1.5), lower(d, 3)
    scale = pattern((d,), 4, 0.5, 1.0)
    weights, means = pattern((k,), 5, 0.4, 1.0), pattern((k, d), 6, 2.0)
    factors = np.stack([lower(d, 10 + i) for i in range(k)])
    parts = [stats.multivariate_normal(means[i], factors[i] @ factors[i].T).logpdf(x) for i in range(k)]
    return {
        "standard": stats.multivariate_normal(np.zeros(d), np.eye(d)).logpdf(x),
        "diagonal": stats.norm(mean, scale).logpdf(x).sum(1),
        "gaussian": stats.multivariate_normal(mean, factor @ factor.T).logpdf(x),
        "mixture": logsumexp(np.stack(parts) + np.log(weights / weights.sum())[:, None], axis=0),
    }


def mixture_data():
    """Three elongated clouds in the plane, 240 rows."""
    rows = []
    for i, (centre, count) in enumerate([((-3, 0), 120), ((3, 1), 80), ((0, 4), 40)]):
        rows.append(pattern((count, 2), 40 + i) @ lower(2, 50 + i).T * 1.2 + centre)
    return np.concatenate(rows).astype(np.float32).astype(np.float64)


def fits():
    x = mixture_data()
    jitter = 1e-3
    mean = x.mean(0)
    factor = np.linalg.cholesky(np.cov(x.T, bias=True) + jitter * np.eye(2))
    # EM from given means, equal weights and the overall covariance (Dempster, Laird & Rubin 1977).
    k, n = 3, len(x)
    w, m = np.full(k, 1 / k), np.array([[-2.0, -1.0], [2.0, 0.0], [1.0, 3.0]])
    c = np.stack([factor @ factor.T] * k)
    history = []
    for _ in range(12):
        logs = np.stack([np.log(w[i]) + stats.multivariate_normal(m[i], c[i]).logpdf(x) for i in range(k)])
        total = logsumexp(logs, axis=0)
        history.append(total.mean())
        r = np.exp(logs - total)
        share = r.sum(1)
        w, m = share / n, r @ x / share[:, None]
        c = np.stack([(r[i][:, None] * (x - m[i])).T @ (x - m[i]) / share[i] + jitter * np.eye(2) for i in range(k)])
    return {
        "jitter": jitter, "mean": mean, "factor": factor, "startFactor": factor,
        "startMeans": [[-2.0, -1.0], [2.0, 0.0], [1.0, 3.0]], "history": history,
        "weights": w, "means": m, "covariances": c,
    }


def plain(v):
    return {a: plain(b) for a, b in v.items()} if isinstance(v, dict) else np.asarray(v).tolist()


if __name__ == "__main__":
    with open(os.path.join(HERE, "distributions.json"), "w") as f:
        json.dump({"densities": plain(densities()), "data": plain(mixture_data()), "fits": plain(fits())}, f)
