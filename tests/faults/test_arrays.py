"""Arrays of other shapes, types and orders than a compiled loop was written for: an error of this library, or handled.

A loop reads where it is told to; with ``NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=…`` an index beyond an array is an error.
"""

import importlib
import inspect
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numba.core.registry import CPUDispatcher

import trajhmm
import trajhmm as th
from trajhmm.arrays import floats_of, takes, whole_of
from trajhmm.compiled import compiled
from trajhmm.dynamics.stability.instability.scores import olmo_scores, robust_scores
from trajhmm.errors import ArrayError, TrajHMMError
from trajhmm.features import CausalRun
from trajhmm.features.innovations import advance
from trajhmm.hmm import GaussianHMM, Parameters
from trajhmm.hmm.inference.emissions import log_density
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.inference.residuals import pseudo_residuals
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.kernels import densities, exact, forwards, moments, scaled, together, viterbi
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.simulate import planted
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.detectors import (
    DETECTORS,
    Reference,
    SeriesDetector,
    changepoints,
    drift,
    make_detector,
    slowing,
    spikes,
    standardise,
    windows,
)
from trajhmm.warning.views import losses, ownlosses, phases

N, K, D, R, F = 11, 3, 2, 4, 5
OFFSETS = np.array([0, 2, 2, 7, 11])
# Loops that are called by others alone, whose arrays are checked there.
INSIDE = {"log_sum", "loss", "slopes", "root"}
# Rooms whose loops take what the room itself has just made.
OWN = ("trajhmm.logs", "trajhmm.simulate")


def rng():
    return np.random.default_rng(0)


def model():
    """Arrays of a model of K states over D metrics, and of N rows in R runs."""
    random = rng()
    return {
        "values": random.normal(size=(N, D)),
        "means": random.normal(size=(K, D)),
        "precision": np.ones((K, D)),
        "whitening": np.tile(np.eye(D), (K, 1, 1)),
        "log_density": random.normal(size=(N, K)),
        "start": np.full(K, 1 / K),
        "transmat": np.full((K, K), 1 / K),
        "weights": np.ones((N, K)),
        "fresh": np.isin(np.arange(N), OFFSETS),
        "series": random.normal(size=N),
        "logged": random.random((N, D)) < 0.7,
    }


