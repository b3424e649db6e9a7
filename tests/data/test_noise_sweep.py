"""The sweep of noise: its Hessians are those of the loss, its twins twins, and its card says what the file holds."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "data" / "noise_sweep"
RATES, SIZES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), (8, 32, 128, 512)


@pytest.fixture(scope="module")
def part():
    """A module of the set by its name; what it takes from the folder of sets goes again with it."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER.parent))
    yield importlib.import_module
    sys.path.remove(str(FOLDER.parent))
    for name in set(sys.modules) - before:
        if str(FOLDER.parent) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def network(part):
    return part("noise_sweep.network")


@pytest.fixture(scope="module")
def results(part):
    return part("noise_sweep.results")


@pytest.fixture(scope="module")
def logs():
    return pd.read_parquet(FOLDER / "runs.parquet")


# Networks and their curvature, against finite differences and dense matrices.


@pytest.fixture
def small():
    """Three networks 5 → 4 → 3 → 3 and 20 rows; the second has no hidden unit that is ever on."""
    rng = np.random.default_rng(0)
    p = {}
    for layer, (fan_in, fan_out) in enumerate([(5, 4), (4, 3), (3, 3)], start=1):
        p[f"fc{layer}.weight"] = rng.standard_normal((3, fan_out, fan_in))
        p[f"fc{layer}.bias"] = rng.standard_normal((3, fan_out))
    p["fc1.bias"][1] = -100
    p["fc2.bias"][1] = -100
    return p, rng.standard_normal((20, 5)), rng.integers(3, size=20)


def loss_of(network, p, x, y):
    return network.measure(network.activations(p, x)[-1], y)[0]


def nudged(network, p, i, by):
    flat = network._flat(p)
    flat[:, i] += by
    return network._shaped(flat, p)


def dense_hessian(network, p, x, y, nudge=1e-5):
    """(R, P, P), columns by central differences of the gradient; their error is of order nudge²."""
    columns = []
    for i in range(network._flat(p).shape[1]):
        sides = []
        for by in (nudge, -nudge):
            q = nudged(network, p, i, by)
            sides.append(network._flat(network.gradients(q, network.activations(q, x), y)))
        columns.append((sides[0] - sides[1]) / (2 * nudge))
    return np.stack(columns, axis=2)


def curvature_of(network, p, x, y):
    return network.Curvature(p=p, layers=network.activations(p, x), y=y)


def test_gradients_are_slopes_of_the_loss(network, small):
    p, x, y = small
    gradient = network._flat(network.gradients(p, network.activations(p, x), y))
    for i in range(gradient.shape[1]):
        slope = (loss_of(network, nudged(network, p, i, 1e-6), x, y)) - loss_of(
            network, nudged(network, p, i, -1e-6), x, y
        )
        np.testing.assert_allclose(gradient[:, i], slope / 2e-6, atol=1e-8)  # rounding over the nudge


def test_one_network_is_that_of_the_digits(part, network, small):
    digits = part("digits.network")
    p, x, y = small
    for i in range(3):
        one = {name: array[i].astype(np.float32) for name, array in p.items()}
        layers = digits.activations(one, x.astype(np.float32))
        stacked = network.activations(p, x)
        np.testing.assert_allclose(stacked[-1][i], layers[-1], rtol=1e-4, atol=1e-5)  # single precision
        np.testing.assert_allclose([m[i] for m in network.measure(stacked[-1], y)], digits.measure(layers[-1], y), 1e-4)
        theirs, ours = digits.gradients(one, layers, y), network.gradients(p, stacked, y)
        for name in one:
            np.testing.assert_allclose(ours[name][i], theirs[name], rtol=1e-3, atol=1e-5)


def test_hessian_times_vector_sharpness_and_trace_are_those_of_the_dense_hessian(network, small):
    p, x, y = small
    dense = dense_hessian(network, p, x, y)
    curvature = curvature_of(network, p, x, y)
    v = np.random.default_rng(1).standard_normal(network._flat(p).shape)
    product = network._flat(curvature.times(network._shaped(v, p)))
    np.testing.assert_allclose(product, np.einsum("rij,rj->ri", dense, v), atol=1e-6)  # of the differences
    np.testing.assert_allclose(curvature.trace(), np.trace(dense, axis1=1, axis2=2), atol=1e-6)
    largest = np.linalg.eigvalsh((dense + np.swapaxes(dense, 1, 2)) / 2)[:, -1]
    # As many products as parameters, and more than the dead network's Hessian has eigenvalues.
    sharpness, error = curvature.largest(40)
    np.testing.assert_allclose(sharpness, largest, atol=1e-6)
    assert (error < 1e-6).all()


