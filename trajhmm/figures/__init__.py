"""Figures of finished results, drawn for print; matplotlib's object-oriented interface only, never pyplot."""

from trajhmm.figures.curves import plot_metric_curves
from trajhmm.figures.maps import plot_training_map
from trajhmm.figures.raster import plot_state_raster
from trajhmm.figures.style import COLUMN_WIDTH, FULL_WIDTH, print_style, save_figure, state_colors, state_hatches

__all__ = [
    "COLUMN_WIDTH",
    "FULL_WIDTH",
    "plot_metric_curves",
    "plot_state_raster",
    "plot_training_map",
    "print_style",
    "save_figure",
    "state_colors",
    "state_hatches",
]
