"""The two-valley model has the loss, the noise and the outcome that were published."""

import sys

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from trajhmm.simulate import two_valley
from trajhmm.simulate.two_valley import descend, loss, root, slopes

PLACES = [(0.4, 5.0), (-0.3, 5.0), (0.9, 40.0), (-0.02, 12.0), (0.03, 90.0)]
# η, σ: probability of the flat valley and mean of η · freezing time, as published (arXiv 2601.10962).
PUBLISHED = {
    (0.01, 0.01): (0.500, None),
    (0.01, 0.10): (0.911, 11.4),
    (10**-1.5556, 10**-1.5556): (0.711, 4.7),
    (10**-1.3333, 10**-1.1111): (0.975, 239),
    (0.10, 0.01): (0.977, 13.2),
    (0.10, 0.10): (0.981, 1169),
}


def plain_loss(x, y):
    """The formula as it was published."""
    valley = 0.8 if x >= 0 else 0.65
    g = 2 * valley * y / (y + 30)
    f = 1 * (valley / 1) ** 2 * ((y + 20) / (y + 30)) ** 2
    return 1 * np.exp(-y / 100) + 1**2 / 1 + (x * (x - g) / f if x >= 0 else x * (x + g) / f)


@pytest.mark.parametrize("place", PLACES)
def test_the_loss_is_the_published_formula(place):
    assert loss(*place) == pytest.approx(plain_loss(*place), rel=1e-12)


@pytest.mark.parametrize("place", PLACES)
def test_gradient_and_hessian_are_those_of_finite_differences(place):
    *gradient, xx, xy, yy = slopes(*place)
    # Central differences of a function of order 1 at steps of 1e-6: errors of 1e-10.
    steps = 1e-6 * np.eye(2)
    np.testing.assert_allclose(
        gradient, [(plain_loss(*(place + s)) - plain_loss(*(place - s))) / 2e-6 for s in steps], atol=1e-8
    )
    hessian = [approx_fprime(np.array(place), lambda at, i=i: slopes(*at)[i], 1e-7) for i in (0, 1)]
    np.testing.assert_allclose([[xx, xy], [xy, yy]], hessian, atol=1e-5)


@pytest.mark.parametrize(
    "hessian", [(2.0, 0.3, 1.0), (2.0, 0.3, -1.0), (1.0, 1.0, 1.0), (0.1, -2.0, 3.0), (0.1, 2.0, 0.1), (1.0, 0.0, -1.0)]
)
def test_noise_has_the_hessian_without_its_negative_eigenvalues(hessian):
    xx, xy, yy = hessian
    values, vectors = np.linalg.eigh([[xx, xy], [xy, yy]])
    first, below, second = root(xx, xy, yy)
    factor = np.array([[first, 0], [below, second]])
    np.testing.assert_allclose(factor @ factor.T, vectors * np.maximum(values, 0) @ vectors.T, atol=1e-12)


@pytest.mark.parametrize("place", [(0.01, 5.0), (-0.2, 9.0)])
def test_a_step_scatters_around_the_gradient_by_twice_sigma_hessian(place):
    rng, eta, sigma, n = np.random.default_rng(0), 0.05, 0.02, 100_000
    ends = np.empty((n, 2))
    rows = np.empty((1, 3))
    for i, normals in enumerate(rng.standard_normal((n, 1, 2))):
        ends[i] = place
        descend(normals, eta, sigma, 1, 10, ends[i], 0, rows)
    *gradient, xx, xy, yy = slopes(*place)
    values, vectors = np.linalg.eigh([[xx, xy], [xy, yy]])
    covariance = eta**2 * 2 * sigma * (vectors * np.maximum(values, 0) @ vectors.T)
    sizes = np.sqrt(np.diag(covariance))
    # Standard errors 1/√n of the mean, √2/√n of a variance, in units of the sizes.
    assert (abs(ends.mean(axis=0) - (place - eta * np.array(gradient))) < 4 * sizes / np.sqrt(n)).all()
    np.testing.assert_array_less(abs(np.cov(ends.T) - covariance), 4 * np.sqrt(2 / n) * np.outer(sizes, sizes))


