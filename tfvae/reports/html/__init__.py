"""One page that shows a run: settings, numbers and pictures, all in one HTML file."""

from __future__ import annotations

from tfvae.reports.html.page import report_html, report_run

__all__ = ["report_html", "report_run"]
