#!/usr/bin/env python3
"""Writes test/golden/sam.json: three steps of SGD with sharpness-aware minimisation, plain and adaptive, of a small classifier, by PyTorch.

usage: python3 test/golden/sam.py      (needs torch; the test reads only the JSON)

Float64, by the definitions (Foret 2021; adaptive: Kwon 2021): the gradient of a step is taken at w + rho g / |g|, or at
w + rho w^2 g / | |w| g |, and applied at w by torch.optim.SGD. The batch is the whole data set, so that its order does not matter.
"""
import json, os
import torch
import torch.nn as nn
import torch.nn.functional as F
from generate import pattern

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
HERE = os.path.dirname(os.path.abspath(__file__))
N, D, H, CLASSES = 16, 4, 8, 3
SETTINGS = {"n": N, "inputs": D, "hidden": H, "classes": CLASSES, "learningRate": 0.25, "momentum": 0.5, "weightDecay": 0.0625, "steps": 3}


def network():
    net = nn.Sequential(nn.Linear(D, H), nn.Tanh(), nn.Linear(H, CLASSES))
    for i, p in enumerate(net.parameters()):
        p.data = pattern(tuple(p.shape), 10 + i, 0.75)
    return net


def run(rho, adaptive):
    net = network()
    x, y = pattern((N, D), 1), torch.arange(N) % CLASSES
    parameters = list(net.parameters())
    sgd = torch.optim.SGD(parameters, lr=SETTINGS["learningRate"], momentum=SETTINGS["momentum"], weight_decay=SETTINGS["weightDecay"])
    losses = []
    for _ in range(SETTINGS["steps"]):
        loss = F.cross_entropy(net(x), y)
        losses.append(float(loss.detach()))
        grads = torch.autograd.grad(loss, parameters)
        here = [p.detach().clone() for p in parameters]
        if rho > 0:
            weighed = [w.abs() * g if adaptive else g for w, g in zip(here, grads)]
            length = torch.cat([g.flatten() for g in weighed]).norm()
            for p, w, g in zip(parameters, here, grads):
                p.data = w + rho * (w ** 2 * g if adaptive else g) / length
            grads = torch.autograd.grad(F.cross_entropy(net(x), y), parameters)
        for p, w, g in zip(parameters, here, grads):
            p.data, p.grad = w, g
        sgd.step()
    return {"losses": losses, "weights": {k: v.flatten().tolist() for k, v in net.state_dict().items()}}


if __name__ == "__main__":
    out = {"settings": SETTINGS, "none": run(0, False), "plain": {"rho": 0.5, **run(0.5, False)}, "adaptive": {"rho": 2, **run(2, True)}}
    with open(os.path.join(HERE, "sam.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items()) + "\n}\n")
