"""Model files of strangers: whatever stands in them, an error in one line or a model that means what it says.

Random changes are tried in ``tests/fuzz/test_model_files.py``; here is what is known to have hurt, and its kind.
"""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import FitError, ModelFileError, TrajHMMError
from trajhmm.hmm import GaussianHMM, Parameters
from trajhmm.hmm.modelfile import _checksum
from trajhmm.logs import RunSet
from trajhmm.simulate import planted
from trajhmm.stored import DEEPEST, MOST_BYTES, MOST_VALUES
from trajhmm.warning.calibration import calibration_of, portfolio_of
from trajhmm.warning.reference import fit_warning

from .room import LONG, little_room

METRICS = ("weight_l2", "trace", "singular_var")
NAN, INFINITE = float("nan"), float("inf")
SECONDS = 5.0


@pytest.fixture(scope="module")
def logs():
    return planted(n_runs=6, n_rows=40, seed=3).logs


@pytest.fixture(scope="module")
def fitted(logs):
    return th.fit(logs, metrics=METRICS, states=2, restarts=1, iterations=5, halves=1)


def healthy():
    rng, t = np.random.default_rng(0), np.arange(40)
    columns = {
        "run": np.repeat([f"healthy {i}" for i in range(4)], len(t)),
        "step": np.tile(10 * t, 4),
        "train_loss": np.tile(2 * np.exp(-t / 15) + 0.5, 4) + rng.normal(0, 0.02, 4 * len(t)),
        "grad_norm": 1 + rng.normal(0, 0.1, 4 * len(t)),
    }
    return RunSet.from_frame(pd.DataFrame(columns))


HEALTHY, WATCHED = healthy(), ("train_loss", "grad_norm")


@pytest.fixture(scope="module")
def reference():
    return fit_warning(HEALTHY, metrics=WATCHED, restarts=1, iterations=5)


def written(content):
    """The bytes of a model file, with the checksum that belongs to them."""
    return json.dumps({**content, "sha256": _checksum(content)}).encode()


def content_of(model, folder):
    model.save(folder / "saved.json")
    content = json.loads((folder / "saved.json").read_text())
    content.pop("sha256")
    return content


@pytest.fixture
def map_content(fitted, tmp_path):
    return content_of(fitted, tmp_path)


@pytest.fixture
def warning_content(reference, tmp_path):
    return content_of(reference, tmp_path)


def loaded(raw, folder):
    """What `load_model` makes of these bytes, at once."""
    path = folder / "stranger.json"
    path.write_bytes(raw)
    began = time.perf_counter()
    try:
        return th.load_model(path)
    finally:
        assert time.perf_counter() - began < SECONDS


def changed(content, path, value):
    """The content with what stands at ``path`` replaced, or taken out where ``value`` is ``...``."""
    copy = json.loads(json.dumps(content))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def stranger(content, path, value, folder):
    return loaded(written(changed(content, path, value)), folder)