def loops():
    """Each compiled loop with arguments that fit, by its name."""
    m, none = model(), np.zeros
    forward, backward = scaled.recursions(K)
    unrolled = {
        "forward": (forward, (m["weights"], OFFSETS, False, m["start"], m["transmat"], none(K), none((N, K)), none(N))),
        "backward": (
            backward,
            (
                m["weights"],
                OFFSETS,
                False,
                np.ones(R),
                m["transmat"],
                np.ones((N, K)),
                np.ones(N),
                np.ones(K),
                none((N, K)),
            ),
        ),
    }
    v, series, logged = m["values"], m["series"], m["logged"]
    outputs, counts = (none((N, K)), none(N)), (none((N, K)), none(K), none((K, K)))
    return unrolled | {
        "diagonal_densities": (
            densities.diagonal_densities,
            (v, True, m["means"], m["precision"], m["precision"], OFFSETS, none((R, D)), True, none((N, K)), none(N)),
        ),
        "full_densities": (
            densities.full_densities,
            (
                v,
                none((2, K)),
                np.full(N, -1),
                m["means"],
                m["whitening"],
                none(D),
                OFFSETS,
                none((R, D)),
                False,
                *outputs,
            ),
        ),
        "full_densities_by_row": (
            densities.full_densities_by_row,
            (v, m["means"], m["whitening"], none(K), none((N, K))),
        ),
        "exact.forward": (
            exact.forward,
            (m["log_density"], m["fresh"], m["start"], m["transmat"], none(K), none((N, K)), none(N)),
        ),
        "exact.backward": (
            exact.backward,
            (m["log_density"], m["fresh"], np.ones(N), m["transmat"], none(K), none((N, K)), none(K), *counts),
        ),
        "forward_shifted": (
            forwards.forward_shifted,
            (
                v,
                np.full((K, K), 1 / K),
                m["transmat"],
                m["means"].T.copy(),
                np.ones((D, K)),
                np.ones(K),
                np.ones(D),
                False,
                none(K),
                none((K, K)),
                np.ones((K, D)),
                none((K, D)),
                none((N, K)),
            ),
        ),
        "diagonal_moments": (
            moments.diagonal_moments,
            (v, True, m["weights"], none(D), OFFSETS, none((R, K)), none((R, K, D)), none((R, K, 2 * D))),
        ),
        "shifted_densities": (
            densities.shifted_densities,
            (
                v,
                True,
                OFFSETS,
                np.array([2, 1, 3]),
                none((R, D)),
                none((R, D)),
                none((R, D)),
                m["means"],
                m["precision"],
                m["precision"],
                np.array([0, 5, 5, 9]),
                none((9, K)),
                none(9),
            ),
        ),
        "expected_moments": (
            moments.expected_moments,
            (
                v,
                True,
                OFFSETS,
                np.array([0, 5, 5, 9]),
                np.array([2, 1, 3]),
                none((R, D)),
                none((R, D)),
                m["weights"][:9].copy(),
                np.ones(9),
                none(9),
                m["weights"][:9].copy(),
                m["weights"][:9].copy(),
                m["transmat"],
                none(D),
                none(R),
                none(K),
                none((K, K)),
                none((1, K)),
                none((1, K, D)),
                none((1, K, 2 * D)),
            ),
        ),
        "equations": (
            together.equations,
            (
                np.ones((R, K)),
                none((R, K, D)),
                random_moments := rng().normal(size=(R, K, D)),
                m["precision"],
                np.ones(D),
                random_moments[:, 0].copy(),
                np.ones(R),
                1e-9,
                1e-10,
                none((D, K, K)),
                none((D, K)),
                none((R, D)),
                none((R, D)),
            ),
        ),
        "moved_about": (
            together.moved_about,
            (
                np.ones((R, K)),
                none((R, K, D)),
                random_moments,
                m["precision"],
                np.ones((R, D)),
                np.ones(R),
                m["means"].T.copy(),
                np.ones((R, D)),
                none((R, D)),
                none((K, D)),
            ),
        ),
        "full_moments": (
            moments.full_moments,
            (v, m["weights"], none(N, bool), none(D), OFFSETS, none((R, K)), none((R, K, D)), none((K, D, D))),
        ),
        "viterbi": (
            viterbi.viterbi,
            (m["log_density"], OFFSETS, m["start"], m["transmat"], none(N, np.int64)),
        ),
        "advance": (advance, (v, logged, np.ones(D), 120.0, none((D, 5)), none((N, D)))),
        "exponential_average": (exponential_average, (series, 5.0, np.nan)),
        "_count": (phases._count, (np.arange(N), logged[:, 0].copy(), np.ones(N), none(5), none(N, bool))),
        "_add_up": (losses._add_up, (v, logged, none(D), none(D), none((N, D)))),
        "_risen": (losses._risen, (v, logged, np.ones(D), 10.0, none((D, 7)), none((N, D)))),
        "_short_sum": (ownlosses._short_sum, (v, logged, none((D, 6)), none((N, D)))),
        "_long_sum": (ownlosses._long_sum, (v, logged, none((D, 204)), none((N, D)))),
        "previous_moments": (windows.previous_moments, (series, 5, 2)),
        "previous_median": (windows.previous_median, (series, 5, 2)),
        "previous_largest": (windows.previous_largest, (series, 5)),
        "trailing_minimum": (windows.trailing_minimum, (series, 5)),
        "detrended": (slowing.detrended, (series, 2.5)),
        "rolling_indicators": (slowing.rolling_indicators, (series, 4)),
        "trailing_tau": (slowing.trailing_tau, (series, 4)),
        "run_length_filter": (changepoints.run_length_filter, (series, 0.01, 1.0, 1.0, 1.0, 3, 4)),
        "row_products": (standardise.row_products, (v, rng().normal(size=(D, F)))),
        "cumulative_sum": (drift.cumulative_sum, (series, 1.0)),
        "_page_hinkley": (drift._page_hinkley, (series, 3, 0.005, 0.99)),
        "trailing_lines": (drift.trailing_lines, (series, 0.5, 3)),
        "_zclip": (spikes._zclip, (series, 0.9, 2.5, 3)),
    }


LOOPS = loops()
PLACES = [
    (name, place)
    for name, (_, given) in LOOPS.items()
    for place, argument in enumerate(given)
    if isinstance(argument, np.ndarray)
]


