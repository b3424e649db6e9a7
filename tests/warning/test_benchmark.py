"""The benchmark: what others enter is looked at, the same input gives the same bytes, and what was cut off goes on."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun
from trajhmm.warning.benchmark import SETS, run_benchmark
from trajhmm.warning.benchmark import run as running
from trajhmm.warning.detectors import Detector, Reference
from trajhmm.warning.detectors.entered import GROUP, Guest, entered_detectors, looks_ahead
from trajhmm.warning.runs import Kind

DATA = Path(__file__).parents[2] / "data"


@dataclass(frozen=True, kw_only=True, eq=False)
class HighLoss(Detector):
    """How far the loss is above where it began: a rule of a stranger."""

    name: ClassVar[str] = "high_loss"
    published_threshold: ClassVar[float | None] = 1.0

    def _scores(self, run):
        loss = run.values[:, run.index_of("train_loss")]
        return np.nan_to_num(np.maximum.accumulate(np.nan_to_num(loss, nan=0.0, posinf=1e6, neginf=0.0) - 0.5))


class LooksAhead(HighLoss):
    """A planted error: scaled by the largest value of the whole run."""

    def _scores(self, run):
        scores = super()._scores(run)
        return scores / max(scores.max(), 1e-9)


class Fails(HighLoss):
    def _scores(self, run):
        raise ZeroDivisionError("somebody else's mistake")


class TooShort(HighLoss):
    def scores(self, run):
        return np.zeros(run.n_rows - 1)


def enter(monkeypatch, **kinds):
    entries = [importlib.metadata.EntryPoint(name=name, value=f"x:{name}", group=GROUP) for name in kinds]
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **asked: entries if asked.get("group") == GROUP else real(**asked)
    )

    def load(entry):
        if isinstance(kinds[entry.name], Exception):
            raise kinds[entry.name]
        return kinds[entry.name]

    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", load)


def run_of(n=50, rise=30):
    t = np.arange(n)
    values = np.where(t < rise, 0.1, 0.1 + 0.1 * (t - rise))[:, np.newaxis]
    logged = np.ones((n, 1), dtype=bool)
    return CausalRun(
        run="a",
        steps=t.astype(np.int64),
        values=values,
        logged=logged,
        events=np.zeros(n, dtype=bool),
        metrics=("train_loss",),
    )


def test_strangers_enter_and_what_is_wrong_with_them_is_told(monkeypatch):
    enter(monkeypatch, good=HighLoss, made=HighLoss(), broken=ImportError("no module"), other=dict)
    found, wrong = entered_detectors()
    assert sorted(found) == ["good", "made"]
    assert wrong["broken"] == "x:broken: ImportError: no module"
    assert "expected a trajhmm.warning.detectors.Detector, found dict" in wrong["other"]
    guest = found["good"].fit(Reference(healthy=(run_of(),)))
    np.testing.assert_array_equal(guest.scores(run_of()), HighLoss().scores(run_of()))
    assert guest.published_threshold == 1.0


def test_what_a_stranger_gets_wrong_is_an_error_of_this_library():
    with pytest.raises(FitError, match="mine: ZeroDivisionError: somebody else's mistake"):
        Guest(entered="mine", inner=Fails()).scores(run_of())
    with pytest.raises(FitError, match="mine: expected 50 scores"):
        Guest(entered="mine", inner=TooShort()).scores(run_of())


class Exits(HighLoss):
    def _scores(self, run):
        raise SystemExit(0)


class Dice(HighLoss):
    def _scores(self, run):
        return np.random.default_rng().random(run.n_rows)


def test_a_stranger_that_ends_the_program_does_not_and_names_are_its_own(monkeypatch):
    with pytest.raises(FitError, match="mine: SystemExit: 0"):
        Guest(entered="mine", inner=Exits()).scores(run_of())
    enter(monkeypatch, cusum=HighLoss, gone=SystemExit(0))
    found, wrong = entered_detectors()
    assert found == {}
    assert "a detector of trajhmm is called cusum" in wrong["cusum of x:cusum"]
    assert "SystemExit" in wrong["gone"]


def test_what_is_kept_stays_in_its_folder_whatever_a_detector_is_called(monkeypatch, tmp_path):
    name = "../../evil/name"
    enter(monkeypatch, **{name: HighLoss})
    asked = {"sets": ["classifier"], "detectors": [name], "budgets": [0.1]}
    result = run_benchmark(DATA, **asked, kept=tmp_path / "a" / "b" / "kept")
    assert result.results()["recall"].notna().all()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(list((tmp_path / "a" / "b" / "kept").iterdir())) == 1


def test_dice_are_told_from_looking_ahead():
    assert "does not repeat itself: run a has other scores" in looks_ahead(Dice(), [run_of()])


def test_who_looks_ahead_is_found_out():
    assert looks_ahead(HighLoss(), [run_of()]) is None
    assert "looks ahead: the first 40 scores of run a change" in looks_ahead(LooksAhead(), [run_of()])


def test_strangers_stand_beside_the_others_and_a_cheat_has_a_reason(monkeypatch):
    enter(monkeypatch, high_loss=HighLoss, cheat=LooksAhead, broken=ImportError("no module"))
    result = run_benchmark(
        DATA, sets=["classifier"], detectors=["high_loss", "cheat", "broken", "olmo_core"], budgets=[0.1], jobs=1
    )
    table = result.results().set_index(["detector", "situation"])
    assert "looks ahead" in table.loc[("cheat", "matched"), "reason"]
    assert table.loc[("broken", "matched"), "reason"] == "x:broken: ImportError: no module"
    # As published in "alone", and at the budget in the situation of the set.
    assert set(table.loc["high_loss"].index) == set(table.loc["olmo_core"].index) == {"alone", "matched"}
    assert table.loc[("high_loss", "matched"), "recall"] > 0.3
    assert table.loc[("high_loss", "matched"), "recall_low"] < table.loc[("high_loss", "matched"), "recall"]
    runs = result.runs()
    of = runs[(runs["detector"] == "high_loss") & (runs["situation"] == "matched")]
    assert len(of) == 136
    assert (of["outcome"] == "true").sum() / (of["kind"] == "collapsed").sum() == pytest.approx(
        table.loc[("high_loss", "matched"), "recall"]
    )


def test_hard_runs_are_told_of_apart():
    trials, hard = SETS["classifier_sweep"].trials(DATA)
    assert hard
    assert all(trial.truth.kind is Kind.HEALTHY for trial in hard)
    assert not {trial.run.run for trial in trials} & {trial.run.run for trial in hard}
    result = run_benchmark(DATA, sets=["classifier_sweep"], detectors=["olmo_core"], budgets=[0.1])
    row = result.results().set_index("situation").loc["sweep"]
    assert row["healthy"] == sum(trial.truth.kind is Kind.HEALTHY for trial in trials)
    assert row["hard_alarmed_low"] <= row["hard_alarmed"] <= row["hard_alarmed_high"]
    assert row["hard_alarmed"] * len(hard) == pytest.approx(round(row["hard_alarmed"] * len(hard)))


@pytest.mark.slow
def test_processes_do_not_change_the_result_and_another_seed_does():
    asked = {"sets": ["classifier"], "detectors": ["random", "nonfinite"], "budgets": [0.1]}
    one, two, other = (run_benchmark(DATA, **asked, jobs=jobs, seed=seed) for jobs, seed in ((1, 0), (2, 0), (1, 1)))
    assert one.entries == two.entries
    assert one.entries != other.entries


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    asked = {"sets": ["classifier"], "detectors": ["nonfinite"], "budgets": [0.1], "kept": tmp_path / "kept"}
    first = run_benchmark(DATA, **asked)
    monkeypatch.setattr(running, "enter", lambda _: pytest.fail("done again"))
    assert run_benchmark(DATA, **asked).entries == first.entries
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text(kept.read_text().replace('"seed": 0', '"seed": 9', 1))  # of another task
    with pytest.raises(pytest.fail.Exception, match="done again"):
        run_benchmark(DATA, **asked)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(LogError, match=r"audit_lm/runs\.parquet: missing; --data names"):
        run_benchmark(tmp_path, sets=["lm"])
    with pytest.raises(LogError, match=r"no set 'lmm'; did you mean 'lm'"):
        run_benchmark(DATA, sets=["lmm"])
    with pytest.raises(LogError, match="no detector 'cusumm'"):
        run_benchmark(DATA, sets=["lm"], detectors=["cusumm"])