@pytest.mark.sampled(16)
@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["startprob"], [1.0], "n_states 2: expected 1, as startprob has it"),
        (["startprob"], [1.0] + [0.0] * 50_000, "startprob: 50001 states; expected .* at most 50"),
        (["startprob"], [[0.5, 0.5]], "n_states 2: expected 1"),
        (["startprob"], [1.0 + 1e-3, 0.0], "startprob: expected probabilities that add up to 1"),
        (["startprob"], [True, False], "startprob: True among the numbers"),
        (["startprob"], {"0": 1.0}, "startprob {'0': 1.0}: expected a list"),
        (["transmat", 0], [1.0], r"transmat has shape \(2, of different lengths\); expected \(2, 2\)"),
        (["transmat", 0, 0], "0.5", "transmat: '0.5' among the numbers"),
        (["transmat", 0, 0], -0.5, "transmat: expected probabilities"),
        (["means", 0, 0], 10**400, "400 digits"),
        (["means", 0, 0], 10**350, "means: expected numbers that floats can hold"),
        (["means", 0, 0], 1e300, r"means: 1e\+300; expected numbers from -1e\+60 to 1e\+60"),
        (["means", 0, 0], None, "means: None among the numbers"),
        (["means", 0, 0], [0.0], "means has shape"),
        (["covars", 0, 0], 1e-308, "covars: 1e-308; expected variances of at least 1e-60"),
        (["covars", 0, 0], 1e308, r"covars: 1e\+308"),
        (["shift_variance"], [1e-200] * 3, "shift_variance: 1e-200; expected variances of at least"),
        (["shift_variance"], None, "settings.shifts True"),
        (["autoregression"], [0.5, 0.5, 1.0], "autoregression: 1; expected numbers from -0.99 to 0.99"),
        (["autoregression"], [0.5, 0.5, -0.5], "autoregression: expected coefficients from 0"),
        (["n_states"], 50_000, "n_states 50000: expected 2"),
        (["n_states"], 2.0, "n_states 2.0: expected a whole number"),
        (["n_runs"], "6", "n_runs '6': expected a whole number from 1"),
        (["n_rows"], 0, "n_rows 0: expected a whole number from 1"),
        (["seed"], -1, "seed -1: expected a whole number from 0"),
        (["seed"], True, "seed True: expected a whole number"),
        (["metrics"], "abc", "metrics 'abc': expected a list"),
        (["metrics"], ["weight_l2"] * 3, "expected names of metrics, each once"),
        (["metrics", 0], "", r"metrics\[0\] '': expected a text of 1 to 10000 letters"),
        (["metrics", 0], "x" * 10_001, r"metrics\[0\] 'xxx.*xxx': expected a text of 1 to 10000 letters"),
        (["metrics", 0], "\ud800", r"metrics\[0\] '.*ud800': expected a text"),
        (["metrics", 0], 7, r"metrics\[0\] 7: expected a text"),
        (["metrics"], [], "expected names of metrics"),
        (["purpose"], "alarm \x1b[31m", r"purpose 'alarm .x1b\[31m': expected one of map, warning"),
        (["purpose"], "warning", "purpose 'warning': expected warning of a model with levels, map of any other"),
        (["criterion"], "luck", "criterion 'luck': expected one of reproducible"),
        (["versions"], ["numpy 2"], r"versions \['numpy 2'\]: expected an object"),
        (["versions", "numpy"], 2.1, "versions.numpy 2.1: expected a text"),
        (["scaler"], {"kind": "per-run", "spread": [1.0]}, "scaler.spread: not known here"),
        (["scaler", "logs"], [1, 1, 1], r"scaler.logs\[0\] 1: expected true or false"),
        (["scaler", "centre", 0], NAN, "scaler.centre: expected finite numbers, found nan"),
        (["scaler", "reach", 0], -1.0, "a positive reach or none"),
        (["scaler", "spread", 0], -1.0, "expected a positive spread of each metric"),
        (["settings", "tol"], "1e-6", "settings.tol '1e-6': expected a finite number"),
        (["settings", "n_restarts"], 0, "settings.n_restarts 0: expected a whole number from 1"),
        (["settings", "engine"], "abacus", "settings.engine 'abacus': expected one of native, hmmlearn"),
        (["settings", "random_state"], 1e3, "settings.random_state 1000.0: expected a whole number"),
        (["settings", "floor"], ..., "settings.floor is missing"),
        (["status", "chosen"], 99, "status.chosen 99: expected a whole number from 0 to 1"),
        (["status", "outcome"], "degenerate", "status.chosen"),
        (["status", "outcomes"], [], "restarts, one at least"),
        (["status", "log_likelihoods", 0], [], "status"),
        (["status", "agreement", 0], "alike", "status.agreement: 'alike' among the numbers"),
        (["curve", 0, "bic"], "low", r"curve\[0\].bic 'low': expected a finite number"),
        (["curve", 0, "bic"], ..., r"curve\[0\].bic is missing"),
        (["curve", 0, "agreement"], 7.0, r"curve\[0\].agreement 7.0: expected a finite number, at least"),
        (["curve", 0, "states"], 0, r"curve\[0\].states 0: expected a whole number from 1 to 50"),
        (["certificate", "halves", 0, "states"], 0, "states 0: expected a whole number from 1"),
        (["certificate", "residuals", "metrics"], [], "residuals of the metrics of the model"),
        (["certificate", "residuals", "n_runs"], 0, "certificate.residuals.n_runs 0"),
        (["notes"], [NAN], r"notes\[0\] nan: expected a finite number"),
        (["notes"], "\ud800", "notes '.*ud800': expected a text"),
        (["\x1b[2J"], [INFINITE], "x1b"),
    ],
)
def test_a_part_of_a_map_that_is_none_is_refused_with_its_place(map_content, tmp_path, path, value, says):
    with pytest.raises(ModelFileError, match=says) as known:
        stranger(map_content, path, value, tmp_path)
    assert str(known.value).isprintable()
    assert str(known.value).startswith(f"{tmp_path}/stranger.json: ")


