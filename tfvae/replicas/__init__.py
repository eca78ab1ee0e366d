"""One training on several devices or machines: TensorFlow's `tf.distribute`.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

from tfvae.lazy import imported_when_asked
from tfvae.replicas.settings import Distribution

_FROM = {
    "Rows": "rows",
    "Team": "team",
    "do_if": "rows",
    "draw_rows": "rows",
    "global_sum": "rows",
    "leave_gradients": "rows",
    "own_share": "rows",
    "replica_seed": "rows",
    "rows_held": "rows",
    "several_replicas": "rows",
    "several_workers": "rows",
    "shared_if_several": "batches",
    "shared_out": "batches",
    "summed_gradients": "rows",
    "team_of": "team",
}

__all__ = ["Distribution", *_FROM]

__getattr__ = imported_when_asked(__name__, _FROM)
