"""One training on several devices or machines: TensorFlow's `tf.distribute`."""

from tfvae.training.workers.team import Team, team_of

__all__ = ["Team", "team_of"]