def test_the_error_of_a_sharpness_bounds_how_far_it_is_off(network, small):
    p, x, y = small
    curvature = curvature_of(network, p, x, y)
    values = np.linalg.eigvalsh(dense_hessian(network, p, x, y))
    found = []
    for products in (2, 4, 8):
        sharpness, error = curvature.largest(products)
        nearest = np.abs(values - sharpness[:, np.newaxis]).min(axis=1)
        assert (nearest <= error + 1e-6).all()
        found.append(sharpness)
    assert (np.diff(found, axis=0) >= -1e-9).all()  # a larger space holds the smaller


def test_a_network_that_is_not_finite_has_no_curvature_and_leaves_the_others_theirs(network, small):
    p, x, y = small
    whole = curvature_of(network, p, x, y)
    broken = {name: array.copy() for name, array in p.items()}
    broken["fc2.weight"][0] = np.nan
    with np.errstate(all="ignore"):
        curvature = curvature_of(network, broken, x, y)
        sharpness, trace = curvature.largest(16)[0], curvature.trace()
    assert np.isnan(sharpness[0])
    assert np.isnan(trace[0])
    np.testing.assert_array_equal(sharpness[1:], whole.largest(16)[0][1:])
    np.testing.assert_array_equal(trace[1:], whole.trace()[1:])


def test_a_loss_that_is_flat_to_the_last_digit_has_a_sharpness_of_zero(network, small):
    p, x, _ = small
    sure = {**p, "fc3.bias": np.tile([0.0, 0.0, 1000.0], (3, 1))}
    sharpness, error = curvature_of(network, sure, x, np.full(20, 2)).largest(16)
    np.testing.assert_array_equal(sharpness, 0)
    np.testing.assert_array_equal(error, 0)


def test_distance_is_over_all_parameters(network):
    one = {"fc1.weight": np.zeros((2, 2, 1)), "fc1.bias": np.zeros((2, 2))}
    other = {"fc1.weight": np.array([[[1.0], [2]], [[0], [0]]]), "fc1.bias": np.array([[2.0, 4], [0, 3]])}
    np.testing.assert_array_equal(network.distance(one, other), [5, 3])


# What is made of the logs, on logs whose truth is known.


def test_where_a_limit_is_first_passed(results):
    assert results.first_below([3, 0.1, 0.2, 0.05], [0, 10, 20, 30], 0.1) == 10
    assert results.first_below([3, 2], [0, 10], 0.1) == np.inf
    assert results.first_below([np.nan, 0.1], [0, 10], 0.1) == 10


def test_curvature_at_a_loss_lies_on_the_power_law_between_neighbours(results):
    loss = np.array([2.0, 0.5, 0.02, 0.3, 0.001])
    assert results.at_loss(loss, 7 * loss**1.5, 0.1) == pytest.approx(7 * 0.1**1.5)
    assert np.isnan(results.at_loss(loss, loss, 1e-9))
    assert np.isnan(results.at_loss(loss, loss, 3.0))  # below from the first row on: where it passed is not known


def test_an_exponent_is_that_of_its_window_alone(results):
    time = np.arange(200.0)
    distance = np.exp(np.where(time < 100, 0.1 * time, 10 - 0.02 * (time - 100)))
    distance[0] = 0  # twins start together
    assert results.exponent(time, distance, (1, 99)) == pytest.approx(0.1)
    assert results.exponent(time, distance, (100, 199)) == pytest.approx(-0.02)
    assert np.isnan(results.exponent(time, np.full(200, np.nan), (1, 99)))


def test_spikes_are_counted_once_each_and_neither_slow_rises_nor_the_start(results):
    loss = np.exp(-0.01 * np.arange(200))
    assert results.spikes(loss) == 0
    assert results.spikes(loss * 1.03 ** np.arange(200)) == 0
    loss[[2, 15, 50, 51, 120]] *= 5  # at 15, it has hardly begun to learn
    assert results.spikes(loss) == 2
    assert results.spikes(loss * 1000) == 2
    steps = np.repeat([1, 1.5, 2.7], [30, 5, 1])  # to more than twice 1.25, the median of the ten rows before
    assert results.spikes(steps) == 1
    assert results.spikes(np.repeat([1, 1.5, 2.4], [30, 5, 1])) == 0


def test_an_interval_covers_the_truth_as_often_as_it_says(results):
    draws = np.random.default_rng(0).standard_normal((2000, 5))
    held = [low <= 0 <= high for _, low, high in map(results.interval, draws)]
    assert 0.935 <= np.mean(held) <= 0.965  # three standard errors


