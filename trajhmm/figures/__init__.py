"""Figures of finished results, drawn for print; matplotlib's object-oriented interface only, never pyplot."""

from trajhmm.figures.curves import plot_metric_curves
from trajhmm.figures.detectors import plot_lead_times, plot_recall_vs_false_alarms
from trajhmm.figures.maps import plot_training_map
from trajhmm.figures.raster import plot_state_raster
from trajhmm.figures.style import COLUMN_WIDTH, FULL_WIDTH, print_style, save_figure, state_colors, state_hatches
from trajhmm.figures.warnings import plot_drivers, plot_warning_timeline

__all__ = [
    "COLUMN_WIDTH",
    "FULL_WIDTH",
    "plot_drivers",
    "plot_lead_times",
    "plot_metric_curves",
    "plot_recall_vs_false_alarms",
    "plot_state_raster",
    "plot_training_map",
    "plot_warning_timeline",
    "print_style",
    "save_figure",
    "state_colors",
    "state_hatches",
]