def called(name, place=None, other=None):
    """What a loop gives, from -9 on, and its arrays by their places; with one argument replaced."""
    loop, given = loops()[name]
    given = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in given]
    if place is not None:
        given[place] = other
    found = loop(*given)
    results = dict(enumerate(found if isinstance(found, tuple) else (0.0 if found is None else found,), start=-9))
    return results | {place: np.array(given) for place, given in enumerate(given) if isinstance(given, np.ndarray)}


def test_every_loop_that_is_called_from_python_is_checked():
    modules = [
        importlib.import_module(one.name) for one in pkgutil.walk_packages(trajhmm.__path__, "trajhmm.") if _safe(one)
    ]
    unchecked = {
        f"{module.__name__}.{name}"
        for module in modules
        for name, thing in vars(module).items()
        if isinstance(thing, CPUDispatcher) and not name.startswith("_") and name not in INSIDE
    }
    assert not unchecked


def _safe(one):
    return not one.name.startswith((*OWN, "trajhmm.integrations", "trajhmm.__main__"))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_loop_refuses_arrays_of_other_shapes(name, place):
    fit = LOOPS[name][1][place]
    # What alone has a size may have another: then the result has it too.
    alone = sum(1 for one, _ in PLACES if one == name) == 1
    others = [
        np.array(fit.flat[0]),
        fit[np.newaxis],
        fit[..., np.newaxis],
        fit.ravel() if fit.ndim > 1 else fit[:, None],
    ]
    if not alone:
        for axis in range(fit.ndim):
            if (name, place, axis) in FREE:
                continue
            fewer = np.take(fit, range(fit.shape[axis] - 1), axis=axis)
            others += [fewer, np.concatenate([fit, np.take(fit, [0], axis=axis)], axis=axis)]
            if fit.shape[axis] > 1:
                others.append(np.take(fit, [0], axis=axis))
        if (name, place) not in MAY_BE_EMPTY:
            others.append(fit[:0])
    for other in others:
        with pytest.raises(ArrayError, match=r"has shape|expected|offsets"):
            called(name, place, other)


# Sizes that nothing else has, and arrays that may be left out.
FREE = {("full_densities", 1, 0), ("row_products", 0, 0), ("row_products", 1, 1)}
MAY_BE_EMPTY = {("full_densities", 1), ("full_densities", 2), ("row_products", 0)}
MAY_BE_EMPTY |= {("diagonal_densities", 6), ("full_densities", 7)}
MAY_BE_EMPTY |= {("shifted_densities", 4), ("shifted_densities", 5), ("shifted_densities", 6)}
MAY_BE_EMPTY |= {("expected_moments", 5), ("expected_moments", 6)}


def check_alike(name, place, others):
    """With other arrays of the same numbers a loop gives the same, or says that one is to be filled."""
    expected = called(name)
    for other in others:
        try:
            found = called(name, place, other)
        except ArrayError as error:
            assert "to be filled" in str(error)  # noqa: PT017 (it may as well be handled)
            continue
        for one in found.keys() & expected.keys():
            np.testing.assert_allclose(found[one], expected[one], rtol=1e-12)


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.sampled(12)
def test_a_loop_takes_lists_frames_and_other_orders_of_bytes_or_refuses_them(name, place):
    fit = LOOPS[name][1][place]
    swapped = fit.astype(fit.dtype.newbyteorder(">")) if fit.dtype != bool else fit.tolist()
    frames = [pd.DataFrame(fit)] if fit.ndim == 2 else [pd.Series(fit)] if fit.ndim == 1 else []
    check_alike(name, place, [swapped, fit.tolist(), *frames])


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_loop_takes_other_orders_of_axes_or_refuses_them(name, place):
    fit = LOOPS[name][1][place]
    frozen = fit.copy()
    frozen.setflags(write=False)
    odd = np.frombuffer(b"." + fit.tobytes(), dtype=fit.dtype, offset=1).reshape(fit.shape)
    strided = np.repeat(fit, 2, axis=-1)[..., ::2]
    check_alike(name, place, [np.asfortranarray(fit), strided, fit[::-1].copy()[::-1], frozen, odd])


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_compiled_once(name):
    loop, given = LOOPS[name]
    called(name)
    signatures = inspect.getclosurevars(loop).nonlocals["loop"].signatures
    assert len(signatures) == 1
    for place, fit in enumerate(given):
        if isinstance(fit, np.ndarray):
            with suppress(ArrayError):  # that is to be filled
                called(name, place, np.asfortranarray(fit[::-1].copy()[::-1]))
    assert inspect.getclosurevars(loop).nonlocals["loop"].signatures == signatures