def planted(rate_power, size_power, seeds=5, spread=0.1):
    """A grid with a quantity that is a power of learning rate and batch size, a level for each seed, and noise."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "learning_rate": rate,
            "batch_size": size,
            "noise": rate / size,
            "seed": seed,
            "value": rate**rate_power * size**size_power * np.exp(seed + spread * rng.standard_normal()),
        }
        for seed in range(seeds)
        for rate in RATES
        for size in SIZES
    ]
    return pd.DataFrame(rows)


def test_powers_of_learning_rate_and_batch_size_are_found_apart(results):
    found = results.powers(planted(0.3, -0.1), "value")
    for name, truth in (("learning rate", 0.3), ("batch size", -0.1), ("their sum", 0.2)):
        middle, low, high = found[name]
        assert low < truth < high
        assert middle == pytest.approx(truth, abs=0.02)


def test_noise_is_told_from_learning_rate(results):
    """A quantity of the learning rate alone goes with noise over all cells, and not at one learning rate."""
    runs = planted(1.0, 0.0)
    overall, _, _ = results.against(runs, "value")
    assert overall > 0.5
    middle, low, high = results.against(runs, "value", within="learning_rate")
    assert low < 0 < high
    assert abs(middle) < 0.3
    assert results.against(runs, "value", within="batch_size")[0] > 0.95
    falls = planted(-0.5, 0.5, spread=0)
    assert results.against(falls, "value", within="learning_rate") == pytest.approx((-1, -1, -1))
    # A run that has none takes no other run with it.
    falls.loc[falls["noise"] > 0.01, "value"] = np.nan
    for within in (None, "learning_rate"):
        assert results.against(falls, "value", within=within) == pytest.approx((-1, -1, -1))


def test_one_quantity_is_set_against_another(results):
    runs = planted(1.0, 0.0, spread=0)
    runs["other"] = -runs["batch_size"]
    assert results.against(runs, "value", of="learning_rate") == pytest.approx((1, 1, 1))
    assert results.against(runs, "other", of="noise", within="learning_rate") == pytest.approx((1, 1, 1))
    assert abs(results.against(runs, "other", of="value")[0]) < 1e-9  # the grid is balanced


def test_ties_share_their_rank(results):
    x, y = [1, 2, 2, 4], [1, 3, 2, 4]
    assert results.rank_correlation(x, y) == pytest.approx(pd.Series(x).corr(pd.Series(y), method="spearman"))
    assert results.rank_correlation([0, 1, 2], [3, 9, np.inf]) == pytest.approx(
        1
    )  # a run that never gets there is last
    assert np.isnan(results.rank_correlation([0, 1], [2, 2]))


def test_spread_is_from_the_other_seeds_of_the_cell(results):
    runs = pd.DataFrame(
        {"learning_rate": 0.1, "batch_size": [8] * 6 + [32] * 4, "seed": [0, 0, 1, 1, 2, 2, 0, 0, 1, 1]}
    )
    runs["value"] = [1, 3, 0, 0, 6, 6, 100, 100, 101, 103]
    np.testing.assert_array_equal(results.spread(runs, "value"), [2, 0, 4, 4, 5, 5, 2, 2, 1, 3])


def pairs(effect, confounded=0.0):
    """Twins of which one spikes more; the quantity goes with that difference, and with what both twins share."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(5):
        for rate in RATES:
            for size in SIZES:
                shared = rng.integers(20)
                more = rng.choice([-2, -1, 1, 2])
                for twin in (0, 1):
                    value = effect * more * twin + confounded * shared + 0.3 * rng.standard_normal()
                    rows.append([rate, size, seed, twin, shared + 2 + more * twin, value])
    return pd.DataFrame(rows, columns=["learning_rate", "batch_size", "seed", "twin", "spikes", "value"])


def test_twins_tell_what_spikes_do_from_what_makes_them(results):
    helps = results.twins_compared(pairs(-1.0), "value")
    assert helps[0] < -0.8
    assert helps[2] < 0
    none = results.twins_compared(pairs(0.0, confounded=1.0), "value")
    assert none[1] < 0 < none[2]
    # A run that has none, and pairs of no difference, do not count.
    runs = pairs(-1.0)
    runs.loc[runs["learning_rate"] == 1.0, "value"] = np.nan
    runs.loc[runs["learning_rate"] == 0.5, ["spikes", "value"]] = [3, 50.0]
    counted = results.twins_compared(runs[runs["learning_rate"] < 0.5], "value")
    assert results.twins_compared(runs, "value") == pytest.approx(counted)


