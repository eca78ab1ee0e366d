"""One HTML page of a run's settings, numbers and plots, without other files."""

from __future__ import annotations

from tfvae.reports.html.page import report_html, report_run

__all__ = ["report_html", "report_run"]