def test_threads_that_call_a_loop_for_the_first_time_at_once_compile_it_once():
    @takes(values="N", sums="N filled")
    @compiled
    def doubled(values, sums):
        sums[:] = 2 * values

    together, values = threading.Barrier(8), np.arange(5.0)

    def one(_):
        sums = np.empty(5)
        together.wait()
        doubled(values, sums)
        return sums

    with ThreadPoolExecutor(8) as threads:
        for sums in threads.map(one, range(8)):
            np.testing.assert_array_equal(sums, 2 * values)


def test_a_path_that_cannot_be_written_to_is_not():
    path = np.zeros(N, dtype=np.int64)
    path.setflags(write=False)
    with pytest.raises(ArrayError, match="path is to be filled, and cannot be written to"):
        called("viterbi", 4, path)
    assert not path.any()
    called("viterbi")  # whose shapes are known from now on
    with pytest.raises(ArrayError, match="path is to be filled, and cannot be written to"):
        called("viterbi", 4, path)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_loop_refuses_what_holds_no_such_numbers(name, place):
    fit = LOOPS[name][1][place]
    for other in (
        fit.astype(complex),
        fit.astype(str),
        fit.astype(object),
        None,
        "abc",
        {},
        [[1.0], [1.0, 2.0]],
        fit.astype(bool) if fit.dtype != bool else fit.astype(float),
        fit.astype(float) + 0.5 if fit.dtype == np.int64 else fit.astype("datetime64[s]"),
    ):
        with pytest.raises(ArrayError):
            called(name, place, other)


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 2, 2, 7, 12],
        [0, 2, 2, 7, 10],
        [0, 2, 1, 7, 11],
        [1, 2, 2, 7, 11],
        [-1, 2, 2, 7, 11],
        [0, 2**62, -(2**62), 7, 11],
        [0, 7, 2**63 - 1, 7, 11],
        [],
        [11],
        11,
    ],
)
def test_row_offsets_that_lead_elsewhere_are_refused_by_all(offsets):
    m, wrong = model(), np.array(offsets, dtype=np.int64)
    for name, (_, given) in LOOPS.items():
        for place, argument in enumerate(given):
            if argument is OFFSETS:
                with pytest.raises(ArrayError):
                    called(name, place, wrong)
    parameters = known_parameters()
    for function in (filter_rows, smooth_rows, decode_rows, pseudo_residuals):
        with pytest.raises(ArrayError):
            function(m["values"], wrong, parameters)
    with pytest.raises(ArrayError):
        Chunk.of(m["values"], wrong)


def test_places_in_rows_that_are_not_there_are_refused():
    for place in (-2, 2, 2**62):
        with pytest.raises(ArrayError, match="expected places below 2"):
            called("full_densities", 2, np.full(N, place))


@pytest.mark.parametrize(("name", "place"), [("shifted_densities", 3), ("expected_moments", 4)])
def test_runs_that_are_not_there_are_refused(name, place):
    for run in (-1, R, 2**62):
        with pytest.raises(ArrayError, match=f"expected places below {R}"):
            called(name, place, np.array([2, run, 3]))


def test_runs_of_other_lengths_and_places_for_some_of_them_are_refused():
    with pytest.raises(ArrayError, match="a run has another number of rows"):
        called("shifted_densities", 10, np.array([0, 4, 5, 9]))
    with pytest.raises(ArrayError, match="a run has another number of rows"):
        called("expected_moments", 3, np.array([0, 4, 5, 9]))
    loop, given = loops()["expected_moments"]
    with pytest.raises(ArrayError, match="neither one place nor one for each run"):
        loop(*given[:17], np.zeros((2, K)), np.zeros((2, K, D)), np.zeros((2, K, 2 * D)))


