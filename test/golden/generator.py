#!/usr/bin/env python3
"""Writes test/golden/generator.json: a convolutional generator by PyTorch, that test/nn/generator.test.ts rebuilds.

usage: python3 test/golden/generator.py      (needs torch; the tests read only the JSON)

Float64, from latents and weights that follow from a formula (`pattern`, see generate.py).
"""
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from generate import pattern

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 4 * 3 * 3)
        self.norm = nn.ModuleList([nn.GroupNorm(1, 4), nn.GroupNorm(1, 3)])
        self.conv = nn.ModuleList([nn.Identity(), nn.Conv2d(4, 3, 3, padding=1)])
        self.head = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, z):
        h = self.stem(z).reshape(-1, 4, 3, 3)
        h = F.leaky_relu(self.norm[0](h), 0.2)
        h = F.interpolate(h, size=(5, 6), mode="nearest")
        h = F.leaky_relu(self.norm[1](self.conv[1](h)), 0.2)
        return torch.tanh(self.head(h))


model = Generator()
names = sorted(model.state_dict())
with torch.no_grad():
    for k, name in enumerate(names):
        parameter = model.get_parameter(name)
        base = 1.0 if name.startswith("norm") and name.endswith("weight") else 0.0
        parameter.copy_(pattern(list(parameter.shape), k, 0.4, base))
z = pattern([2, 3], 50, 1.0)
x = model(z)
(x.square() * pattern(list(x.shape), 60, 1.0)).sum().backward()
out = {
    "names": names,
    "shapes": [list(model.get_parameter(n).shape) for n in names],
    "x": x.detach().flatten().tolist(),
    "gradients": {n: model.get_parameter(n).grad.flatten().tolist() for n in names},
}
path = Path(__file__).with_name("generator.json")
path.write_text(json.dumps(out) + "\n")
