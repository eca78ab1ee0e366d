"""Pyro peer: SVI with RenyiELBO(alpha=0) (IWAE; Trace_ELBO when k is 1). Normal latents. Prints one JSON line."""

import pyro
import pyro.distributions as dist
import torch
import torch.nn as nn
import torch.nn.functional as F
from common import arguments, report
from pyro.infer import SVI, RenyiELBO, Trace_ELBO
from torch_data import batches

args = arguments(__doc__)
mlp = lambda i, o: nn.Sequential(
    nn.Linear(i, args.hidden),
    nn.Tanh(),
    nn.Linear(args.hidden, args.hidden),
    nn.Tanh(),
    nn.Linear(args.hidden, o),
)
enc, dec = mlp(784, args.latent * 2), mlp(args.latent, 784)
pyro.enable_validation(False)


def model(x):
    pyro.module("dec", dec)
    with pyro.plate("data", x.shape[-2], dim=-1):
        z = pyro.sample(
            "z",
            dist.Normal(torch.zeros(args.latent), 1.0)
            .expand([x.shape[-2], args.latent])
            .to_event(1),
        )
        pyro.sample("x", dist.Bernoulli(logits=dec(z)).to_event(1), obs=x)


def guide(x):
    pyro.module("enc", enc)
    with pyro.plate("data", x.shape[-2], dim=-1):
        mu, rho = enc(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(mu, F.softplus(rho) + 1e-5).to_event(1))


elbo = (
    Trace_ELBO()
    if args.k == 1
    else RenyiELBO(
        alpha=0, num_particles=args.k, vectorize_particles=True, max_plate_nesting=1
    )
)
svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
report("pyro", args, lambda x: svi.step(x) / args.batch, batches(args.batch), float)
