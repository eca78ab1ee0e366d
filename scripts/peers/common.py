"""What the peers share: the data, the arguments, and how a step or a curve is timed."""

import argparse
import gzip
import itertools
import json
import os
import pathlib
import time
from typing import NamedTuple

import numpy as np

DATA = pathlib.Path(os.environ.get("MNIST_DIR", "mnist"))
LEVELS = (-100, -95, -90)  # nats of L_100, the last of which ends a curve


def images(n=None):
    """MNIST training images, uint8 of shape [n, 784]."""
    raw = gzip.open(DATA / "train-images-idx3-ubyte.gz").read()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[:n].copy()


class Start(NamedTuple):
    """Where a curve starts: images [N, 784] to train on (uint8), drawn ones to score, and each network's layers of (kernel, bias)."""

    train: np.ndarray
    validation: np.ndarray
    encoder: list
    decoder: list


def arguments(doc, curve=False, **flags):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--k", type=int, default=50)
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--hidden", type=int, default=200)
    p.add_argument("--latent", type=int, default=50)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--latents", choices=["normal", "logistic"], default="normal")
    if curve:
        p.add_argument(
            "--curve",
            metavar="START.npz",
            help="print L_100 by seconds of training from what this file holds",
        )
        p.add_argument("--minutes", type=float, default=10)
    for f in flags:
        p.add_argument("--" + f, action="store_true")
    return p.parse_args()


def start(args):
    """What quality_curve.py wrote for --curve; None without it."""
    if not args.curve:
        return None
    found = np.load(args.curve)
    layers = [
        [(found[f"{net}_{i}"], found[f"{net}_{i + 1}"]) for i in (0, 2, 4)]
        for net in ("encoder", "decoder")
    ]
    return Start(found["train"], found["validation"], *layers)


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


class Curve:
    """Validation L_100 by seconds of training.

    The clock starts after the first call of the step, which compiles; that call's steps count with the time of later ones. It stands still while L_100 is taken: after each of 10 epochs, then after every tenth more of them, and at the end.
    """

    def __init__(self, minutes, steps, score):
        self.limit, self.steps, self.score = 60 * minutes, steps, score
        self.epochs, self.next, self.points = 0, 1, [(0, 0.0, score())]
        self.called = self.call_s = 0
        self.stood = None
        self.begun = time.perf_counter()

    def compiled(self, steps):
        """The first call is over, which took so many steps."""
        self.called, now = steps, time.perf_counter()
        self.call_s, self.begun = now - self.begun, now

    def stop(self):
        self.stood = time.perf_counter()

    def go_on(self):
        self.begun += time.perf_counter() - self.stood
        self.stood = None

    def epoch(self):
        """An epoch is over."""
        self.stop()
        self.epochs += 1
        seconds = self.stood - self.begun
        if self.epochs >= self.next or seconds >= self.limit:
            self.points.append((self.epochs, seconds, self.score()))
            self.next = max(self.epochs + 1, self.epochs * 11 // 10)
        self.go_on()

    @property
    def done(self):
        _, seconds, value = self.points[-1]
        return seconds >= self.limit or value >= LEVELS[-1]

    def result(self, batch):
        """Compilation's seconds, images/s, and the points (epoch, seconds, L_100)."""
        steps = self.epochs * self.steps - self.called
        each = (
            self.points[-1][1] / steps if steps else self.call_s / max(1, self.called)
        )
        later = self.called * each
        return {
            "compilation_s": round(self.call_s - later, 2),
            "images_per_s": round(batch / each, 1) if each else None,
            "curve": [(n, round(s + later * (n > 0), 3), v) for n, s, v in self.points],
        }


def report_curve(args, size, step, batches, value, score):
    """Trains for `minutes` or up to the last level, and prints the curve as one JSON line; `size` images are an epoch."""
    steps = size // args.batch
    curve = Curve(args.minutes, steps, score)
    while not curve.done:
        for batch in itertools.islice(batches, steps):
            loss = step(batch)
            if not curve.called:
                value(loss)
                curve.compiled(1)
        value(loss)
        curve.epoch()
    print(json.dumps(curve.result(args.batch)))
