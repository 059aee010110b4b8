#!/usr/bin/env python3
"""Writes test/golden/spectral-norm.json: what torch.nn.utils.parametrizations.spectral_norm computes for networks that the tests rebuild.

usage: python3 test/golden/spectral_norm.py        (needs torch; the tests read only the JSON)

float64, weights and vectors by `pattern`, as in generate.py.
"""
import json, os
import torch
import torch.nn as nn
from torch.nn.utils.parametrizations import spectral_norm
from generate import HERE, full, digest, pattern, set_weights


def mlp(iterations):
    sn = lambda m: spectral_norm(m, n_power_iterations=iterations)
    return nn.Sequential(sn(nn.Linear(5, 7)), nn.SiLU(), sn(nn.Linear(7, 6)), nn.SiLU(), sn(nn.Linear(6, 1)))


class ConvEnergy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(spectral_norm(nn.Conv2d(2, 4, 3, 2, 1)), nn.SiLU(), spectral_norm(nn.Conv2d(4, 6, 3, 2, 1)), nn.SiLU())
        self.head = spectral_norm(nn.Linear(24, 1))

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def singular_values(net):
    """The parametrised weights' first singular values, by a singular value decomposition of the originals."""
    return {n: float(torch.linalg.svdvals(p.detach().flatten(1))[0]) for n, p in net.named_parameters() if n.endswith("original")}


def case(name, net, shape, iterations):
    set_weights(net)
    x = pattern((4, *shape), 500, 0.9).requires_grad_(True)
    net.train()
    energy = net(x)[:, 0]
    (gx,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    (energy.sum() + 0.5 * gx.square().sum()).backward()
    out = {"name": name, "iterations": iterations, "energy": full(energy), "inputGradient": full(gx),
           "gradients": {n: digest(p.grad) for n, p in net.named_parameters()},
           "vectors": {n: full(b) for n, b in net.named_buffers()}, "singularValues": singular_values(net)}
    net.eval()
    out["evalEnergy"] = full(net(x)[:, 0])
    with torch.no_grad():
        net.train()
        for _ in range(3):
            net(x)
        net.eval()
        out["laterEnergy"] = full(net(x)[:, 0])
    return out


cases = [case("mlp", mlp(1), (5,), 1), case("mlp, three iterations", mlp(3), (5,), 3), case("convEnergy", ConvEnergy(), (2, 8, 6), 1)]
with open(os.path.join(HERE, "spectral-norm.json"), "w") as f:
    json.dump(cases, f)
