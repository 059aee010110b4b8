#!/usr/bin/env python3
"""Writes test/golden/networks.json and test/golden/jempp-steps.json: what PyTorch computes for networks and steps that the tests rebuild.

usage: python3 test/golden/generate.py        (needs torch; the tests read only the JSON)

Everything is computed in float64 (inputs rounded to float32 first), so that a test measures the library's error and not PyTorch's.
Nothing large is stored. Weights, inputs and data follow from a formula that both sides evaluate (`pattern`); gradients and weights are
stored as their norm, their inner product with another pattern, and their first values.
"""
import json, math, os
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

WEIGHT_SCALE = 1.7
HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def pattern(shape, seed, scale=1.0, offset=0.0):
    """offset + scale * u with u uniform in [-1, 1): Murmur3's finalizer of (row-major index, seed), rounded once to float32, held as float64."""
    h = (np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(1)) * np.uint32(2654435761) + np.uint32(seed) * np.uint32(40503)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    u = h.astype(np.float64) / 2**31 - 1
    return torch.from_numpy((offset + scale * u).astype(np.float32).astype(np.float64).reshape(shape))


def norm_layer(kind, c):
    return {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(c), "layer": lambda: nn.GroupNorm(1, c),
            "instance": lambda: nn.InstanceNorm2d(c, affine=True), "group": lambda: nn.GroupNorm(c // 8, c)}[kind]()


class Block(nn.Module):
    def __init__(self, cin, cout, stride, norm):
        super().__init__()
        self.bn1, self.bn2 = norm_layer(norm, cin), norm_layer(norm, cout)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.conv2 = nn.Conv2d(cout, cout, 3, stride=stride, padding=1)
        self.short = nn.Conv2d(cin, cout, 1, stride=stride) if stride != 1 or cin != cout else nn.Identity()

    def forward(self, x):
        h = self.conv1(F.leaky_relu(self.bn1(x), 0.2))
        return self.conv2(F.leaky_relu(self.bn2(h), 0.2)) + self.short(x)


class WideResNet(nn.Module):
    def __init__(self, depth, width, norm, channels, classes=10):
        super().__init__()
        n = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        blocks, c = [], 16
        for stage, k in enumerate([16 * width, 32 * width, 64 * width]):
            for i in range(n):
                blocks.append(Block(c, k, 2 if stage > 0 and i == 0 else 1, norm))
                c = k
        self.blocks, self.bn, self.head = nn.Sequential(*blocks), norm_layer(norm, c), nn.Linear(c, classes)

    def tail(self, h):
        return self.head(F.leaky_relu(self.bn(self.blocks(h)), 0.2).mean((2, 3)))

    def forward(self, x):
        return self.tail(self.stem(x))


def set_weights(net):
    """Parameters and running statistics by formula: weights ±1/sqrt(fan in), norm weights about 1, biases small, variances about 1."""
    with torch.no_grad():
        named = [(n, p) for n, p in net.state_dict().items() if not n.endswith("num_batches_tracked")]
        for k, (name, p) in enumerate(sorted(named)):
            if name.endswith("running_var"):
                p.copy_(pattern(p.shape, k, 0.4, 1.0))
            elif p.dim() > 1:
                p.copy_(pattern(p.shape, k, WEIGHT_SCALE / math.sqrt(p[0].numel())))
            elif name.endswith("weight"):
                p.copy_(pattern(p.shape, k, 0.3, 1.0))
            else:
                p.copy_(pattern(p.shape, k, 0.2))


def digest(t):
    t = t.detach().double().flatten()
    i = torch.arange(t.numel(), dtype=torch.float64)
    return {"norm": float(t.norm()), "dot": float((t * torch.cos(0.37 * i)).sum()), "first": [float(v) for v in t[:6]]}


def full(t):
    return {"shape": list(t.shape), "data": [float(v) for v in t.detach().flatten()]}


def network_cases():
    out = []
    for depth, width, norm, channels, size in [(10, 1, "batch", 1, 8), (10, 2, "batch", 3, 12), (16, 1, "batch", 3, 9), (10, 1, "none", 1, 8),
                                               (10, 1, "layer", 1, 8), (10, 1, "instance", 3, 12), (10, 1, "group", 1, 8), (16, 2, "group", 3, 8)]:
        for mode in ["train", "eval"]:
            net = WideResNet(depth, width, norm, channels)
            set_weights(net)
            net.train(mode == "train")
            x = pattern((4, channels, size, size), 500, 0.9).requires_grad_(True)
            y = torch.tensor([3, 0, 7, 9])
            logits = net(x)
            energy = -logits.logsumexp(1)
            (gx,) = torch.autograd.grad(energy.sum(), x, retain_graph=True)
            loss = F.cross_entropy(logits, y) + 0.5 * energy.mean()
            loss.backward()
            out.append({"depth": depth, "width": width, "norm": norm, "channels": channels, "size": size, "mode": mode, "labels": y.tolist(),
                        "logits": full(logits), "energy": full(energy), "inputGradient": full(gx), "loss": float(loss),
                        "gradients": {n: digest(p.grad) for n, p in net.named_parameters()}})
    return out


def jempp_steps():
    """Five whole steps of the JEM++ recipe on fixed batches and a fixed buffer (rows, no re-initialisation, no noise)."""
    S = {"depth": 10, "width": 1, "channels": 1, "size": 8, "batch": 16, "outer": 2, "inner": 5, "pyldStep": 0.2, "clamp": 1.0,
         "learningRate": 0.01, "momentum": 0.9, "weightDecay": 4e-4, "bufferRows": 40}
    net = WideResNet(S["depth"], S["width"], "batch", S["channels"])
    set_weights(net)
    net.train()
    opt = torch.optim.SGD(net.parameters(), lr=S["learningRate"], momentum=S["momentum"], weight_decay=S["weightDecay"])
    one, B = (S["channels"], S["size"], S["size"]), S["batch"]
    buffer = pattern((S["bufferRows"], *one), 2500, 0.8)
    steps = []
    for k in range(5):
        data, labelled = pattern((B, *one), 1000 + k, 0.9), pattern((B, *one), 2000 + k, 0.9)
        labels = torch.tensor([(3 * i + k) % 10 for i in range(B)])
        rows = torch.tensor([(7 * i + 3 * k) % S["bufferRows"] for i in range(B)])
        q = buffer[rows]
        for _ in range(S["outer"]):
            with torch.no_grad():
                h = net.stem(q)
            h.requires_grad_(True)
            (p,) = torch.autograd.grad(net.tail(h).logsumexp(1).sum(), h)
            for _ in range(S["inner"]):
                q = q.detach().requires_grad_(True)
                (g,) = torch.autograd.grad((net.stem(q) * p).sum(), q)
                q = (q.detach() + S["pyldStep"] * g.clamp(-S["clamp"], S["clamp"])).clamp(-1, 1)
        q = q.detach()
        buffer[rows] = q
        fp, fq = net(data).logsumexp(1).mean(), net(q).logsumexp(1).mean()
        logits = net(labelled)
        ce = F.cross_entropy(logits, labels)
        loss = -(fp - fq) + ce
        opt.zero_grad()
        loss.backward()
        opt.step()
        steps.append({"labels": labels.tolist(), "rows": rows.tolist(), "loss": float(loss), "energyData": -float(fp), "energyNegatives": -float(fq),
                      "crossEntropy": float(ce), "accuracy": float((logits.argmax(1) == labels).float().mean()), "chains": digest(q),
                      "weights": {n: digest(p) for n, p in net.named_parameters()}})
    return {"settings": S, "steps": steps, "buffer": digest(buffer)}


def main():
    meta = {"generator": "test/golden/generate.py", "torch": torch.__version__}
    for name, value in [("networks", {**meta, "cases": network_cases()}), ("jempp-steps", {**meta, **jempp_steps()})]:
        with open(os.path.join(HERE, f"{name}.json"), "w") as f:
            json.dump(value, f)
            f.write("\n")


if __name__ == "__main__":
    main()