def test_no_loop_has_one_of_another_file_compiled_into_it():
    # What is kept compiled is made anew if its own file changes, whatever happens to others.
    for one in pkgutil.walk_packages(trajhmm.__path__, "trajhmm."):
        if one.name.startswith(("trajhmm.integrations", "trajhmm.__main__")):
            continue
        names = vars(importlib.import_module(one.name))
        for thing in [thing for thing in names.values() if isinstance(thing, CPUDispatcher)]:
            code = thing.py_func.__code__
            for other in map(thing.py_func.__globals__.get, code.co_names):
                if isinstance(other, CPUDispatcher):
                    assert other.py_func.__code__.co_filename == code.co_filename, (one.name, thing, other)


@pytest.mark.parametrize(
    ("name", "place", "least"),
    [
        ("previous_moments", 1, 1),
        ("previous_moments", 2, 1),
        ("previous_median", 1, 1),
        ("previous_median", 2, 1),
        ("previous_largest", 1, 1),
        ("trailing_minimum", 1, 1),
        ("rolling_indicators", 1, 3),
        ("trailing_tau", 1, 2),
        ("run_length_filter", 5, 1),
        ("run_length_filter", 6, 2),
        ("_page_hinkley", 1, 1),
        ("trailing_lines", 2, 1),
        ("_zclip", 3, 1),
    ],
)
def test_windows_of_no_rows_are_refused_and_endless_ones_take_no_memory(name, place, least):
    for wrong in (least - 1, -1, -(2**62), 2**63, 2.0, np.nan, True, "5", None):
        with pytest.raises(ArrayError, match=f"expected a whole number of at least {least}"):
            called(name, place, wrong)
    assert np.isfinite(np.nan_to_num(called(name, place, 2**39)[-9])).all()
    assert np.isfinite(np.nan_to_num(called(name, place, np.int32(least))[-9])).all()


@pytest.mark.parametrize(
    ("name", "place", "most"),
    [
        ("detrended", 1, np.inf),
        ("trailing_lines", 1, 1.0),
        ("run_length_filter", 1, 1.0),
        ("run_length_filter", 2, np.inf),
    ],
)
def test_numbers_that_windows_are_made_of_are_within_bounds(name, place, most):
    for wrong in (0.0, -1.0, np.nan, np.inf, -np.inf, 1j, "1", None, True, *([1.5] if most == 1.0 else [])):
        with pytest.raises(ArrayError, match="expected a number above 0"):
            called(name, place, wrong)
    if name == "detrended":
        assert np.isfinite(called(name, place, 1e300)[-9]).all()


def known_parameters(covariance="diag"):
    random = rng()
    covars = {
        "diag": np.ones((K, D)),
        "full": np.tile(np.eye(D), (K, 1, 1)),
        "tied": np.eye(D),
        "spherical": np.ones(K),
    }[covariance]
    return Parameters(
        startprob=np.full(K, 1 / K),
        transmat=np.full((K, K), 1 / K),
        means=random.normal(size=(K, D)),
        covars=covars,
        covariance_type=covariance,
    )


@pytest.mark.parametrize("covariance", ["diag", "full", "tied", "spherical"])
@pytest.mark.parametrize("name", ["startprob", "transmat", "means", "covars", "shift_variance", "scale_variance"])
def test_parameters_of_other_shapes_or_kinds_are_none(covariance, name):
    known = replace(known_parameters(covariance), shift_variance=np.ones(D), scale_variance=np.ones(D))
    fit = getattr(known, name)
    for other in (
        fit[:-1],
        np.concatenate([fit, fit[:1]]),
        fit[np.newaxis],
        fit[..., :-1],
        fit[:0],
        np.zeros(()),
        fit.astype(complex),
        fit.astype(str),
        None if name in ("startprob", "transmat", "means", "covars") else "abc",
    ):
        with pytest.raises(ArrayError):
            replace(known, **{name: other})
    for other in (np.asfortranarray(fit), fit.astype(">f8"), fit.astype(np.float32), fit.tolist()):
        same = getattr(replace(known, **{name: other}), name)
        assert same.flags.c_contiguous
        assert same.dtype == np.float64
        np.testing.assert_allclose(same, fit, rtol=1e-6)


def test_more_states_than_a_path_can_name_are_none():
    k = 40_000
    with pytest.raises(ArrayError, match="40000 states; expected 1 to 50"):
        Parameters(
            startprob=np.full(k, 1 / k),
            transmat=np.empty((k, 0)),
            means=np.zeros((k, 1)),
            covars=np.ones((k, 1)),
            covariance_type="diag",
        )


