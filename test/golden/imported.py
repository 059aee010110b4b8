#!/usr/bin/env python3
"""Writes test/golden/imported-*.onnx, classifiers as PyTorch exports them, and test/golden/imported.json, what PyTorch computes for them.

usage: python3 test/golden/imported.py        (needs torch, onnx and onnxscript; the tests read only what it writes)

A residual network (strides, a dilated and a grouped convolution, a gate, global average pooling) and a small vision transformer. Each is
exported by the TorchScript exporter (evaluation mode folds batch norms into convolutions; "preserve" keeps them) and by the newer one, with a
free batch or with the batch fixed at 1. Weights are random but not trivial, running statistics are those of passes over random images; the
files hold them in float32. Logits and scores (the gradient of logsumexp) are of float64, of inputs by `pattern`.
"""
import json, os, warnings
import torch
import torch.nn as nn
import torch.nn.functional as F
import onnx
from generate import HERE, full, pattern

warnings.filterwarnings("ignore")


class Block(nn.Module):
    def __init__(self, cin, cout, stride=1, dilation=1, groups=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, dilation, dilation, groups, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        plain = stride == 1 and cin == cout
        self.downsample = None if plain else nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Gate(nn.Module):
    """Squeeze and excitation, with the reshapes that people write."""

    def __init__(self, c):
        super().__init__()
        self.down, self.up = nn.Linear(c, c // 2), nn.Linear(c // 2, c)

    def forward(self, x):
        b, c, _, _ = x.size()
        y = x.mean((2, 3)).view(b, c)
        return x * torch.sigmoid(self.up(F.silu(self.down(y)))).view(b, c, 1, 1)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = Block(8, 8, dilation=2)
        self.layer2 = Block(8, 12, stride=2, groups=2)
        self.gate = Gate(12)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        h = self.gate(self.layer2(self.layer1(self.pool(self.stem(x)))))
        return self.fc(torch.flatten(self.avgpool(h), 1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 10, 16) * 0.5)
        self.norm1, self.norm2, self.norm = nn.LayerNorm(16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def attention(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 4, d // 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * (d // 4) ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, d))

    def forward(self, x):
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(h.shape[0], -1, -1), h], 1) + self.positions
        h = h + self.attention(self.norm1(h))
        h = h + self.mlp(self.norm2(h))
        return self.head(self.norm(h)[:, 0])


def trained(make):
    """Weights as after some training: running statistics of batches, and scales that are not 1."""
    torch.manual_seed(1)
    net = make()
    for m in net.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(m.weight, 0.6, 1.4)
            nn.init.normal_(m.bias, 0, 0.2)
    net.train()
    for _ in range(40):
        net(torch.rand(16, 3, 12, 12) * 2 - 1)
    with torch.no_grad():
        for t in net.state_dict().values():
            if t.is_floating_point():
                t.copy_(t.float())
    return net.eval()


def truth(net):
    x = pattern((4, 3, 12, 12), 77, 1.0).requires_grad_(True)
    logits = net(x)
    (score,) = torch.autograd.grad(torch.logsumexp(logits, 1).sum(), x)
    return {"logits": full(logits), "score": full(score), "parameters": sum(p.numel() for p in net.parameters())}


def export(net, name, *, dynamo=False, fixed=False, **options):
    path = os.path.join(HERE, f"imported-{name}.onnx")
    torch.set_default_dtype(torch.float32)
    x = torch.zeros(1 if fixed else 2, 3, 12, 12)
    free = {} if fixed else {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(net.float(), (x,), path, dynamo=dynamo, input_names=["x"], output_names=["logits"], verbose=False, **free, **options)
    net.double()
    torch.set_default_dtype(torch.float64)
    # Stack traces and names of modules are most of a newer file, and nobody reads them.
    model = onnx.load(path)
    for n in model.graph.node:
        del n.metadata_props[:]
        n.doc_string = ""
    for v in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del v.metadata_props[:]
    onnx.save(model, path)
    if os.path.exists(path + ".data"):
        os.remove(path + ".data")


resnet, transformer = trained(ResNet), trained(Transformer)
golden = {"resnet": truth(resnet), "transformer": truth(transformer)}
keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
export(resnet, "resnet", opset_version=17, **keep)
export(resnet, "resnet-folded-fixed", opset_version=13, fixed=True)
export(resnet, "resnet-new", dynamo=True, opset_version=18)
export(transformer, "transformer", opset_version=17)
export(transformer, "transformer-fixed", opset_version=14, fixed=True)
export(transformer, "transformer-new", dynamo=True, opset_version=20)
with open(os.path.join(HERE, "imported.json"), "w") as f:
    json.dump(golden, f)
