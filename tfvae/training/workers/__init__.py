"""One training on several devices or machines: TensorFlow's `tf.distribute`."""

from tfvae.training.workers.group import WorkerGroup, worker_group

__all__ = ["WorkerGroup", "worker_group"]
