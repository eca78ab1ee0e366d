"""JAX peer (jit, optax): the same VAE step. Prints one JSON line."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import arguments, images, report

args = arguments(__doc__)
normal, TAU = args.latents == "normal", 0.5


def init(key, sizes):
    ks = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (i, o)) * jnp.sqrt(1 / i), jnp.zeros(o))
        for k, i, o in zip(ks, sizes, sizes[1:], strict=False)
    ]


def mlp(ps, x):
    for w, b in ps[:-1]:
        x = jnp.tanh(x @ w + b)
    return x @ ps[-1][0] + ps[-1][1]


k1, k2, key = jax.random.split(jax.random.PRNGKey(0), 3)
params = {
    "enc": init(
        k1, [784, args.hidden, args.hidden, args.latent * (2 if normal else 1)]
    ),
    "dec": init(k2, [args.latent, args.hidden, args.hidden, 784]),
}
opt = optax.adam(1e-3)


def loss_fn(p, x, key):
    h = mlp(p["enc"], x)
    if normal:
        mu, rho = jnp.split(h, 2, -1)
        s = jax.nn.softplus(rho) + 1e-5
        eps = jax.random.normal(key, (args.k, *mu.shape))
        y = z = mu + s * eps
        logq = (-0.5 * eps**2 - jnp.log(s)).sum(-1)
        logp = (-0.5 * z**2).sum(-1)
    else:
        z = (h + jax.random.logistic(key, (args.k, *h.shape))) / TAU
        lo = lambda z, loc: (
            -(z - loc) * TAU - 2 * jax.nn.softplus(-(z - loc) * TAU)
        ).sum(-1)
        y, logq, logp = jax.nn.sigmoid(z), lo(z, h / TAU), lo(z, 0.0)
    logits = mlp(p["dec"], y)
    logpx = (x * logits - jax.nn.softplus(logits)).sum(-1)
    return -(jax.nn.logsumexp(logpx + logp - logq, 0) - jnp.log(args.k)).mean()


@jax.jit
def train(state, x, key):
    p, o = state
    kb, kz = jax.random.split(key)
    x = (jax.random.uniform(kb, x.shape) * 255 < x).astype(jnp.float32)
    loss, g = jax.value_and_grad(loss_fn)(p, x, kz)
    u, o = opt.update(g, o)
    return (optax.apply_updates(p, u), o), loss


state, data, rng = (params, opt.init(params)), images(), np.random.default_rng(0)


def batches():
    while True:
        perm = rng.permutation(len(data))
        for i in range(0, len(data) - args.batch + 1, args.batch):
            yield data[perm[i : i + args.batch]]


def step(x):
    global state, key
    key, k = jax.random.split(key)
    state, loss = train(state, x, k)
    return loss


report("jax", args, step, batches(), float)
