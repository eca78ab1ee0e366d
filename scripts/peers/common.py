"""What the peers share: the data, the arguments, and how a step is timed."""

import argparse
import gzip
import json
import os
import pathlib
import time

import numpy as np

DATA = pathlib.Path(os.environ.get("MNIST_DIR", "mnist"))


def images(n=None):
    """MNIST training images, uint8 of shape [n, 784]."""
    raw = gzip.open(DATA / "train-images-idx3-ubyte.gz").read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[:n].copy()


def arguments(doc, **flags):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--k", type=int, default=50)
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--hidden", type=int, default=200)
    p.add_argument("--latent", type=int, default=50)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--latents", choices=["normal", "logistic"], default="normal")
    for f in flags:
        p.add_argument("--" + f, action="store_true")
    return p.parse_args()


def flops_per_image(args):
    """Multiply-adds times two of the matrix products of one training image (forward and backward)."""
    h, d, k = args.hidden, args.latent, args.k
    enc = 784 * h + h * h + h * d * (2 if args.latents == "normal" else 1)
    dec = d * h + h * h + h * 784
    return 2 * 3 * (enc + k * dec)


def report(name, args, step, batches, value, warmup=10):
    """Times `steps` steps after `warmup`, and prints images/s and the matrix-product rate as one JSON line."""
    for _ in range(warmup):
        loss = step(next(batches))
    value(loss)
    rates = []
    for _ in range(5):
        t = time.perf_counter()
        for _ in range(max(1, args.steps // 5)):
            loss = step(next(batches))
        value(loss)
        rates.append(args.batch * max(1, args.steps // 5) / (time.perf_counter() - t))
    r = float(np.median(rates))
    print(
        json.dumps(
            {
                "peer": name,
                "k": args.k,
                "batch": args.batch,
                "hidden": args.hidden,
                "latent": args.latent,
                "latents": args.latents,
                "images_per_s": round(r, 1),
                "min": round(min(rates), 1),
                "max": round(max(rates), 1),
                "gflops": round(r * flops_per_image(args) / 1e9, 2),
                "loss": round(float(value(loss)), 3),
            }
        )
    )
