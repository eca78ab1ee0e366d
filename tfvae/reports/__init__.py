"""Scoring, comparing, plotting and exporting trained runs."""

from __future__ import annotations

from tfvae.reports.comparing import compare_runs, comparison_text
from tfvae.reports.detecting import detect_run, detection_text
from tfvae.reports.evaluating import evaluate_run
from tfvae.reports.exporting import export_run, export_web_run
from tfvae.reports.imputing import imputation_text, impute_run
from tfvae.reports.plotting import plot_run
from tfvae.reports.presetting import export_preset
from tfvae.reports.text import evaluation_text

__all__ = [
    "compare_runs",
    "comparison_text",
    "detect_run",
    "detection_text",
    "evaluate_run",
    "evaluation_text",
    "export_preset",
    "export_run",
    "export_web_run",
    "imputation_text",
    "impute_run",
    "plot_run",
]
__dir__ = __all__.copy  # what completion shows
