#!/usr/bin/env python3
"""Writes test/golden/objectives.json: losses and gradients of every objective of lib/objectives, by PyTorch, that its tests rebuild.

usage: python3 test/golden/objectives.py      (needs torch; the tests read only the JSON)

Float64, from inputs that follow from a formula (`pattern`, see generate.py). Each loss is written by its definition (a full Hessian for a
trace, log-sum-exp of densities by torch.distributions, conditionals by enumeration), not by the library's way of computing it.
Counts and scales are powers of two, which float32 constants hold exactly, so that a comparison in float64 can be tight.
"""
import json, math, os
import torch
import torch.nn.functional as F
from torch.distributions import Normal
from torch.func import functional_call
from generate import pattern

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
HERE = os.path.dirname(os.path.abspath(__file__))
N, D, H = 4, 4, 8


class Energy(torch.nn.Module):
    """E(x) = a·tanh(W x + b) + ¼|x|²; with a noise level, W's last column takes it."""

    def __init__(self, extra=0):
        super().__init__()
        self.w = torch.nn.Parameter(pattern((H, D + extra), 1))
        self.b = torch.nn.Parameter(pattern((H,), 2, 0.5))
        self.a = torch.nn.Parameter(pattern((H,), 3))

    def forward(self, x, sigma=None):
        h = x if sigma is None else torch.cat([x, sigma[:, None]], 1)
        return torch.tanh(h @ self.w.T + self.b) @ self.a + 0.25 * (x ** 2).sum(1)


class ConvEnergy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(pattern((2, 1, 3, 3), 1))
        self.b = torch.nn.Parameter(pattern((2,), 2, 0.5))
        self.a = torch.nn.Parameter(pattern((2,), 3))

    def forward(self, x):
        return torch.tanh(F.conv2d(x, self.w, self.b, padding=1)).sum((2, 3)) @ self.a + 0.25 * (x ** 2).sum((1, 2, 3))


class Generator(torch.nn.Module):
    """g(z) = A tanh(B z), of two latents."""

    def __init__(self):
        super().__init__()
        self.A = torch.nn.Parameter(pattern((D, 4), 11))
        self.B = torch.nn.Parameter(pattern((4, 2), 12))

    def forward(self, z):
        return torch.tanh(z @ self.B.T) @ self.A.T


def result(loss, parameters):
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return {"loss": float(loss.detach()), "gradients": {k: [] if g is None else g.flatten().tolist() for k, g in zip(parameters, grads)}}


def score(energy, x):
    return -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]


def hessian(energy, x):
    """∇x s of one example, [d, d], differentiable."""
    flat = x.flatten()
    return -torch.autograd.functional.hessian(lambda y: energy(y.reshape(1, *x.shape)).sum(), flat, create_graph=True)


def exact(energy, x):
    s = score(energy, x.requires_grad_(True))
    return sum(hessian(energy, x[i]).trace() + 0.5 * (s[i] ** 2).sum() for i in range(len(x))) / len(x)


def sliced(energy, x, vs, reduced):
    s = score(energy, x.requires_grad_(True)).flatten(1)
    total = 0
    for v in vs.flatten(2):
        for i in range(len(x)):
            square = (s[i] ** 2).sum() if reduced else (v[i] @ s[i]) ** 2
            total = total + v[i] @ hessian(energy, x[i]) @ v[i] + 0.5 * square
    return total / (len(x) * len(vs))


def finite_difference(energy, x, vs, eps):
    total = 0
    for v in vs:
        h = eps * v / math.sqrt(D)
        plus, minus = energy(x + h), energy(x - h)
        total = total + (D / eps ** 2) * (2 * energy(x) - plus - minus + (plus - minus) ** 2 / 8).mean()
    return total / len(vs)


def denoising(energy, x, eps, sigma, weight, signs):
    """By the definition, less the zero-mean ½λ(|ε|² - d)/σ², which has no gradient."""
    total = 0
    for sign in signs:
        noisy = (x + sigma[:, None] * sign * eps).requires_grad_(True)
        s = score(energy, noisy)
        error = 0.5 * ((s + sign * eps / sigma[:, None]) ** 2).sum(1)
        total = total + (weight * (error - 0.5 * ((eps ** 2).sum(1) - D) / sigma ** 2)).mean()
    return total / len(signs)


def flow_density(flow, x):
    return Normal(flow["mu"], flow["scale"].exp()).log_prob(x).sum(1)