@pytest.mark.parametrize("covariance", ["diag", "full", "tied", "spherical"])
def test_inference_takes_rows_of_any_order_and_none_of_other_widths(covariance):
    parameters, values = known_parameters(covariance), model()["values"]
    for function in (filter_rows, smooth_rows, decode_rows, pseudo_residuals):
        expected = function(values, OFFSETS, parameters)
        for other in (
            np.asfortranarray(values),
            values.astype(">f8"),
            np.repeat(values, 2, axis=0)[::2],
            values.tolist(),
        ):
            for found, same in zip(function(other, OFFSETS.tolist(), parameters), expected, strict=True):
                np.testing.assert_array_equal(found, same)
        for other in (values[:, :1], np.hstack([values, values]), values[0], values[np.newaxis], values[:0], "abc"):
            with pytest.raises(ArrayError):
                function(other, OFFSETS, parameters)
    for other in (values[:, :1], np.hstack([values, values])):
        with pytest.raises(ArrayError):
            log_density(other, parameters)
        with pytest.raises(ArrayError):
            estep(Chunk.of(other, OFFSETS[[0, 1, 3, 4]]), parameters)


ASKED = ["predict", "predict_proba", "filter", "score", "bic", "aic"]


@pytest.mark.parametrize("ask", ["fit", *ASKED])
def test_the_estimator_refuses_rows_and_lengths_that_do_not_fit(ask):
    values = np.random.default_rng(1).normal(size=(40, D))
    estimator = GaussianHMM.from_parameters(known_parameters(), n_restarts=1, n_iter=2)
    function = getattr(estimator, ask)
    for lengths in (
        [20, 21],
        [41],
        [-1, 41],
        [2**62, 2**62, 2**62, 2**62, 40],
        [2**63, 2**63, 40],
        [10**30],
        [20.5, 19.5],
        ["20", "20"],
        [[20], [20]],
        [True] * 40,
        [None],
        "40",
        [np.nan],
        [],
    ):
        with pytest.raises(TrajHMMError):
            function(values, lengths)
    for wrong in (
        values[0],
        values[np.newaxis],
        values.astype(complex),
        np.full((40, D), "a"),
        np.full((40, D), {}),
        [[1.0], [1.0, 2.0]],
        np.full((40, D), np.inf),
        np.full((40, D), 1e200),
        np.empty((40, 0)),
        None,
    ):
        with pytest.raises(TrajHMMError):
            function(wrong, [len(wrong)] if isinstance(wrong, np.ndarray) else None)


def test_the_estimator_handles_rows_of_any_order_type_and_number():
    values = np.random.default_rng(1).normal(size=(40, D))
    estimator = GaussianHMM.from_parameters(known_parameters())
    expected = estimator.predict_proba(values, [15, 0, 25])
    others = (
        np.asfortranarray(values),
        values.astype(">f8"),
        np.repeat(values, 3, axis=1)[:, ::3],
        values[::-1].copy()[::-1],
        values.tolist(),
        values.astype(object),
        pd.DataFrame(values),
    )
    for other in others:
        np.testing.assert_array_equal(estimator.predict_proba(other, [15, 0, 25]), expected)
    frozen = values.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(estimator.predict_proba(frozen, np.array([15, 0, 25], dtype=">i4")), expected)
    for ask in ("predict", "predict_proba", "filter"):
        assert len(getattr(estimator, ask)(values[:0])) == 0
        assert len(getattr(estimator, ask)(values[:0], [0, 0])) == 0
    assert estimator.score(values[:0]) == 0.0


def test_parameters_that_somebody_set_are_looked_at_before_they_are_used():
    values = np.random.default_rng(1).normal(size=(40, D))
    fitted = GaussianHMM(K, n_restarts=1, n_iter=2).fit(values)
    for name, wrong in (
        ("startprob_", [1.0]),
        ("startprob_", [0.5, 0.6, 0.1]),
        ("transmat_", np.eye(K)[:2]),
        ("transmat_", np.full((K, K), np.nan)),
        ("means_", np.zeros((K, D + 1))),
        ("covars_", np.zeros((K, D))),
        ("covars_", -np.ones((K, D))),
        ("covars_", np.ones(K)),
        ("shift_variance_", [1.0]),
    ):
        before = getattr(fitted, name)
        setattr(fitted, name, wrong)
        for ask in ASKED:
            with pytest.raises(TrajHMMError):
                getattr(fitted, ask)(values)
        setattr(fitted, name, before)
    assert len(fitted.predict(values)) == 40


