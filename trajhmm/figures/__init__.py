"""Figures of finished results, drawn for print; matplotlib's object-oriented interface only, never pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trajhmm.lazily import found_lazily

if TYPE_CHECKING:
    from trajhmm.figures.convergence import plot_convergence
    from trajhmm.figures.curves import plot_metric_curves, plot_metric_panels, plot_run_curves
    from trajhmm.figures.detectors import plot_lead_times, plot_recall_vs_false_alarms
    from trajhmm.figures.hazard import plot_hazard
    from trajhmm.figures.maps import plot_training_map
    from trajhmm.figures.phases import plot_convergence_in_probability, plot_phase_diagram
    from trajhmm.figures.profile import plot_state_profile
    from trajhmm.figures.raster import plot_state_raster
    from trajhmm.figures.regression import plot_regression
    from trajhmm.figures.selection import plot_selection_curve
    from trajhmm.figures.spikes import plot_spikes
    from trajhmm.figures.stability import plot_stability_profile
    from trajhmm.figures.style import (
        COLUMN_WIDTH,
        FULL_WIDTH,
        STYLES,
        StyleName,
        Width,
        figure_format,
        line_colors,
        print_style,
        save_figure,
        state_colors,
        state_hatches,
    )
    from trajhmm.figures.warnings import plot_drivers, plot_warning_timeline
else:
    __getattr__ = found_lazily(
        __name__,
        {
            "convergence": ("plot_convergence",),
            "curves": ("plot_metric_curves", "plot_metric_panels", "plot_run_curves"),
            "detectors": ("plot_lead_times", "plot_recall_vs_false_alarms"),
            "hazard": ("plot_hazard",),
            "maps": ("plot_training_map",),
            "phases": ("plot_convergence_in_probability", "plot_phase_diagram"),
            "profile": ("plot_state_profile",),
            "raster": ("plot_state_raster",),
            "regression": ("plot_regression",),
            "selection": ("plot_selection_curve",),
            "spikes": ("plot_spikes",),
            "stability": ("plot_stability_profile",),
            "style": (
                "COLUMN_WIDTH",
                "FULL_WIDTH",
                "STYLES",
                "StyleName",
                "Width",
                "figure_format",
                "line_colors",
                "print_style",
                "save_figure",
                "state_colors",
                "state_hatches",
            ),
            "warnings": ("plot_drivers", "plot_warning_timeline"),
        },
    )

__all__ = [
    "COLUMN_WIDTH",
    "FULL_WIDTH",
    "STYLES",
    "StyleName",
    "Width",
    "figure_format",
    "line_colors",
    "plot_convergence",
    "plot_convergence_in_probability",
    "plot_drivers",
    "plot_hazard",
    "plot_lead_times",
    "plot_metric_curves",
    "plot_metric_panels",
    "plot_phase_diagram",
    "plot_recall_vs_false_alarms",
    "plot_regression",
    "plot_run_curves",
    "plot_selection_curve",
    "plot_spikes",
    "plot_stability_profile",
    "plot_state_profile",
    "plot_state_raster",
    "plot_training_map",
    "plot_warning_timeline",
    "print_style",
    "save_figure",
    "state_colors",
    "state_hatches",
]
