"""PyTorch peer: the same VAE step as tfvae's benchmark, eager or torch.compile.

Usage: peer_torch.py --k 50 --batch 100 --hidden 200 --latent 50 --steps 100 [--compile] [--latents normal|logistic]
Prints one JSON line: images per second after warm-up; with --curve START.npz [--minutes N] the way of validation L_100 instead.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from common import arguments, report, report_curve, start
from torch_data import batches, step_of

args = arguments(__doc__, curve=True, compile=True)
torch.manual_seed(0)
mlp = lambda i, o: nn.Sequential(
    nn.Linear(i, args.hidden),
    nn.Tanh(),
    nn.Linear(args.hidden, args.hidden),
    nn.Tanh(),
    nn.Linear(args.hidden, o),
)
normal = args.latents == "normal"
enc, dec = mlp(784, args.latent * (2 if normal else 1)), mlp(args.latent, 784)
if given := start(args):
    for net, layers in ((enc, given.encoder), (dec, given.decoder)):
        for p, w in zip(net.parameters(), sum(layers, ()), strict=True):
            p.data.copy_(torch.from_numpy(w.T.copy()))
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()], 1e-3)
TAU = 0.5


def bound(x, k):
    h = enc(x)
    if normal:
        mu, rho = h.chunk(2, -1)
        q = torch.distributions.Normal(mu, F.softplus(rho) + 1e-5, validate_args=False)
        z = q.rsample((k,))
        y, logq, logp = (
            z,
            q.log_prob(z).sum(-1),
            torch.distributions.Normal(0.0, 1.0, validate_args=False)
            .log_prob(z)
            .sum(-1),
        )
    else:
        u = torch.rand(k, *h.shape).clamp_(1e-6, 1 - 1e-6)
        z = (h + torch.log(u) - torch.log1p(-u)) / TAU
        logistic = lambda z, loc: (
            -(z - loc) * TAU - 2 * F.softplus(-(z - loc) * TAU)
        ).sum(-1)
        y, logq, logp = torch.sigmoid(z), logistic(z, h / TAU), logistic(z, 0.0)
    logits = dec(y)
    logpx = -F.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    ).sum(-1)
    logw = logpx + logp - logq
    return torch.logsumexp(logw, 0) - np.log(k)


def loss_fn(x):
    return -bound(x, args.k).mean()


def l_100():
    with torch.no_grad():
        images = torch.from_numpy(given.validation).split(100)
        return torch.cat([bound(x, 100) for x in images]).mean().item()


if args.compile:
    loss_fn = torch.compile(loss_fn)

step, value = step_of(opt, loss_fn), lambda l: l.item()
if given:
    data = batches(args.batch, given.train)
    report_curve(args, len(given.train), step, data, value, l_100)
else:
    name = "torch.compile" if args.compile else "torch"
    report(name, args, step, batches(args.batch), value)
