"""A grid of settings: names, random numbers, and logs in pieces."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import read_logs
from trajhmm.simulate import rank_one, scalar_net, two_valley
from trajhmm.simulate.rank_one import rank_one_pieces
from trajhmm.simulate.sweep import grid, joined, logged_steps, pieces, write_pieces

SMALL = {"n_runs": 12, "n_steps": 30}


def test_runs_have_the_order_and_the_attributes_that_are_read_back(tmp_path, assert_same_logs):
    # In natural order 0.3 comes before 0.05, as 3 is before 5, and 1e-05 is after 1.
    truth = scalar_net(mus=[0.1, 1.0], learning_rates=[0.05, 0.3, 1e-5, 10.0], **SMALL)
    truth.logs.frame().to_parquet(tmp_path / "frame.parquet")
    assert_same_logs(read_logs(tmp_path / "frame.parquet"), truth.logs)
    assert len(set(truth.logs.runs)) == 2 * 4 * 12
    assert truth.truth_table()["run"].tolist() == list(truth.logs.runs)
    names = truth.logs.attributes.reset_index().groupby(["mu", "learning_rate"])["run"]
    assert names.apply(lambda some: [name[-2:] for name in some]).tolist() == [[f"{i:02d}" for i in range(12)]] * 8


def test_values_that_agree_in_four_digits_are_told_apart():
    names = [cell.name for cell in grid(eta=[0.012345, 0.0123456], sigma=[0.1])]
    assert names == ["eta_0.012345_sigma_0.1", "eta_0.0123456_sigma_0.1"]
    assert [cell.name for cell in grid(eta=[10**-1.5])] == ["eta_0.03162"]
    assert grid(eta=np.array([10**-1.5]))[0].settings == {"eta": 10**-1.5}


def test_a_run_is_the_same_whatever_is_simulated_beside_it():
    alone = rank_one(learning_rates=[0.3], n_runs=3, n_steps=20, seed=7)
    among = rank_one(learning_rates=[0.3, 0.05], n_runs=9, n_steps=40, every=2, seed=7)
    run = among.logs.select_runs(["learning_rate_0.3_seed_2"])
    np.testing.assert_array_equal(run.values[:11, 0], alone.logs.values[-21::2, 0])


@pytest.mark.parametrize("simulation", [rank_one, scalar_net, two_valley])
def test_one_seed_one_log_and_another_seed_another(simulation):
    first, again, other = (simulation(n_runs=12, n_steps=40, every=1, seed=seed).logs.values for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first[-1] != other[-1]).all()
    runs = first.reshape(-1, 41, first.shape[1])[:, -1, 0]
    assert len(set(runs)) == len(runs)


def test_pieces_together_are_the_whole(tmp_path, assert_same_logs):
    whole = rank_one(learning_rates=[1.0, 2.0], **SMALL)

    def simulate(cell, run, rng, rows):
        rows[1:, 0] = np.cumsum(np.log(abs(1 - cell.settings["learning_rate"] * rng.standard_normal(30) ** 2)))
        rows[0] = 0
        return {"of": run}

    def cut():
        return pieces(
            grid(learning_rate=[1.0, 2.0]),
            simulate,
            n_runs=12,
            steps=logged_steps(12, 30, 1),
            metrics=("log_distance",),
            seed=0,
            rows_at_once=5 * 31 + 30,
        )

    assert [piece.logs.n_runs for piece in cut()] == [5, 5, 2, 5, 5, 2]
    assert_same_logs(joined(cut()).logs, whole.logs)
    truth = write_pieces(cut(), tmp_path / "logs.parquet")
    assert_same_logs(read_logs(tmp_path / "logs.parquet"), whole.logs)
    pd.testing.assert_frame_equal(truth, pd.DataFrame({"run": list(whole.logs.runs), "of": [*range(12), *range(12)]}))


def test_a_simulation_that_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "logs.parquet"
    settings = {"learning_rates": [1.0, 2.0], **SMALL, "every": 1, "seed": 0}
    write_pieces(rank_one_pieces(**settings), path)
    old = path.read_bytes()

    def broken():
        yield from list(rank_one_pieces(**settings))[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pieces(broken(), path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["logs.parquet"]


def test_memory_does_not_grow_with_the_grid(tmp_path):
    """Only the piece at work is held: what is alive when a piece is asked for stays the same."""
    import tracemalloc

    alive = []

    def watched(n_cells):
        cells = grid(eta=list(np.linspace(1, 2, n_cells)))

        def simulate(cell, run, rng, rows):
            rows[:] = 1.0
            return {"of": run}

        steps = logged_steps(100, 1000, 1)
        for piece in pieces(cells, simulate, n_runs=100, steps=steps, metrics=("a", "b"), seed=0, rows_at_once=100_000):
            alive.append(tracemalloc.get_traced_memory()[0])
            yield piece

    tracemalloc.start()
    try:
        write_pieces(watched(6), tmp_path / "logs.parquet")
    finally:
        tracemalloc.stop()
    # A piece is 2.5 MB; the truth of 100 runs some kilobytes.
    assert alive[-1] - alive[1] < 1_000_000
