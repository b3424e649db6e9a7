"""A new detector in one class and one line: how far a metric has come from its best, as an example to copy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trajhmm.warning.detectors import DETECTORS, SeriesDetector, baselines, make_detector
from trajhmm.warning.evaluation import compare

from .made import made_run, made_trials

# --- the one class ---


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawdown(SeriesDetector):
    """How far a metric lies above its least value so far, in units of how far it had fallen to that.

    The score is (x − least) / (first − least), and 0 while it has not fallen. Its own rule is an alarm at a half.

    Parameters
    ----------
    skipped : first values that do not count, as losses may start anywhere.
    """

    name: ClassVar[str] = "drawdown"
    published_threshold: ClassVar[float | None] = 0.5
    skipped: int = 5

    def series_scores(self, values):
        """(n,) share of the progress that is lost."""
        scores = np.zeros(len(values))
        counted = values[self.skipped :]
        if len(counted):
            least = np.minimum.accumulate(counted)
            fallen = counted[0] - least
            scores[self.skipped :] = np.divide(counted - least, fallen, out=np.zeros(len(counted)), where=fallen > 0)
        return scores


# --- and the one line: DETECTORS["drawdown"] = Drawdown, in a session; in the package, its name in the registry ---


def test_it_is_made_by_name_and_compared_with_all_others(monkeypatch):
    monkeypatch.setitem(DETECTORS, "drawdown", Drawdown)
    run = made_run([9.0, 9.0, 9.0, 9.0, 9.0, 5.0, 3.0, 4.0, 1.0, 3.0])
    np.testing.assert_array_equal(make_detector("drawdown").scores(run), [0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0.5])
    assert baselines()["drawdown"].skipped == 5
    trials = made_trials(n_healthy=20, n_seeds=4, rows=120)
    detectors = {name: make_detector(name) for name in ("random", "drawdown")}
    rows = compare(trials, detectors, budgets=(0.2,), folds=4, resamples=10).rows
    assert [(row.detector, row.budget) for row in rows] == [("random", 0.2), ("drawdown", None), ("drawdown", 0.2)]
    assert rows[2].report.recall.value > 0.5 > rows[0].report.recall.value


def test_scores_of_rows_past_are_those_of_a_shorter_log():
    run = made_run(np.random.default_rng(0).normal(size=40))
    whole = Drawdown().scores(run)
    for n in range(41):
        assert Drawdown().scores(run.first_rows(n)).tobytes() == whole[:n].tobytes()