def test_without_noise_runs_end_at_the_bottom_of_the_valley_where_they_began():
    truth = two_valley(etas=[0.05], sigmas=[0.0], n_runs=2, n_steps=4000, every=4000)
    (x0, y0), (x1, y1) = truth.logs.values[[1, 3], :2]
    assert (x0, x1) == pytest.approx((0.8 * y0 / (y0 + 30), -0.65 * y1 / (y1 + 30)), rel=1e-3)
    assert min(y0, y1) > 9
    assert truth.truth_table()["valley"].tolist() == ["flat", "sharp"]
    assert truth.truth_table()["freezing_step"].tolist() == [0, 0]


def test_freezing_is_the_last_change_of_sign_at_full_resolution_whatever_is_logged():
    settings = {"etas": [0.1], "sigmas": [0.03], "n_runs": 40, "n_steps": 3000, "seed": 5}
    fine, coarse = two_valley(**settings, every=1), two_valley(**settings, every=700)
    flat = fine.logs.column("x").reshape(40, 3001) >= 0
    changes = flat[:, 1:] != flat[:, :-1]
    last = np.where(changes.any(axis=1), 3000 - np.argmax(changes[:, ::-1], axis=1), 0)
    for one in (fine, coarse):
        np.testing.assert_array_equal(one.truth_table()["freezing_step"], last)
        np.testing.assert_array_equal(one.truth_table()["valley"], np.where(flat[:, -1], "flat", "sharp"))
    assert (last > 0).sum() > 20
    np.testing.assert_array_equal(coarse.logs.steps[:5], [0, 700, 1400, 2100, 2800])
    np.testing.assert_array_equal(coarse.logs.values.reshape(40, 5, 3), fine.logs.values.reshape(40, 3001, 3)[:, ::700])
    found = [loss(x, y) for x, y, _ in coarse.logs.values]
    np.testing.assert_array_equal(coarse.logs.column("train_loss"), found)


def test_random_numbers_drawn_in_pieces_make_the_same_run(monkeypatch):
    settings = {"etas": [0.1], "sigmas": [0.1], "n_runs": 2, "n_steps": 500, "every": 7}
    whole = two_valley(**settings)
    monkeypatch.setattr(sys.modules["trajhmm.simulate.two_valley"], "_STEPS_AT_ONCE", 33)
    pieced = two_valley(**settings)
    np.testing.assert_array_equal(whole.logs.values, pieced.logs.values)
    np.testing.assert_array_equal(whole.truth["freezing_step"], pieced.truth["freezing_step"])


def test_a_learning_rate_beyond_the_edge_diverges_and_says_so():
    truth = two_valley(etas=[3.0], sigmas=[0.1], n_runs=4, n_steps=5000, every=1000).truth_table()
    assert set(truth["valley"]) == {"diverged"}


def outcome(eta, sigma, n_runs, seed):
    """Share in the flat valley, mean of η · freezing time, and the standard errors of both."""
    truth = two_valley(etas=[eta], sigmas=[sigma], n_runs=n_runs, every=20_000, seed=seed).truth_table()
    flat, times = (truth["valley"] == "flat").mean(), eta * truth["freezing_step"]
    return flat, times.mean(), np.sqrt(max(flat * (1 - flat), 1e-4) / n_runs), times.std() / np.sqrt(n_runs)


def test_a_cell_comes_out_as_published():
    flat, time, flat_error, time_error = outcome(0.1, 0.01, 300, seed=1)
    # Published from 2,000 runs, whose own error is a third of ours.
    assert flat == pytest.approx(0.977, abs=4 * flat_error)
    assert time == pytest.approx(13.2, abs=4 * time_error)
    assert time_error < 2


@pytest.mark.slow
@pytest.mark.parametrize("cell", PUBLISHED, ids=lambda cell: f"{cell[0]:.4f}, {cell[1]:.4f}")
def test_the_six_cells_come_out_as_published(cell):
    flat, time, _, _ = outcome(*cell, 2000, seed=0)
    published_flat, published_time = PUBLISHED[cell]
    assert flat == pytest.approx(published_flat, abs=0.03)
    if published_time is not None:
        assert time == pytest.approx(published_time, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"etas": [0.0]}, "etas = 0: expected numbers above 0"),
        ({"sigmas": [-0.1]}, "sigmas = -0.1: expected numbers from 0"),
        ({"every": 0}, "every = 0: expected 1 to n_steps = 20000"),
    ],
)
def test_settings_out_of_range_say_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        two_valley(**settings)
