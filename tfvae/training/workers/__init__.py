"""One training on several devices or machines, with `tf.distribute`."""

from tfvae.training.workers.group import WorkerGroup, worker_group

__all__ = ["WorkerGroup", "worker_group"]