def test_weights_and_starts_that_do_not_fit_are_refused():
    values = np.random.default_rng(1).normal(size=(40, D))
    for wrong in (
        [1.0],
        [1.0, 1.0, 1.0],
        [[1.0, 1.0]],
        1.0,
        ["a", "b"],
        [1j, 1.0],
        [np.nan, 1.0],
        [-1.0, 1.0],
        [0, 0],
        {},
    ):
        with pytest.raises(TrajHMMError):
            GaussianHMM(2, n_restarts=1).fit(values, [20, 20], sample_weight=wrong)
    fit = known_parameters()
    for wrong in (
        "start",
        {"startprob": [1.0]},
        replace(fit, startprob=np.array([2.0, -1.0, 0.0])),
        replace(fit, transmat=np.zeros((K, K))),
        replace(fit, covars=-np.ones((K, D))),
        replace(fit, means=np.full((K, D), np.nan)),
    ):
        with pytest.raises(TrajHMMError, match="start"):
            GaussianHMM(K, start=wrong, n_restarts=1).fit(values)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("n_components", 0),
        ("n_components", 2.0),
        ("n_components", "2"),
        ("n_components", None),
        ("n_components", 51),
        ("n_components", 10**30),
        ("n_restarts", 0),
        ("n_iter", -1),
        ("n_iter", True),
        ("floor", np.nan),
        ("floor", np.inf),
        ("shrinkage", -1),
        ("shrinkage", "much"),
    ],
)
def test_settings_that_are_no_numbers_of_anything_are_refused(name, wrong):
    values = np.random.default_rng(1).normal(size=(40, D))
    with pytest.raises(TrajHMMError, match=f"{name} .*: expected at"):
        GaussianHMM(**{"n_components": 2, name: wrong}).fit(values)


def sequences():
    logs = planted(n_runs=3, n_rows=20, seed=1).logs
    fitted = th.fit(logs, metrics=logs.metrics[:2], states=2, restarts=1, iterations=2, halves=0, scaling="shared")
    scaled_rows = fitted.scaled(logs)
    return fitted, lambda **changes: replace(scaled_rows, **changes)


def test_sequences_that_do_not_fit_together_are_none():
    fitted, made = sequences()
    fit = made()
    n = fit.n_rows
    for changes in (
        {"lengths": fit.lengths + 1},
        {"lengths": np.array([n, 0, 0])},
        {"lengths": np.array([-1, 1, n])},
        {"lengths": np.array([2**62, 2**62, -(2**63) + n])},
        {"lengths": fit.lengths[:2]},
        {"lengths": fit.lengths.astype(float)},
        {"runs": fit.runs[:2]},
        {"values": fit.values[:-1]},
        {"values": fit.values[:, :1]},
        {"values": fit.values.astype(str)},
        {"values": fit.values.ravel()},
        {"steps": fit.steps[:-1]},
        {"rows": fit.rows[:-1]},
        {"metrics": fit.metrics[:1]},
    ):
        with pytest.raises(ArrayError):
            made(**changes)
    expected = fitted.decode(fit).probs
    for values in (np.asfortranarray(fit.values), fit.values.astype(">f8"), fit.values.tolist()):
        np.testing.assert_array_equal(fitted.decode(made(values=values)).probs, expected)
    with pytest.raises(ArrayError):  # of another model
        fitted.decode(made(values=np.hstack([fit.values] * 2), metrics=(*fit.metrics, "c", "d")))


def causal(**changes):
    run = CausalRun(
        run="a",
        metrics=("train_loss", "grad_norm"),
        steps=np.arange(60),
        values=np.random.default_rng(2).normal(size=(60, 2)) + 3,
        logged=np.ones((60, 2), dtype=bool),
        events=np.zeros(60, dtype=bool),
    )
    return replace(run, **changes)


def test_runs_that_do_not_fit_together_are_none():
    fit = causal()
    for changes in (
        {"values": fit.values[:-1]},
        {"values": fit.values[:, 0]},
        {"values": fit.values.astype(str)},
        {"steps": fit.steps[:-1]},
        {"steps": fit.steps + 0.5},
        {"logged": fit.logged[:-1]},
        {"logged": fit.logged[:, :1]},
        {"logged": fit.logged.astype(float)},
        {"events": fit.events[:-1]},
        {"metrics": ("train_loss",)},
    ):
        with pytest.raises(ArrayError):
            causal(**changes)


