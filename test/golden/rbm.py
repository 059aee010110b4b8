#!/usr/bin/env python3
"""Writes test/golden/rbm.json: energies, log Z, gradients and conditionals of small RBMs, Ising and Potts models, by PyTorch in float64.

usage: python3 test/golden/rbm.py      (needs torch; the tests read only the JSON)

Everything is by the definition: the energy E(v, h) (or of spins, bond by bond) is written out, hidden units and states are enumerated, and
gradients come from autograd through those sums. Parameters follow from `pattern` (see generate.py).
"""
import itertools, json, math, os
import torch
from generate import pattern

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
HERE = os.path.dirname(os.path.abspath(__file__))
V, H = 5, 4


def bits(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def parameters(learned):
    names = {"weight": pattern((H, V), 1, 1.5), "visible_bias": pattern((V,), 2), "hidden_bias": pattern((H,), 3)}
    if learned:
        names["log_variance"] = pattern((V,), 4, 0.5)
    return {k: t.requires_grad_(True) for k, t in names.items()}


def joint(p, kind, v, h):
    """E(v, h) of all pairs: [n, m]."""
    W, b, c = p["weight"], p["visible_bias"], p["hidden_bias"]
    if kind == "bernoulli":
        return -(v @ b)[:, None] - (h @ c)[None] - v @ W.T @ h.T
    s2 = p["log_variance"].exp()
    return (((v - b) ** 2) / (2 * s2)).sum(1)[:, None] - (h @ c)[None] - (v / s2) @ W.T @ h.T


def log_z(p, kind):
    h = bits(H)
    if kind == "bernoulli":
        return torch.logsumexp(-joint(p, kind, bits(V), h).flatten(), 0)
    # Given h the visible units are normal: complete the square by hand, unit by unit.
    s2 = p["log_variance"].exp()
    mean = p["visible_bias"] + h @ p["weight"]
    own = (mean ** 2 - p["visible_bias"] ** 2) / (2 * s2) + 0.5 * torch.log(2 * math.pi * s2)
    return torch.logsumexp(h @ p["hidden_bias"] + own.sum(1), 0)


def rbm_case(kind):
    p = parameters(kind == "gaussian")
    x = (pattern((8, V), 10) > 0).double() if kind == "bernoulli" else pattern((8, V), 10, 2.0)
    chain = (pattern((8, V), 11) > 0).double() if kind == "bernoulli" else pattern((8, V), 11, 2.0)
    free = lambda v: -torch.logsumexp(-joint(p, kind, v, bits(H)), 1)
    posterior = torch.softmax(-joint(p, kind, x, bits(H)), 1) @ bits(H)
    cd, z = free(x).mean() - free(chain).mean(), log_z(p, kind)
    grads = lambda loss: {k: g.flatten().tolist() for k, g in zip(p, torch.autograd.grad(loss, list(p.values()), retain_graph=True))}
    return {"x": x.flatten().tolist(), "chain": chain.flatten().tolist(), "freeEnergy": free(x).tolist(), "hidden": posterior.flatten().tolist(),
            "logZ": float(z.detach()), "cd": float(cd.detach()), "cdGradient": grads(cd), "likelihoodGradient": grads(free(x).mean() + z)}


def lattice_bonds(shape, periodic):
    """Pairs of sites, by axis, then by position in row-major order of the bond's first site."""
    sites = list(itertools.product(*map(range, shape)))
    at = {s: i for i, s in enumerate(sites)}
    out = []
    for axis, length in enumerate(shape):
        for s in sites:
            if length > 1 and (s[axis] + 1 < length or (periodic and length > 2)):
                out.append((axis, at[s], at[tuple((c + 1) % length if a == axis else c for a, c in enumerate(s))]))
    return out


def pairwise_case(kind, shape, coupling, periodic, states=2):
    n = math.prod(shape)
    pairs = list(itertools.combinations(range(n), 2)) if coupling == "full" else [(i, j) for _, i, j in lattice_bonds(shape, periodic)]
    per_pair = (states, states) if kind == "potts" and coupling == "full" else ()
    J = pattern((len(pairs), *per_pair), 5) if coupling != "shared" else torch.full((len(pairs),), 0.375)
    h = pattern((n,) if kind == "ising" else (n, states), 6)
    all_states = torch.tensor(list(itertools.product(range(states), repeat=n)))
    E = torch.zeros(len(all_states))
    for k, (i, j) in enumerate(pairs):
        a, b = all_states[:, i], all_states[:, j]
        E -= J[k][a, b] if per_pair else J[k] * ((2 * a - 1) * (2 * b - 1) if kind == "ising" else (a == b))
    for i in range(n):
        E -= h[i] * (2 * all_states[:, i] - 1) if kind == "ising" else h[i][all_states[:, i]]
    axes = [] if coupling == "full" else [axis for axis, _, _ in lattice_bonds(shape, periodic)]
    return {"kind": kind, "shape": list(shape), "coupling": coupling, "boundary": "periodic" if periodic else "open", "states": states,
            "J": J.flatten().tolist(), "axes": axes, "field": h.flatten().tolist(), "energy": E[:: max(1, len(E) // 64)].tolist(),
            "stride": max(1, len(E) // 64), "logZ": float(torch.logsumexp(-E, 0))}


out = {kind: rbm_case(kind) for kind in ("bernoulli", "gaussian")}
out["pairwise"] = [
    pairwise_case("ising", (3, 4), "bond", True), pairwise_case("ising", (3, 4), "bond", False), pairwise_case("ising", (2, 3), "shared", True),
    pairwise_case("ising", (6,), "full", True), pairwise_case("potts", (2, 3), "bond", True, 3), pairwise_case("potts", (4,), "full", True, 3),
]
with open(os.path.join(HERE, "rbm.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