@pytest.mark.parametrize("part", ["startprob", "means", "scaler", "settings", "status", "curve", "metrics", "seed"])
def test_no_part_of_a_map_may_be_missing(map_content, tmp_path, part):
    with pytest.raises(ModelFileError, match=f"{part} is missing"):
        stranger(map_content, [part], ..., tmp_path)


CALIBRATION, PORTFOLIO = ["calibration"], ["portfolio"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ([*CALIBRATION, "threshold"], NAN, "calibration.threshold nan: expected a finite number"),
        ([*CALIBRATION, "threshold"], INFINITE, "calibration.threshold inf: expected a finite number"),
        ([*CALIBRATION, "threshold"], 1e300, r"calibration.threshold 1e\+300: expected a finite number, .*at most"),
        ([*CALIBRATION, "threshold"], "3", "calibration.threshold '3': expected a finite number"),
        ([*CALIBRATION, "threshold"], True, "calibration.threshold True: expected a finite number"),
        ([*CALIBRATION, "threshold"], None, "calibration.threshold None: expected a finite number"),
        ([*CALIBRATION, "threshold"], ..., "calibration.threshold is missing"),
        ([*CALIBRATION, "budget"], 0.0, "calibration.budget 0.0"),
        ([*CALIBRATION, "attainable"], 1.5, "calibration.attainable 1.5"),
        ([*CALIBRATION, "n_runs"], 3, r"calibration.maxima has shape \(4\); expected \(3\)"),
        ([*CALIBRATION, "maxima", 0], 1e9, "expected largest scores that rise"),
        ([*CALIBRATION, "maxima", 0], -1.0, "calibration.maxima: -1; expected numbers from 0"),
        ([*CALIBRATION, "risk", "off"], 0.0, "risk.off 0.0"),
        ([*CALIBRATION, "risk", "more"], 1.0, "risk.more: not known here"),
        (CALIBRATION, None, "the model has views, but no thresholds"),
        (CALIBRATION, [1], r"calibration \[1\]: expected an object"),
        (PORTFOLIO, None, "cannot warn"),
        ([*PORTFOLIO, "agreement"], 1.5, "portfolio.agreement 1.5: expected a finite number, at most 1"),
        ([*PORTFOLIO, "agreement"], NAN, "portfolio.agreement nan"),
        ([*PORTFOLIO, "bands"], [], r"portfolio.bands has shape \(0\); expected \(2, 2, 2\)"),
        ([*PORTFOLIO, "bands", 0, 0], [2.0, 1.0], "bands: expected a low end and a high one, or neither"),
        ([*PORTFOLIO, "bands", 0, 0, 0], "low", "portfolio.bands: 'low' among the numbers"),
        (
            [*PORTFOLIO, "phases", "begins"],
            [2**70],
            r"phases.begins\[0\] 1180591620717411303424: expected a whole number",
        ),
        ([*PORTFOLIO, "phases", "begins"], [0.5], r"phases.begins\[0\] 0.5: expected a whole number"),
        ([*PORTFOLIO, "phases", "begins"], [20, 10], "phases that begin one after the other"),
        ([*PORTFOLIO, "phases", "last_step"], 1e999, "portfolio.phases.last_step inf"),
        ([*PORTFOLIO, "phases", "last_step"], 2.5, "phases.last_step 2.5: expected a whole number"),
        ([*PORTFOLIO, "phases", "spacing", 0], 0.0, "phases.spacing: 0; expected numbers from 0.5"),
        ([*PORTFOLIO, "rarity", "size", 0, 0], 0.0, "rarity.size: 0; expected numbers from 1e-06"),
        ([*PORTFOLIO, "rarity", "knots", 0], [1.0, 1.0, 2.0], "rarity.knots .*: expected knots that rise"),
        ([*PORTFOLIO, "rarity", "n_runs"], 0, "rarity.n_runs 0: expected a whole number from 1"),
        ([*PORTFOLIO, "rarity", "centre"], [[0.0, 0.0]], "rarity.knots has shape"),
        ([*PORTFOLIO, "views", 0, "columns"], [7], r"loss sum.columns\[0\] 7: expected a whole number from 0 to 1"),
        ([*PORTFOLIO, "views", 0, "columns"], [-1], r"loss sum.columns\[0\] -1"),
        ([*PORTFOLIO, "views", 0, "columns"], [0, 0], "some metrics, each once"),
        ([*PORTFOLIO, "views", 0, "columns"], [], "some metrics, each once"),
        ([*PORTFOLIO, "views", 0, "floors"], [0.0, 0.0], "loss sum.floors: 0; expected numbers from 1e-120"),
        ([*PORTFOLIO, "views", 0, "floors"], [1.0], r"loss sum: metrics: shape \(1,\); expected \(2,\)"),
        ([*PORTFOLIO, "views", 0, "name"], "luck", "name 'luck': expected one of loss sum, loss rise"),
        ([*PORTFOLIO, "views", 0, "name"], "loss rise", "views, each once"),
        (["scaler", "spread", 0], 0.0, "scaler.spread: 0; expected numbers from 1e-120"),
        (["scaler", "least", 0], True, "scaler.least: True among the numbers"),
        (["scaler", "metrics"], ["grad_norm", "train_loss"], "the metrics of the model, in their order"),
        (["purpose"], "map", "expected warning of a model with levels, map of any other"),
    ],
)
def test_no_part_of_a_reference_can_make_it_blind(warning_content, tmp_path, path, value, says):
    def used():
        model = stranger(warning_content, path, value, tmp_path)
        portfolio_of(model)
        if calibration_of(model) is None:
            th.Monitor(model)

    with pytest.raises(ModelFileError, match=says) as known:
        used()
    assert str(known.value).isprintable()


