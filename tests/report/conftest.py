"""Pages that the tests of this room look at."""

from types import SimpleNamespace

import pytest

import trajhmm as th

from .made import CONVERGED, Page, planted_logs, watched_logs


@pytest.fixture(scope="session")
def analysed():
    """Planted runs with a detour: logs, model, analysis and page."""
    runs = planted_logs()
    model = th.fit(runs, states=range(4, 7), scaling="per-run", restarts=1, halves=2)
    analysis = th.analyze(runs, model, converged=CONVERGED, refits=2)
    return SimpleNamespace(
        runs=runs, model=model, analysis=analysis, page=Page(th.render_report(runs, model, analysis=analysis))
    )


@pytest.fixture(scope="session")
def warned():
    """Runs of which three leave what healthy ones do: logs, model and page."""
    model = th.fit_warning(watched_logs(24), states=2, restarts=1, false_alarm=0.1)
    runs = watched_logs(3, seed=5, drifting=3)
    return SimpleNamespace(runs=runs, model=model, page=Page(th.render_report(runs, model)))
