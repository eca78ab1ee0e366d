"""NumPyro peer: SVI with RenyiELBO(alpha=0) (IWAE; Trace_ELBO when k is 1), jitted. Normal latents. Prints one JSON line: images per second, or with --curve START.npz [--minutes N] the way of validation L_100."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from common import arguments, images, report, report_curve, start
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO

args = arguments(__doc__, curve=True)


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
enc0, dec0 = (
    init(k1, [784, args.hidden, args.hidden, args.latent * 2]),
    init(k2, [args.latent, args.hidden, args.hidden, 784]),
)
if given := start(args):
    enc0, dec0 = given.encoder, given.decoder


def model(x):
    dec = numpyro.param("dec", dec0)
    with numpyro.plate("data", x.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(args.latent), 1.0).to_event(1))
        numpyro.sample("x", dist.Bernoulli(logits=mlp(dec, z)).to_event(1), obs=x)


def guide(x):
    enc = numpyro.param("enc", enc0)
    with numpyro.plate("data", x.shape[0]):
        mu, rho = jnp.split(mlp(enc, x), 2, -1)
        numpyro.sample("z", dist.Normal(mu, jax.nn.softplus(rho) + 1e-5).to_event(1))


elbo = Trace_ELBO() if args.k == 1 else RenyiELBO(alpha=0, num_particles=args.k)
svi = SVI(model, guide, optax.adam(1e-3), elbo)
data, rng = given.train if given else images(), np.random.default_rng(0)
state = svi.init(key, jnp.zeros((args.batch, 784)))


@jax.jit
def train(state, x, key):
    return svi.update(
        state, (jax.random.uniform(key, x.shape) * 255 < x).astype(jnp.float32)
    )


def batches():
    while True:
        perm = rng.permutation(len(data))
        for i in range(0, len(data) - args.batch + 1, args.batch):
            yield data[perm[i : i + args.batch]]


def step(x):
    global state, key
    key, k = jax.random.split(key)
    state, loss = train(state, x, k)
    return loss / args.batch


@jax.jit
def negative_bound(params, x, key):
    return RenyiELBO(alpha=0, num_particles=100).loss(key, params, model, guide, x)


def l_100():
    global key
    params, total = svi.get_params(state), 0.0
    for i in range(0, len(given.validation), 100):
        key, k = jax.random.split(key)
        total -= float(negative_bound(params, given.validation[i : i + 100], k))
    return total / len(given.validation)


if given:
    report_curve(args, len(data), step, batches(), float, l_100)
else:
    report("numpyro", args, step, batches(), float)
