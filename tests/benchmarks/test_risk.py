"""What the path after an alarm says of collapse, whole families held out; and the curve that comes with trajhmm.

Run with ``pytest tests/benchmarks/test_risk.py -s --override-ini addopts=`` (some minutes). Runs are scored by models
of healthy runs of other seeds, at a budget of 10%. Per family and arm: area under the curve and Brier score at the
alarm and 10, 20, 40 and 80 rows after it, by a curve learnt from the two other families; and at fixed times after the
onset, as WARNING's protocol has it, of the runs whose risk is told then. The last line is `DEFAULT_RISK`.
"""

from __future__ import annotations

import numpy as np

from trajhmm.warning.calibration import WAIT, RiskCurve, calibration_of, portfolio_of
from trajhmm.warning.evaluation import moments_after_onset
from trajhmm.warning.evaluation.risk import weighted_auroc
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.risk import DEFAULT_RISK, fitted_curve, rows_since

from .families import FAMILIES, audit, audit_logs, sweep, sweep_logs
from .test_as_fitted import folds_of

SPLITS = 2
AFTER = (0, 10, 20, 40, 80)


def paths(family, arm):
    """Of each run that alarms before its collapse: level, rows since the alarm, steps, truth."""
    trials, hard = (audit(family), []) if arm == "matched" else sweep(family)
    logs = audit_logs(family) if arm == "matched" else sweep_logs(family)
    found = []
    for seed in range(SPLITS):
        for fold in folds_of(trials, seed):
            healthy = [t.run.run for t in trials if t.truth.kind.value == "healthy" and t.group not in fold]
            model = fit_warning(
                logs.select_runs(healthy), metrics=trials[0].run.metrics, false_alarm=0.1, restarts=2, jobs=2
            )
            views, threshold = portfolio_of(model), calibration_of(model).threshold
            for trial in (*trials, *hard):
                if trial.group in fold:
                    seen = views.scores(trial.run)
                    since = rows_since(seen.score > threshold, seen.counted)
                    alive = np.ones(len(since), dtype=bool)
                    if trial.truth.collapse_step is not None:
                        alive = trial.run.steps < trial.truth.collapse_step
                    found.append((seen.level[alive], since[alive], trial.run.steps, trial.truth))
    return found, moments_after_onset(trials)


def lessons(found):
    """(n, 2) terms, (n,) ends and weights, each run that alarms the same and all together 100."""
    terms, ends, weights = [], [], []
    for level, since, _, truth in found:
        rows = [int(np.searchsorted(since, n)) for n in WAIT * 2 ** np.arange(6) if n <= since.max(initial=-1)]
        terms.append(RiskCurve.terms(level[rows], since[rows]))
        ends += [truth.collapse_step is not None] * len(rows)
        weights += [1 / max(len(rows), 1)] * len(rows)
    weights = np.array(weights)
    return np.concatenate(terms), np.array(ends, dtype=float), 100 * weights / weights.sum()


def ranked(risk, end):
    return float(weighted_auroc(np.array(risk), np.array(end), np.ones((1, len(risk)), dtype=np.int64))[0])


def curve_of(parts):
    constant, off, lasting = fitted_curve(*(np.concatenate(part) for part in zip(*parts, strict=True)), about=None)
    return RiskCurve(constant=constant, off=off, lasting=lasting)


def test_risk_of_families_held_out():
    known = {(family, arm): paths(family, arm) for family in FAMILIES for arm in ("matched", "sweep")}
    taught = {one: lessons(found) for one, (found, _) in known.items()}
    told_areas = []
    for (family, arm), (found, moments) in known.items():
        curve = curve_of([lesson for (other, _), lesson in taught.items() if other != family])
        print(f"\n{family}, {arm}", end="")
        for n in AFTER:
            risk, end = [], []
            for level, since, _, truth in found:
                if since.max(initial=-1) >= n:
                    row = int(np.searchsorted(since, n))
                    risk.append(float(curve.at(level[[row]], np.array([max(n, WAIT)]))[0]))
                    end.append(truth.collapse_step is not None)
            brier = np.mean((np.array(risk) - np.array(end)) ** 2)
            print(
                f" | {n} rows: {ranked(risk, end):.2f} {brier:.2f} of {len(end) // SPLITS}, {np.mean(end):.2f}", end=""
            )
            if n >= 20:
                told_areas.append(ranked(risk, end))
        print("\n  after the onset", end="")
        for after in moments:
            risk, end, asked = [], [], 0
            for level, since, steps, truth in found:
                if truth.onset is None or truth.onset + after > steps[-1]:
                    continue
                if truth.collapse_step is not None and truth.collapse_step <= truth.onset + after:
                    continue
                asked += 1
                row = int(np.searchsorted(steps, truth.onset + after, side="right")) - 1
                if since[row] >= WAIT:
                    risk.append(float(curve.at(level[[row]], since[[row]])[0]))
                    end.append(truth.collapse_step is not None)
            brier = np.mean((np.array(risk) - np.array(end)) ** 2) if risk else np.nan
            area = ranked(risk, end) if 0 < sum(end) < len(end) else np.nan
            print(f" | {after} steps: told of {len(risk)} of {asked}, {area:.2f} {brier:.2f}", end="")
    shipped = curve_of(list(taught.values()))
    print(f"\n{shipped}")
    assert np.mean(told_areas) > 0.75
    for name in ("constant", "off", "lasting"):
        assert abs(getattr(shipped, name) - getattr(DEFAULT_RISK, name)) < 0.05
