"""One page that shows a whole analysis, or what a model for warning says of runs: HTML that needs nothing else."""

from trajhmm.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
