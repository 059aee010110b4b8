#!/usr/bin/env python3
"""Writes test/golden/flows.json: couplings of normalizing flows by PyTorch, that test/nn/flow-golden.test.ts rebuilds.

usage: python3 test/golden/flows.py      (needs torch; the tests read only the JSON)

Float64, from inputs and weights that follow from a formula (`pattern`, see generate.py). The splines find their bins by searchsorted and gather
and are written in the order of Durkan 2019; log determinants are those of the full Jacobian by autograd; scores and weight gradients are
autograd's. None of this is how the library computes them.
"""
import json, math, os
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, jacrev, vmap
from generate import pattern

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
HERE = os.path.dirname(os.path.abspath(__file__))
N, WEIGHTS = 4, 0.6


def unconstrained_spline(x, widths, heights, slopes, bound, least):
    """Equations 4 of Durkan 2019 on [-bound, bound], knots as cumulative sums; the identity outside."""
    def knots(raw):
        k = raw.shape[-1]
        share = least + (1 - least * k) * F.softmax(raw, -1)
        return -bound + 2 * bound * F.pad(torch.cumsum(share, -1), (1, 0))

    xs, ys = knots(widths), knots(heights)
    inner = least + F.softplus(slopes + math.log(math.exp(1 - least) - 1))
    ds = F.pad(inner, (1, 1), value=1.0)
    inside = (x >= -bound) & (x <= bound)
    at = x.clamp(-bound, bound).unsqueeze(-1)
    k = (torch.searchsorted(xs.detach(), at.detach(), right=True) - 1).clamp(0, widths.shape[-1] - 1)
    take = lambda v, i: torch.gather(v, -1, i).squeeze(-1)
    x0, x1, y0, y1 = take(xs, k), take(xs, k + 1), take(ys, k), take(ys, k + 1)
    d0, d1 = take(ds, k), take(ds, k + 1)
    s = (y1 - y0) / (x1 - x0)
    xi = (at.squeeze(-1) - x0) / (x1 - x0)
    y = y0 + (y1 - y0) * (s * xi**2 + d0 * xi * (1 - xi)) / (s + (d1 + d0 - 2 * s) * xi * (1 - xi))
    return torch.where(inside, y, x)


def mlp(sizes):
    layers = []
    for i, o in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(i, o), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Coupling(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.case, d = case, case["inputs"]
        self.given = (d + 1) // 2
        self.m = d - self.given
        per = 2 if case["kind"] == "affine" else 3 * case["bins"] - 1
        self.net = mlp([self.given, *case["hidden"], per * self.m])

    def forward(self, x):
        a, b = x[..., : self.given], x[..., self.given :]
        raw = self.net(a)
        if self.case["kind"] == "affine":
            s, t = raw.chunk(2, -1)
            limit = self.case["maxLogScale"]
            y = b * torch.exp(limit * torch.tanh(s / limit)) + t
        else:
            k = self.case["bins"]
            p = raw.reshape(*raw.shape[:-1], self.m, 3 * k - 1)
            y = unconstrained_spline(b, p[..., :k], p[..., k : 2 * k], p[..., 2 * k :], self.case["bound"], self.case["least"])
        return torch.cat([a, y], -1)


def log_density(flow, x):
    z = flow(x)
    jacobian = vmap(jacrev(flow))(x)
    log_det = torch.linalg.slogdet(jacobian)[1]
    return z, log_det, -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi) + log_det


def compute(case):
    net = Coupling(case)
    names = sorted(n for n, _ in net.named_parameters())
    with torch.no_grad():
        for i, name in enumerate(names):
            p = dict(net.named_parameters())[name]
            p.copy_(pattern(p.shape, 100 + i, WEIGHTS))
    params = dict(net.named_parameters())
    x = pattern((N, case["inputs"]), 7, case["range"]).requires_grad_(True)
    z, log_det, density = log_density(lambda v: functional_call(net, params, (v,)), x)
    grads = torch.autograd.grad(density.sum(), [x, *[params[n] for n in names]])
    out = lambda t: t.detach().flatten().tolist()
    return {**case, "z": out(z), "logDet": out(log_det), "logDensity": out(density), "score": out(grads[0]),
            "gradients": {n: out(g) for n, g in zip(names, grads[1:])}}


CASES = [
    {"kind": "affine", "inputs": 5, "hidden": [6, 4], "maxLogScale": 2, "range": 2.0},
    {"kind": "affine", "inputs": 2, "hidden": [5], "maxLogScale": 0.5, "range": 2.0},
    {"kind": "spline", "inputs": 5, "hidden": [6, 4], "bins": 6, "bound": 2.5, "least": 2**-10, "range": 3.0},
    {"kind": "spline", "inputs": 2, "hidden": [5], "bins": 4, "bound": 1.0, "least": 2**-5, "range": 1.5},
]


def main():
    with open(os.path.join(HERE, "flows.json"), "w") as f:
        json.dump({"generator": "test/golden/flows.py", "torch": torch.__version__, "cases": [compute(c) for c in CASES]}, f)
        f.write("\n")


if __name__ == "__main__":
    main()
