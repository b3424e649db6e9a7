"""trajhmm: latent states of neural network training, from its logs.

>>> import trajhmm as th
>>> runs = th.read_logs("logs/")
>>> model = th.fit(runs, states=range(1, 5), halves=2, seed=0)
>>> analysis = th.analyze(runs, model, converged="eval_accuracy > 0.9")
>>> analysis.detours.columns.tolist()[:4]
['state', 'runs_with', 'runs_without', 'coefficient']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trajhmm.dynamics import Analysis, analyze, convergence_by_visit
    from trajhmm.dynamics.stability.audit import audit
    from trajhmm.dynamics.stability.measure import measure_stability
    from trajhmm.errors import TrajHMMError, TrajHMMWarning
    from trajhmm.figures import (
        plot_convergence,
        plot_convergence_in_probability,
        plot_hazard,
        plot_metric_curves,
        plot_metric_panels,
        plot_phase_diagram,
        plot_regression,
        plot_run_curves,
        plot_selection_curve,
        plot_spikes,
        plot_stability_profile,
        plot_state_profile,
        plot_state_raster,
        plot_training_map,
        print_style,
        save_figure,
    )
    from trajhmm.hmm import Filtered, FitStatus, GaussianHMM, Model, Smoothed, fit, load_model
    from trajhmm.integrations.loops import ModelLogger, RunMonitor
    from trajhmm.logs import RunSet, Scan, read_logs, scan_logs, write_logs
    from trajhmm.metrics import RunLogger, gradient_metrics, snapshot, update_metrics, weight_metrics
    from trajhmm.report import render_report, write_report
    from trajhmm.warning.monitor import Monitor
    from trajhmm.warning.reference import fit_warning
    from trajhmm.warning.tracking import Alarm

__version__ = "0.2.0.dev0"

# Names are found when first used, so that `trajhmm --help` loads neither numba nor scikit-learn.
_HOMES = {
    "dynamics": ("Analysis", "analyze", "convergence_by_visit"),
    "dynamics.stability.audit": ("audit",),
    "dynamics.stability.measure": ("measure_stability",),
    "errors": ("TrajHMMError", "TrajHMMWarning"),
    "figures": (
        "plot_convergence",
        "plot_convergence_in_probability",
        "plot_hazard",
        "plot_metric_curves",
        "plot_metric_panels",
        "plot_phase_diagram",
        "plot_regression",
        "plot_run_curves",
        "plot_selection_curve",
        "plot_spikes",
        "plot_stability_profile",
        "plot_state_profile",
        "plot_state_raster",
        "plot_training_map",
        "print_style",
        "save_figure",
    ),
    "hmm": ("Filtered", "FitStatus", "GaussianHMM", "Model", "Smoothed", "fit", "load_model"),
    "logs": ("RunSet", "Scan", "read_logs", "scan_logs", "write_logs"),
    "integrations.loops": ("ModelLogger", "RunMonitor"),
    "metrics": ("RunLogger", "gradient_metrics", "snapshot", "update_metrics", "weight_metrics"),
    "report": ("render_report", "write_report"),
    "warning.monitor": ("Monitor",),
    "warning.reference": ("fit_warning",),
    "warning.tracking": ("Alarm",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Alarm",
    "Analysis",
    "Filtered",
    "FitStatus",
    "GaussianHMM",
    "Model",
    "ModelLogger",
    "Monitor",
    "RunLogger",
    "RunMonitor",
    "RunSet",
    "Scan",
    "Smoothed",
    "TrajHMMError",
    "TrajHMMWarning",
    "analyze",
    "audit",
    "convergence_by_visit",
    "fit",
    "fit_warning",
    "gradient_metrics",
    "load_model",
    "measure_stability",
    "plot_convergence",
    "plot_convergence_in_probability",
    "plot_hazard",
    "plot_metric_curves",
    "plot_metric_panels",
    "plot_phase_diagram",
    "plot_regression",
    "plot_run_curves",
    "plot_selection_curve",
    "plot_spikes",
    "plot_stability_profile",
    "plot_state_profile",
    "plot_state_raster",
    "plot_training_map",
    "print_style",
    "read_logs",
    "render_report",
    "save_figure",
    "scan_logs",
    "snapshot",
    "update_metrics",
    "weight_metrics",
    "write_logs",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'trajhmm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trajhmm.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