MAP = ["map"]


@pytest.fixture(scope="module")
def with_map():
    """A reference that carries a map."""
    on_map = th.fit(HEALTHY, metrics=WATCHED, states=2, restarts=1, iterations=5, halves=0)
    return fit_warning(HEALTHY, metrics=WATCHED, restarts=1, iterations=5, map=on_map)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (MAP, None, "map None: expected an object"),
        (MAP, [], r"map \[\]: expected an object"),
        (MAP, {}, "map"),
        ([*MAP, "more"], 1, "more"),
        ([*MAP, "metrics"], ["train_loss"] * 2, "expected names of metrics, each once"),
        ([*MAP, "metrics", 0], "other", "other"),
        ([*MAP, "metrics"], ["train_loss"], "expected"),
        ([*MAP, "rows_of"], [], "expected a metric at least"),
        ([*MAP, "rows_of", 0], "other", "rows_of.*expected one of train_loss, grad_norm"),
        ([*MAP, "scaler"], {"kind": "per-run"}, "expected one scale of 2 metrics for all runs"),
        ([*MAP, "scaler", "spread"], [1.0], "scaler"),
        ([*MAP, "scaler", "kind"], "own-start", "first_rows 0: expected first rows where a run's own start"),
        ([*MAP, "first_rows"], 3, "first_rows 3: expected first rows where a run's own start"),
        ([*MAP, "first_rows"], 10**9, "first_rows"),
        ([*MAP, "n_states"], 3, "n_states 3: expected 2"),
        ([*MAP, "startprob"], [1.0] + [0.0] * 50, "at most 50"),
        ([*MAP, "transmat", 0], [0.7, 0.7], "transmat: expected probabilities that add up to 1"),
        ([*MAP, "means", 0, 0], 1e300, "means: 1e\\+300"),
        ([*MAP, "covars", 0, 0], 0.0, "covars"),
        ([*MAP, "covars", 0, 0], 1e-308, "covars: 1e-308; expected variances of at least"),
        ([*MAP, "covariance_type"], "full", "covars has shape"),
        ([*MAP, "shift_variance", 0], 0.0, "shift_variance"),
        ([*MAP, "autoregression"], [0.5, 1.0], "autoregression: 1"),
        ([*MAP, "each_row_counts"], 1, "each_row_counts 1: expected true or false"),
        ([*MAP, "usual"], [[0.5, 0.5]], "map.usual of 1 phases of training; expected 2"),
        ([*MAP, "usual", 0, 0], 2.0, "usual: 2; expected numbers from 0 to 1"),
        ([*MAP, "usual", 0, 0], NAN, "nan"),
        ([*MAP, "agreement"], -0.1, "agreement -0.1"),
        ([*MAP, "worst"], "all", "worst 'all'"),
        ([*MAP, "agreement"], ..., "agreement"),
    ],
)
def test_no_part_of_a_map_beside_a_reference_can_hurt(with_map, tmp_path, path, value, says):
    content = content_of(with_map, tmp_path)

    def used():
        th.Monitor(stranger(content, path, value, tmp_path))

    with pytest.raises(ModelFileError, match=says) as known:
        used()
    assert str(known.value).isprintable()


