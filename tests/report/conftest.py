"""Pages that the tests of this room look at."""

import json
from types import SimpleNamespace

import pytest

import trajhmm as th

from .made import CONVERGED, Page, planted_logs, watched_logs


@pytest.fixture(scope="session")
def analysed():
    """Planted runs with a detour: logs, model, analysis and page."""
    runs = planted_logs()
    model = th.fit(runs, states=range(5, 7), scaling="per-run", restarts=1, halves=1)
    analysis = th.analyze(runs, model, converged=CONVERGED, refits=2)
    return SimpleNamespace(
        runs=runs, model=model, analysis=analysis, page=Page(th.render_report(runs, model, analysis=analysis))
    )


@pytest.fixture(scope="session")
def stability(tmp_path_factory):
    """A folder as audits and measurements of stability leave it."""
    folder = tmp_path_factory.mktemp("made") / "audit"
    folder.mkdir()
    (folder / "summary.txt").write_text(
        "Two rows of <noise> & more, in a line that is longer than a narrow screen is wide\n"
    )
    claims = {"buffering": {"verdict": "no", "sentence": "Buffering: no, as far as dropout goes."}}
    (folder / "claims.json").write_text(json.dumps(claims))
    (folder / "profile.csv").write_text("dimension,strength,n_runs,recovery_steps\nnoise,1.5,6,40\nnoise,2,6,inf\n")
    (folder / "lyapunov.csv").write_text("quantity,exponent,l2_stable\nweight_l2 (proxy),-0.25,True\nseparation,0.5,\n")
    return folder


@pytest.fixture(scope="session")
def warned(stability):
    """Runs of which three leave what healthy ones do, with an audit beside them: logs, model and page."""
    model = th.fit_warning(watched_logs(24), states=2, restarts=1, false_alarm=0.1)
    runs = watched_logs(3, seed=5, drifting=3)
    return SimpleNamespace(runs=runs, model=model, page=Page(th.render_report(runs, model, stability=[stability])))
