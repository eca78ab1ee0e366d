"""Run folders: their files, their records, and how runs are read back."""

from tfvae.training.runs.binding import write_model
from tfvae.training.runs.folder import (
    RunFolder,
    RunRecord,
    check_workdir,
    parse_history,
    read_history,
    read_json,
    read_record,
    utc_now,
    versions,
    write_record,
)
from tfvae.training.runs.loading import (
    BINARIZATION_SEED,
    Run,
    absolute_paths,
    holes_of,
    labels_of,
    load_data,
    load_run,
    meaning,
    reading_model,
    run_evaluation_batches,
)

__all__ = [
    "BINARIZATION_SEED",
    "Run",
    "RunFolder",
    "RunRecord",
    "absolute_paths",
    "check_workdir",
    "holes_of",
    "labels_of",
    "run_evaluation_batches",
    "utc_now",
    "load_data",
    "load_run",
    "meaning",
    "parse_history",
    "read_history",
    "read_json",
    "read_record",
    "reading_model",
    "versions",
    "write_model",
    "write_record",
]
