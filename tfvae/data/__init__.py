"""Data sets, and the deterministic pipeline that makes batches of them."""

from tfvae.data.binarization import BINARIZATIONS, Binarization
from tfvae.data.labels import partly_labelled
from tfvae.data.pipeline import (
    drawn_at_step,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from tfvae.data.registry import DATASETS, DatasetEntry, absolute_name, load
from tfvae.data.splits import ArraySplit, ImageData, Split, StreamSplit, describe
from tfvae.data.tables import TableData, load_table

__all__ = [
    "BINARIZATIONS",
    "DATASETS",
    "ArraySplit",
    "Binarization",
    "DatasetEntry",
    "ImageData",
    "Split",
    "StreamSplit",
    "TableData",
    "absolute_name",
    "describe",
    "drawn_at_step",
    "evaluation_batches",
    "load",
    "load_table",
    "steps_per_epoch",
    "partly_labelled",
    "training_batches",
]
__dir__ = __all__.copy  # what completion shows
