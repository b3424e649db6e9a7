"""Model files that anybody may have written: an error in a line, or a model that says something finite. Never else.

The quick part runs with the other tests; ``pytest -m fuzz tests/fuzz/test_model_files.py -s`` tries 100,000 files, or
``TRAJHMM_FUZZ`` of them, others each time (:mod:`.tally` adds up).
"""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trajhmm as th
from trajhmm.errors import TrajHMMError
from trajhmm.hmm.modelfile import _checksum
from trajhmm.logs import RunSet
from trajhmm.simulate import planted
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning

from .mutate import mutated, scrambled
from .tally import mebibytes, tell

METRICS = ("weight_l2", "trace", "singular_var")
WATCHED = ("train_loss", "grad_norm")
KINDS = {
    "mixed": {"scaling": "mixed"},
    "scaled": {"scaling": "mixed"},
    "per run": {"scaling": "per-run", "covariance": "spherical"},
    "full": {"scaling": "shared", "covariance": "full"},
    "tied": {"scaling": "own-start", "covariance": "tied", "halves": 1},
    "remembers": {"scaling": "shared", "emissions": "ar"},
    "warning": {},
    "sweep": {},
}
EXAMPLES, MANY = 60, int(os.environ.get("TRAJHMM_FUZZ", "100000")) // len(KINDS) + 1
SECONDS, MOST = 5.0, 1024  # an idle machine's, and MiB
LIKE_ONE = 1e-6
RANDOM = st.randoms(use_true_random=False)
FIRST = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def healthy(n, rows=40, seed=0, apart=0.0):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    frames = [
        pd.DataFrame(
            {
                "run": f"run {i}",
                "step": 10 * t,
                "train_loss": 2 * np.exp(-t / 15) + 0.5 + rng.normal(0, 0.02, rows),
                "grad_norm": (1 + rng.normal(0, 0.1, rows)) * np.exp(apart * i),
            }
        )
        for i in range(n)
    ]
    return RunSet.from_frame(pd.concat(frames))


class Made:
    """A small model of each kind, as JSON, and logs to use it on."""

    def __init__(self, folder):
        logs = planted(n_runs=5, n_rows=30, seed=3).logs
        self.path = folder / "model.json"
        self.logs = dict.fromkeys(KINDS, logs) | dict.fromkeys(("warning", "sweep"), healthy(2, seed=9))
        self.contents = {}
        for kind, how in KINDS.items():
            if kind in ("warning", "sweep"):
                apart = 1.0 if kind == "sweep" else 0.0
                model = fit_warning(healthy(4, apart=apart), metrics=WATCHED, restarts=1, iterations=5)
                assert Monitor(model).situation == ("sweep" if apart else "matched")
            else:
                model = th.fit(logs, metrics=METRICS, states=2, restarts=1, iterations=4, **{"halves": 0, **how})
            model.save(self.path)
            content = json.loads(self.path.read_text())
            if kind == "scaled":
                content["scale_variance"] = [0.01, 0.02, 0.01]
            content.pop("sha256")
            self.contents[kind] = content


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("models"))


def written(content, *, right=True):
    """The bytes of a model file; with a ``right`` checksum or the one before."""
    document = {**content, "sha256": _checksum(content)} if right and isinstance(content, dict) else content
    return json.dumps(document).encode()


def check(raw, path, logs):
    """Load and use a file: whether it was a model that could be used."""
    Path(path).write_bytes(raw)
    began = time.perf_counter()
    try:
        model = th.load_model(path)
        (check_warns if model.purpose == "warning" else check_decodes)(model, logs)
    except TrajHMMError as error:
        said = str(error)
        assert said, "an error that says nothing"
        assert said.isprintable(), f"an error of several lines, or with letters that are none: {said!r}"
        assert len(said) < 30_000, "an error that fills the screen"
        usable = False
    else:
        usable = True
    assert time.perf_counter() - began < SECONDS
    return usable


def check_decodes(model, logs):
    decoded, filtered = model.decode(logs), model.filter(logs)
    for probs in (decoded.probs, filtered.probs):
        assert np.isfinite(probs).all()
        assert (probs >= 0).all()
        assert np.abs(probs.sum(axis=1) - 1).max() < LIKE_ONE
    assert ((decoded.path >= 0) & (decoded.path < model.n_states)).all()
    assert np.isfinite(filtered.predictive_logpdf).all()


def check_warns(model, logs):
    monitor = Monitor(model)
    assert np.isfinite(monitor.threshold)
    for run, scored in monitor.score(logs).items():
        assert np.isfinite(scored.score).all()
        assert (scored.score >= 0).all()
        assert np.isnan(scored.risk[~((scored.risk >= 0) & (scored.risk <= 1))]).all()
        assert ((scored.state >= 0) & (scored.state < model.n_states)).all()
        alarm = monitor.trackers[run].alarm
        assert alarm is None or "\n" not in str(alarm)


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_themselves_can_be_used(kind, made):
    assert check(written(made.contents[kind]), made.path, made.logs[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(2)
def test_other_values_types_and_shapes_give_an_error_in_a_line_or_a_model_that_is_sane(kind, made):
    @FIRST
    @given(rng=RANDOM)
    def tried(rng):
        check(written(mutated(made.contents[kind], rng), right=rng.randrange(8) > 0), made.path, made.logs[kind])

    tried()


@pytest.mark.parametrize("kind", ["mixed", "sweep"])
def test_damaged_bytes_give_an_error_in_a_line(kind, made):
    raw = written(made.contents[kind])

    @FIRST
    @given(rng=RANDOM)
    def tried(rng):
        check(scrambled(raw, rng), made.path, made.logs[kind])

    tried()


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_files_of_strangers(kind, made):
    before, usable, slowest = mebibytes(), 0, 0.0
    raw = written(made.contents[kind])
    rng = random.Random(time.time_ns())  # noqa: S311 (no secret)
    for _ in range(MANY):
        if rng.randrange(10) == 0:
            file = scrambled(raw, rng)
        else:
            file = written(mutated(made.contents[kind], rng), right=rng.randrange(20) > 0)
        began = time.monotonic()
        usable += check(file, made.path, made.logs[kind])
        slowest = max(slowest, time.monotonic() - began)
    grown = mebibytes() - before
    tell(f"model, {kind}", inputs=MANY, refused=MANY - usable, slowest=slowest, grown=grown)
    assert 0 < usable < MANY
    assert grown < MOST