# The stored set.


def test_the_grid_is_whole_and_every_run_has_the_same_flow_time(logs):
    runs = logs.groupby("run", sort=False)
    cells = runs[["learning_rate", "batch_size", "seed", "twin"]].first()
    wanted = {(rate, size, seed, twin) for rate in RATES for size in SIZES for seed in range(5) for twin in (0, 1)}
    assert set(cells.itertuples(index=False, name=None)) == wanted
    assert len(cells) == len(wanted)
    np.testing.assert_array_equal(logs["noise"], logs["learning_rate"] / logs["batch_size"])
    assert (runs.size() == 201).all()
    np.testing.assert_allclose(runs["step"].max() * cells["learning_rate"], 200)
    curved = logs["step"] % (logs.groupby("run")["step"].transform("max") // 20) == 0
    for metric in ("sharpness", "hessian_trace"):
        np.testing.assert_array_equal(logs[metric].notna(), curved)


def test_twins_start_alike_and_their_distance_is_one_of_weights(logs):
    norms = [f"weight_l2/fc{layer}" for layer in (1, 2, 3)]
    key = ["learning_rate", "batch_size", "seed", "step"]
    one, other = (logs[logs["twin"] == twin].set_index(key).sort_index() for twin in (0, 1))
    assert one["separation"].isna().all()
    start = other.index.get_level_values("step") == 0
    np.testing.assert_array_equal(one.loc[start, norms], other.loc[start, norms])
    assert (other.loc[start, "separation"] == 0).all()
    assert (other.loc[~start, "separation"] > 0).all()
    # Triangle inequalities; five digits are stored, and biases are part of the distance alone.
    apart, rounding = other["separation"], 1e-4
    assert (np.sqrt(((one[norms] - other[norms]) ** 2).sum(axis=1)) <= apart + rounding).all()
    last = other.groupby(key[:3])["separation"].last()
    assert (last < 2 * np.sqrt((other[norms] ** 2).sum(axis=1)).groupby(level=key[:3]).last()).all()


@pytest.mark.parametrize(
    ("name", "rows_kept"), [("lr_1_batch_8_seed_3_twin_1", 21), ("lr_0.5_batch_32_seed_1_twin_0", 11)]
)
def test_some_rows_are_made_again(part, logs, name, rows_kept):
    """The first is of the least stable cell with the most noise; each alone, the stored ones trained beside others."""
    generate = part("noise_sweep.generate")

    class Rows(list):
        def log(self, step, metrics, **more):
            self.append({"step": step, **metrics, **more})

    run, rows = next(run for run in generate.RUNS if run.name == name), Rows()
    generate.train([run], 20, [rows])
    again = pd.DataFrame(rows)
    kept = logs[logs["run"] == name].head(rows_kept).reset_index(drop=True)
    assert len(again) == rows_kept
    # 2⁻¹⁷ by rounding what is stored; the rest for other processors, whose rounding this cell blows up.
    np.testing.assert_allclose(again, kept[again.columns], rtol=1e-4, atol=1e-6)


@pytest.mark.once
def test_the_card_says_what_the_file_holds(results, logs):
    card = (FOLDER / "README.md").read_text().splitlines()
    lines = results.lines(logs)
    assert len(lines) > 24
    missing = [line for line in lines if line not in card]
    assert not missing


def test_what_the_card_says_in_words_is_so(results, logs):
    card = " ".join((FOLDER / "README.md").read_text().split())
    runs = results.summaries(logs)
    spiking = runs["spikes"] > 0
    cells = runs[spiking][["learning_rate", "batch_size"]].drop_duplicates()
    assert f"{(~runs['trained']).sum()} of 240 runs end with a train loss above 0.1" in card
    assert f"seen in {spiking.sum()} of 240 runs and {len(cells)} of 24 cells" in card
    assert f"none of them below a noise of {runs['noise'][spiking].min():.2g}" in card
    assert f"end between {runs['accuracy'].min():.3f} and {runs['accuracy'].max():.3f}" in card
    assert np.isfinite(logs.drop(columns=["run", *logs.columns[logs.isna().any()]])).all(axis=None)
    late = [results.interval(some["late"].dropna()) for _, some in runs.groupby(["learning_rate", "batch_size"])]
    assert f"late intervals are above 0 in {sum(low > 0 for _, low, _ in late)} cells" in card
    assert (runs[["early", "late"]].dropna() > 0).all(axis=None)