@pytest.mark.parametrize("kind", ["shared", "own-start"])
def test_a_map_whose_numbers_are_as_far_off_as_they_may_be_tells_a_state_and_takes_no_time(with_map, tmp_path, kind):
    content = content_of(with_map, tmp_path)
    content["map"] |= {
        "first_rows": 0 if kind == "shared" else 100_000,
        "scaler": {
            "kind": kind,
            "logs": [False, True],
            "least": [0.0, 1e-300],
            "reach": [None, 1e-300],
            "centre": [1e308, -1e308],
            "spread": [1e-300, 1e300],
        },
        "means": [[1e60, -1e60], [-1e60, 1e60]],
        "covars": [[1e-59, 1e60], [1e60, 1e-59]],
        "shift_variance": [1e60, 1e-59],
        "autoregression": [0.99, 0.0],
        "startprob": [0.0, 1.0],
        "transmat": [[0.0, 1.0], [1.0, 0.0]],
        "usual": [[0.0, 0.0], [0.0, 0.0]],
    }
    monitor = th.Monitor(loaded(written(content), tmp_path))
    began = time.perf_counter()
    scored = monitor.score(HEALTHY)
    assert time.perf_counter() - began < SECONDS
    assert {int(state) for one in scored.values() for state in one.state} <= {0, 1}
    tracker = monitor.trackers["healthy 0"]
    assert "state" in str(tracker.place)
    json.dumps(tracker.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "truncated or not JSON"),
        (b"{", "truncated or not JSON"),
        (b"null", "not a model file"),
        (b"[1]", "not a model file"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[" * 200_000, f"values within values, more than {DEEPEST} deep"),
        (b'{"a":' * 200_000, f"values within values, more than {DEEPEST} deep"),
        (b"[" * 40 + b"]" * 40, f"values within values, more than {DEEPEST} deep"),
        (b'{"schema": ' + b"1" * 100_000 + b"}", "a number of more than 400 digits"),
        (b'{"schema": 0.' + b"1" * 100_000 + b"}", "a number of more than 400 digits"),
        (b"[" + b"0," * MOST_VALUES + b"0]", f"more than {MOST_VALUES} values"),
        (b"[" * 3 + b"]" * 1000, "not JSON"),
        (b'{"schema": "trajhmm.model", "schema_version": true}', "not a model file"),
        (b'{"schema": "trajhmm.model", "schema_version": -1}', "not a model file"),
        (b'{"schema": "trajhmm.model", "schema_version": 99}', "newer than 1"),
        (b'{"schema": "trajhmm.model", "schema_version": 1, "sha256": {}}', "its checksum differs"),
        (b'{"schema": "trajhmm.model", "schema_version": 1, "seed": 0, "seed": 1}', "'seed' is there twice"),
        (b'{"schema": "a[[[\\"[[", "b": "' + b"[{" * 50_000 + b'"}', "not a model file"),
        (b'"' + b'\\"' * 500_000, "not JSON"),
        (b'"' * 1_000_001, "not JSON"),
        (b"\\" * 1_000_000, "not JSON"),
        (b"\0" * 1000, "not JSON"),
    ],
)
def test_text_that_is_no_model_is_refused_at_once(tmp_path, raw, says):
    with pytest.raises(ModelFileError, match=says) as known:
        loaded(raw, tmp_path)
    assert str(known.value).isprintable()