def score_matching_cases(out):
    e, conv = Energy(), ConvEnergy()
    p, pc = dict(e.named_parameters()), dict(conv.named_parameters())
    x, eps = pattern((N, D), 20), pattern((N, D), 21, 2.0)
    vs, images, vi = pattern((2, N, D), 22, 2.0), pattern((2, 1, 4, 4), 23), pattern((2, 2, 1, 4, 4), 24, 2.0)
    out["exact"] = result(exact(e, x), p)
    out["exactImages"] = result(exact(conv, images), pc)
    out["sliced"] = result(sliced(e, x, vs, False), p)
    out["slicedReduced"] = result(sliced(e, x, vs, True), p)
    out["slicedImages"] = result(sliced(conv, images, vi, True), pc)
    out["finiteDifference"] = result(finite_difference(e, x, vs, 0.25), p)
    sigma = torch.full((N,), 0.25)
    out["denoising"] = result(denoising(e, x, eps, sigma, sigma ** 2, [1]), p)
    out["denoisingPairs"] = result(denoising(e, x, eps, sigma, sigma ** 2, [1, -1]), p)
    out["denoisingOne"] = result(denoising(e, x, eps, sigma, 1.0, [1, -1]), p)
    noisy, levels = Energy(1), torch.tensor([1.0, 0.5, 0.25, 0.5])
    out["multiscale"] = result(denoising(lambda y: noisy(y, levels), x, eps, levels, levels ** 2, [1, -1]), dict(noisy.named_parameters()))


def contrastive_cases(out):
    e = Energy()
    c = torch.nn.Parameter(torch.tensor(0.375))
    p = {**dict(e.named_parameters()), "c": c}
    x, noise = pattern((N, D), 20), pattern((2 * N, D), 25, 1.5)
    base = {"mu": torch.zeros(D), "scale": torch.zeros(D)}
    logit = lambda y: -e(y) - c - flow_density(base, y) - math.log(2)
    nce = (F.binary_cross_entropy_with_logits(logit(x), torch.ones(N), reduction="sum")
           + F.binary_cross_entropy_with_logits(logit(noise), torch.zeros(2 * N), reduction="sum")) / N
    out["noiseContrastive"] = result(nce, p)
    flow = {"mu": torch.nn.Parameter(pattern((D,), 30)), "scale": torch.nn.Parameter(pattern((D,), 31, 0.5))}
    made = flow["mu"] + flow["scale"].exp() * pattern((N, D), 32, 1.5)
    def share(y):
        pq = torch.stack([-e(y) - c, flow_density(flow, y)])
        return pq - pq.logsumexp(0)
    value = share(x)[0].mean() + share(made)[1].mean()
    out["flowValue"] = result(value, {**p, **flow})
    out["flowGenerator"] = result((e(made) + flow_density(flow, made)).mean(), flow)
    bound = (-e(x)).mean() - ((-e(noise)).mean() + 1.5)
    out["variationalBound"] = result(-bound, dict(e.named_parameters()))
    x = x.requires_grad_(True)
    out["gradientPenalty"] = result(0.125 * (score(e, x) ** 2).sum(1).mean(), dict(e.named_parameters()))


def vera_cases(out):
    g, z0, e = Generator(), pattern((N, 2), 40, 1.5), pattern((4, N, 2), 41, 1.5)
    sigma, eta = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.tensor([0.25, 0.5]))
    x = g(z0) + sigma * pattern((N, D), 42, 1.5)
    z = z0 + eta * e
    joint = Normal(0.0, 1.0).log_prob(z).sum(2) + Normal(g(z), sigma).log_prob(x.detach()).sum(2)
    proposal = Normal(z0, eta).log_prob(z).sum(2)
    w = (joint - proposal).detach().exp()
    w = w / w.sum(0)
    slope = -(w[:, :, None] * (g(z) - x) / sigma ** 2).sum(0).detach()
    named = {**dict(g.named_parameters()), "sigma": sigma}
    out["veraSurrogate"] = result((slope * x).sum(1).mean(), named)
    out["veraPosterior"] = result(-(joint - proposal).mean(), {"eta": eta})
    out["veraEntropy"] = {"loss": float(-((joint - proposal).exp().mean(0)).log().mean().detach()), "gradients": {}}