SERIES = sorted(name for name, kind in DETECTORS.items() if issubclass(kind, SeriesDetector) and name != "adwin")


@pytest.mark.parametrize("name", SERIES)
def test_detectors_take_runs_of_any_length_and_refuse_settings_that_are_none(name):
    healthy = Reference(healthy=(causal(), causal(run="b")), labelled=())
    detector = make_detector(name, metrics=("train_loss", "grad_norm")).fit(healthy)
    expected = detector.scores(causal())
    values = causal().values
    for other in (np.asfortranarray(values), values.astype(">f8"), np.repeat(values, 2, axis=0)[::2]):
        np.testing.assert_array_equal(detector.scores(causal(values=other)), expected)
    for n in (0, 1, 2, 5):
        assert np.isfinite(detector.scores(causal().first_rows(n))).all()
    whole = ("window", "least", "trend", "recent", "longest", "warmup", "in_a_row")
    for setting in whole:
        if hasattr(detector, setting):
            for wrong in (0, -3, 2.5):
                with pytest.raises(TrajHMMError, match="expected a whole number"):
                    replace(detector, **{setting: wrong}).scores(causal())


@pytest.mark.parametrize("window", [0, -1, 1.5, -(2**62)])
def test_spikes_are_not_looked_for_in_windows_of_no_rows(window):
    for scores in (robust_scores, olmo_scores):
        with pytest.raises(ArrayError, match="expected a whole number of at least 1"):
            scores(model()["series"], window)


def test_scores_of_logs_built_by_hand_do_not_leave_them():
    """A `RunSet` whose arrays do not fit together, through what is public."""
    logs = planted(n_runs=3, n_rows=20, seed=1).logs
    for changes in (
        {"lengths": np.array([20, 20, 2**40])},
        {"lengths": np.array([20, 20, -20])},
        {"lengths": logs.lengths[:2]},
        {"values": logs.values[:-1]},
        {"values": logs.values[:, :3]},
        {"logged": logs.logged[:-1]},
        {"steps": logs.steps[:-1]},
        {"runs": logs.runs[:2]},
    ):
        with pytest.raises(TrajHMMError):
            replace(logs, **changes)


# What numpy takes for numbers, and is none.

MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], [[False, True], [False, False]])


def test_what_is_masked_is_missing_not_what_stands_below_the_mask():
    missing = [[1.0, np.nan], [3.0, 4.0]]
    np.testing.assert_array_equal(floats_of("x", MASKED, (2, 2)), missing)
    np.testing.assert_array_equal(floats_of("x", MASKED.astype(">f4"), (2, 2)), missing)
    np.testing.assert_array_equal(floats_of("x", MASKED.astype(int), (2, 2)), missing)
    plain = floats_of("x", np.ma.masked_array([[1.0, 2.0]]), (1, 2))
    assert (type(plain), plain.tolist()) == (np.ndarray, [[1.0, 2.0]])
    with pytest.raises(ArrayError, match="x: expected an array of int64"):
        whole_of("x", MASKED.astype(int), (2, 2))
    with pytest.raises(ArrayError, match="without a mask"):
        floats_of("x", MASKED.astype(complex), (2, 2))


def test_the_estimator_takes_masked_for_missing_and_neither_text_nor_times_for_numbers():
    values = np.concatenate([rng().normal(0, 1, (30, 2)), rng().normal(5, 1, (30, 2))])
    model = GaussianHMM(n_components=2, n_iter=5, random_state=0).fit(values)
    hidden = np.arange(120).reshape(60, 2) % 7 == 0
    masked = np.ma.masked_array(np.where(hidden, 1e6, values), hidden)
    missing = np.where(hidden, np.nan, values)
    assert model.score(masked) == model.score(missing)
    np.testing.assert_array_equal(model.predict(masked), model.predict(missing))
    for odd in (values.astype(str), values.astype("S"), values.astype("M8[s]"), values.astype("m8[s]")):
        with pytest.raises(TrajHMMError, match="X: expected numbers, found"):
            model.predict(odd)
    with pytest.raises(TrajHMMError, match="tol nan: expected a number"):
        GaussianHMM(n_components=2, tol=np.nan).fit(values)
