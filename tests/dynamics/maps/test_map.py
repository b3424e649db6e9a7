"""The training map against counting by hand."""

import numpy as np
import pytest

from trajhmm.dynamics.maps.training_map import build_map
from trajhmm.features import PerRunScaler, Sequences
from trajhmm.hmm import Filtered, GaussianHMM, Model, Parameters, Smoothed
from trajhmm.hmm.certificate import Certificate

CERTIFICATE = Certificate(states=4, halves=())


@pytest.fixture
def training_map():
    path = np.array([0, 0, 1, 2, 2, 0, 2, 1, 2, 1, 2, 0, 0])
    lengths = np.array([5, 6, 2])
    steps = np.concatenate([10 * np.arange(n) for n in lengths])
    rng = np.random.default_rng(0)
    sequences = Sequences(
        runs=("a", "b", "c"),
        lengths=lengths,
        steps=steps,
        values=rng.normal(size=(13, 2)),
        metrics=("x", "y"),
        scaler=PerRunScaler(),
        rows=np.arange(13),
        diverged={},
    )
    parameters = Parameters(
        startprob=np.array([1.0, 0, 0, 0]),
        transmat=np.full((4, 4), 0.25),
        means=np.array([[0.0, 0.0], [1.0, -1.0], [3.0, 5.0], [9.0, 9.0]]),
        covars=np.ones((4, 2)),
        covariance_type="diag",
    )
    settings = GaussianHMM.from_parameters(parameters).settings
    model = Model(
        metrics=("x", "y"), scaler=PerRunScaler(), parameters=parameters, settings=settings, criterion="bic", curve=(),
        status=None, purpose="map", seed=0, n_runs=3, n_rows=13, versions={}, certificate=CERTIFICATE,
    )  # fmt: skip
    probs = np.full((13, 4), 0.25)
    filtered = Filtered(runs=sequences.runs, lengths=lengths, steps=steps, probs=probs, predictive_logpdf=np.zeros(13))
    smoothed = Smoothed(runs=sequences.runs, lengths=lengths, steps=steps, probs=probs, path=path)
    return build_map(model, sequences, filtered, smoothed)


def test_edges_are_those_that_runs_take_with_their_counts(training_map):
    edges = {(e.source, e.target): (e.runs, e.times) for e in training_map.edges}
    assert edges == {(0, 1): (1, 1), (1, 2): (2, 3), (0, 2): (1, 1), (2, 1): (1, 2)}
    assert all(e.probability == 0.25 for e in training_map.edges)


def test_states_know_their_runs_rows_and_mean_entry(training_map):
    assert [(s.runs, s.rows, s.entry_step) for s in training_map.states] == [
        (3, 5, 0.0),
        (2, 3, (20 + 20) / 2),
        (2, 5, (30 + 10) / 2),
        (0, 0, None),
    ]


def test_movement_is_the_difference_of_means_and_the_largest_importance_comes_first(training_map):
    edge = next(e for e in training_map.edges if (e.source, e.target) == (0, 2))
    assert {t.metric: t.movement for t in edge.top_metrics} == {"x": 3.0, "y": 5.0}
    for state in training_map.states:
        importances = [t.importance for t in state.top_metrics]
        assert importances == sorted(importances, reverse=True)


def test_a_map_carries_the_certificate_of_its_model(training_map):
    assert training_map.certificate is CERTIFICATE


def test_visits_say_which_runs_are_ever_where_and_from_when(training_map):
    visits = training_map.visits()
    assert visits.columns.tolist() == ["run", "state", "rows", "share", "times", "first_step", "last_step"]
    assert [tuple(row) for row in visits.itertuples(index=False)] == [
        ("a", 0, 2, 0.4, 1, 0, 10),
        ("a", 1, 1, 0.2, 1, 20, 20),
        ("a", 2, 2, 0.4, 1, 30, 40),
        ("b", 0, 1, pytest.approx(1 / 6), 1, 0, 0),
        ("b", 2, 3, 0.5, 3, 10, 50),
        ("b", 1, 2, pytest.approx(1 / 3), 2, 20, 40),
        ("c", 0, 2, 1.0, 1, 0, 10),
    ]