def divergence_cases(out):
    e = Energy()
    p = dict(e.named_parameters())
    x, start, refs = pattern((N, D), 20), pattern((N, D), 50), pattern((8, D), 51)
    plus, minus = e(x), e(start)
    out["contrastiveDivergence"] = result(plus.mean() - minus.mean() + 0.125 * ((plus ** 2).mean() + (minus ** 2).mean()), p)
    chain = start.requires_grad_(True)
    for _ in range(2):
        chain = chain - 0.25 * torch.autograd.grad(e(chain).sum(), chain, create_graph=True)[0]
    stopped = functional_call(e, {k: v.detach() for k, v in p.items()}, (chain,)).mean()
    nearest = torch.stack([torch.stack([(c - r).norm() for r in refs]).min() for c in chain])
    out["klTerm"] = result(stopped, p)
    out["klTermEntropy"] = result(stopped - 0.5 * nearest.log().mean(), p)


def discrete_cases(out):
    e = Energy()
    p = dict(e.named_parameters())
    bits = (pattern((N, D), 60) > 0).double()
    rows = torch.eye(4)[(pattern((N, 2), 61, 2.0, 2.0)).long()]
    sites = torch.tensor([[0, 3, 1, 2], [2, 1, 3, 3]])
    class OneHot(Energy):
        def __init__(self):
            super().__init__(4)
        def forward(self, y):
            return torch.tanh(y.flatten(1) @ self.w.T + self.b) @ self.a
    h = OneHot()

    def flips(energy, y, i):
        """Energies of an example with its site i at each value, and the value that it has."""
        if y.dim() == 1:
            both = torch.stack([y, y])
            both[0, i], both[1, i] = 0, 1
            return energy(both), int(y[i])
        every = y.repeat(4, 1, 1)
        every[:, i] = torch.eye(4)
        return energy(every), int(y[i].argmax())

    def conditional(energy, y, i):
        es, own = flips(energy, y, i)
        return (-es).log_softmax(0)[own]

    def ratios(energy, y, i):
        es, own = flips(energy, y, i)
        u = (es - es[own]).exp()
        return sum((1 / (1 + u[c])) ** 2 for c in range(len(es)) if c != own)

    def over(term, energy, data, picked=None):
        count = data.shape[1]
        if picked is None:
            return sum(term(energy, y, i) for y in data for i in range(count)) / len(data)
        chosen = [term(energy, data[j], int(i)) for row in picked for j, i in enumerate(row)]
        return count * sum(chosen) / len(chosen)

    q = dict(h.named_parameters())
    out["pseudoLikelihood"] = result(-over(conditional, e, bits), p)
    out["pseudoLikelihoodSites"] = result(-over(conditional, e, bits, sites), p)
    out["pseudoLikelihoodOneHot"] = result(-over(conditional, h, rows), q)
    out["ratioMatching"] = result(over(ratios, e, bits), p)
    out["ratioMatchingSites"] = result(over(ratios, e, bits, sites), p)
    out["ratioMatchingOneHot"] = result(over(ratios, h, rows), q)


def dual_adversarial_cases(out):
    """Binary cross entropy with logits -E, data 1 and contrastive samples 0, over all; and the AUC, by counting pairs."""
    e = Energy()
    data, contrast = e(pattern((N, D), 20)), e(pattern((2 * N, D), 25, 1.5))
    targets = torch.cat([torch.ones(N), torch.zeros(2 * N)])
    loss = F.binary_cross_entropy_with_logits(-torch.cat([data, contrast]), targets)
    out["contrastiveLogistic"] = result(loss, dict(e.named_parameters()))
    pairs = [(float(a > b) + 0.5 * float(a == b)) for a in -data for b in -contrast]
    out["areaUnderCurve"] = {"loss": sum(pairs) / len(pairs), "gradients": {}}


def classification_cases(out):
    logits = torch.nn.Parameter(pattern((N, 4), 70, 2.0))
    y = torch.tensor([3, 0, 2, 2])
    out["crossEntropy"] = result(F.cross_entropy(logits, y), {"logits": logits})
    out["crossEntropySmooth"] = result(F.cross_entropy(logits, y, label_smoothing=0.25), {"logits": logits})


if __name__ == "__main__":
    cases = {}
    for write in [score_matching_cases, contrastive_cases, vera_cases, divergence_cases, discrete_cases, dual_adversarial_cases, classification_cases]:
        write(cases)
    with open(os.path.join(HERE, "objectives.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in cases.items()) + "\n}\n")
