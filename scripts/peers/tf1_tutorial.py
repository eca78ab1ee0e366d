"""The TF1 tutorial's VAE, written as it was: a session, placeholders, feed_dict.

784-500-500-20-500-500-784 softplus, batch 100, Adam 0.001, grey targets, analytic KL,
55,000 images an epoch. Prints one JSON line: images per second of training.

Usage: tf1_tutorial.py [--steps 550]
"""

import gzip
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
steps = int(sys.argv[sys.argv.index("--steps") + 1]) if "--steps" in sys.argv else 550
path = pathlib.Path(os.environ.get("MNIST_DIR", "mnist")) / "train-images-idx3-ubyte.gz"
data = np.frombuffer(gzip.open(path).read(), np.uint8, offset=16).reshape(-1, 784)
data = (data[:55_000] / 255).astype(np.float32)
rng = np.random.default_rng(0)


def dense(x, inputs, outputs, activation=None):
    bound = np.sqrt(6 / (inputs + outputs))
    w = tf.Variable(tf.random_uniform([inputs, outputs], -bound, bound))
    y = x @ w + tf.Variable(tf.zeros([outputs]))
    return activation(y) if activation else y


x = tf.placeholder(tf.float32, [None, 784])
h = dense(dense(x, 784, 500, tf.nn.softplus), 500, 500, tf.nn.softplus)
mean, log_variance = dense(h, 500, 20), dense(h, 500, 20)
eps = tf.random_normal((100, 20))
z = mean + tf.sqrt(tf.exp(log_variance)) * eps
h = dense(dense(z, 20, 500, tf.nn.softplus), 500, 500, tf.nn.softplus)
p = tf.nn.sigmoid(dense(h, 500, 784))
cross = -tf.reduce_sum(x * tf.log(1e-10 + p) + (1 - x) * tf.log(1e-10 + 1 - p), 1)
kl = -0.5 * tf.reduce_sum(1 + log_variance - mean**2 - tf.exp(log_variance), 1)
cost = tf.reduce_mean(cross + kl)
optimizer = tf.train.AdamOptimizer(0.001).minimize(cost)


def epoch(session):
    order = rng.permutation(len(data))
    for step in range(steps):
        batch = data[order[100 * step : 100 * step + 100]]
        session.run((optimizer, cost), {x: batch})
        last = session.run(cost, {x: batch})  # what the tutorial's code prints
    return last


with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    epoch(session)
    rates = []
    for _ in range(3):
        begin = time.perf_counter()
        loss = epoch(session)
        rates.append(100 * steps / (time.perf_counter() - begin))
print(
    json.dumps(
        {
            "peer": "tf1-tutorial",
            "images_per_s": round(float(np.median(rates)), 1),
            "min": round(min(rates), 1),
            "max": round(max(rates), 1),
            "loss": round(float(loss), 3),
        }
    )
)