def test_a_file_cut_anywhere_is_refused(map_content, tmp_path):
    raw = written(map_content)
    for end in range(0, len(raw) - 1, len(raw) // 60):
        with pytest.raises(ModelFileError, match="truncated or not JSON"):
            loaded(raw[:end], tmp_path)


def test_every_flipped_bit_is_found(map_content, tmp_path):
    raw = written(map_content)
    for place in range(5, len(raw) - 1, len(raw) // 200):
        for bit in (0, 5):
            flipped = raw[:place] + bytes([raw[place] ^ (1 << bit)]) + raw[place + 1 :]
            if json.loads(raw) == _value_of(flipped):  # a space made another
                continue
            with pytest.raises(ModelFileError):
                loaded(flipped, tmp_path)


def _value_of(raw):
    try:
        return json.loads(raw)
    except ValueError:
        return None


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    began = time.perf_counter()
    for name, says in (
        ("pipe.json", "a pipe or a device, no file"),
        ("/dev/zero", "a pipe or a device, no file"),
        ("loop.json", "cannot be read"),
        (".", "cannot be read"),
        ("none.json", "cannot be read"),
        ("a\0b", "cannot be read"),
        ("x" * 5000, "cannot be read"),
    ):
        with pytest.raises(ModelFileError, match=says) as known:
            th.load_model(tmp_path / name)
        assert str(known.value).isprintable()
    assert time.perf_counter() - began < SECONDS


def test_a_file_larger_than_any_model_is_not_read(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # without taking up room
    began = time.perf_counter()
    with pytest.raises(ModelFileError, match="larger than 32 MiB"):
        th.load_model(path)
    assert time.perf_counter() - began < SECONDS


@pytest.mark.slow
def test_the_files_that_take_most_to_read_take_less_than_a_gibibyte(tmp_path):
    head = b'{"schema": "trajhmm.model", "schema_version": 1, "more": '
    letters = "🙂".encode() + b"a" * (MOST_BYTES - len(head) - 20)
    fillings = {
        "objects": b"[" + b'{"":0},' * (MOST_VALUES // 2 - 10) + b"0]",
        "members": b"{" + b",".join(b'"%x":0' % n for n in range(MOST_VALUES - 10)) + b"}",
        "lists": b"[" + b"[]," * (MOST_VALUES // 2 - 10) + b"0]",
        "numbers": b"[" + b"1.00000001e-300," * (MOST_VALUES - 10) + b"0]",
        "a text": b'"' + letters + b'"',
        "letters by their numbers": b'"' + b"\\u0001" * (MOST_BYTES // 6 - 40) + b'"',
    }
    for name, filling in fillings.items():
        (tmp_path / f"{name}.json").write_bytes(head + filling + b"}")
        assert (tmp_path / f"{name}.json").stat().st_size <= MOST_BYTES
    for name in fillings:
        began = time.perf_counter()
        with little_room(), pytest.raises(ModelFileError, match="its checksum differs"):
            th.load_model(tmp_path / f"{name}.json")
        assert time.perf_counter() - began < LONG


@pytest.mark.once
def test_what_is_too_much_for_a_file_is_not_saved_and_the_old_file_stands(fitted, tmp_path):
    k, d = 8, 512
    large = Parameters(
        startprob=np.full(k, 1 / k),
        transmat=np.full((k, k), 1 / k),
        means=np.zeros((k, d)),
        covars=np.tile(np.eye(d), (k, 1, 1)),
        covariance_type="full",
    )
    fitted.save(tmp_path / "m.json")
    before = (tmp_path / "m.json").read_bytes()
    for broken in (replace(fitted, parameters=large), replace(fitted, sections={"more": {"threshold": NAN}})):
        with pytest.raises(ModelFileError, match="not written, as this model could not be read again"):
            broken.save(tmp_path / "m.json")
        assert (tmp_path / "m.json").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_what_no_file_could_hold_is_not_fitted():
    runs = [f"run {i}" for i in range(4) for _ in range(30)]
    values = {f"metric {d}": np.random.default_rng(d).normal(size=len(runs)) for d in range(700)}
    logs = RunSet.from_frame(pd.DataFrame({"run": runs, "step": np.tile(np.arange(30), 4), **values}))
    began = time.perf_counter()
    with pytest.raises(
        FitError, match="4 states of 700 metrics with full covariances are 1962816 numbers, more than a"
    ):
        th.fit(logs, states=4, covariance="full", halves=0)
    assert time.perf_counter() - began < SECONDS


def test_what_is_saved_is_read_again_whatever_kind_of_number_it_was_given_as(fitted, tmp_path):
    replace(fitted, seed=np.int64(3), n_rows=np.int32(240)).save(tmp_path / "m.json")
    again = th.load_model(tmp_path / "m.json")
    assert (again.seed, again.n_rows) == (3, 240)
    for changes, says in (
        ({"metrics": ("a", "a", "b")}, "names of metrics, each once"),
        ({"parameters": replace(fitted.parameters, covars=-fitted.parameters.covars)}, "positive variances"),
        ({"versions": {"numpy": object()}}, "object is no JSON"),
    ):
        with pytest.raises(ModelFileError, match=f"not written, as this model could not be read again .*{says}"):
            replace(fitted, **changes).save(tmp_path / "m.json")
    assert th.load_model(tmp_path / "m.json").seed == 3


def test_more_states_than_anybody_can_look_at_are_refused_before_anything_is_fitted(logs):
    began = time.perf_counter()
    with pytest.raises(FitError, match="n_components 50000: expected at most 50 states"):
        GaussianHMM(50_000).fit(np.zeros((60_000, 2)))
    for states in (50_000, [1, 2, 51]):
        with pytest.raises(FitError, match=r"states"):
            th.fit(logs, metrics=METRICS, states=states)
    assert time.perf_counter() - began < SECONDS


def test_a_model_of_a_stranger_says_where_a_value_is_too_far_off_its_scale(map_content, tmp_path, logs):
    for name in ("spread", "centre"):
        value = [1e-320, 1.0, 1.0] if name == "spread" else [1e308, 0.0, 0.0]
        model = stranger(map_content, ["scaler", name], value, tmp_path)
        with pytest.raises(
            TrajHMMError, match=r"run seed_\d+: weight_l2 is .* at step \d+, more than 1e\+60 off on its scale"
        ):
            model.decode(logs)


def test_the_probabilities_of_states_add_up_however_unlikely_a_row_is(map_content, tmp_path, logs):
    model = stranger(map_content, ["covars"], [[1e-40] * 3, [2e-40] * 3], tmp_path)
    for found in (model.filter(logs).probs, model.decode(logs).probs):
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["settings", "topology"], "1" * 9000),
        (["settings", "search"], "\x1b" * 9000),
        (["settings", "engine"], "x" * 9000),
        (["certificate", "residuals", "metrics", 0, "metric"], "other"),
        (["certificate", "residuals", "metrics", 0], {str(i) * 50: [[[i] * 50] * 50] * 50 for i in range(50)}),
        (["purpose"], {"a" * 300: {"b" * 300: {"c" * 300: "d" * 300}}}),
    ],
)
def test_what_is_told_of_a_long_part_is_short(path, value, map_content, tmp_path):
    with pytest.raises(ModelFileError) as refused:
        stranger(map_content, path, value, tmp_path)
    assert len(str(refused.value)) < len(str(tmp_path)) + 300
    assert str(refused.value).isprintable()


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "raw",
    [b'"' * 30_000_000, b"[" + b",".join([b"9" * 399] * 80_000) + b"]", b"{" + b'"":0,' * 1_900_000 + b'"a":0}'],
    ids=["quotes", "digits", "members"],
)
def test_bytes_that_are_dear_to_look_through_are_refused_soon(raw, tmp_path):
    """The pieces between quotes took 800 MiB; a row of digits was looked at from each of them on."""
    with little_room(), pytest.raises(ModelFileError):
        loaded(raw, tmp_path)
