"""What an object says of itself in a session or a notebook: what it is, in a line or a table, whatever it holds."""

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.simulate import planted


@pytest.fixture(scope="module")
def shown():
    runs = planted(n_runs=12, n_rows=60, seed=1).logs
    model = th.fit(runs, states=3, halves=0, seed=0)
    return runs, model, th.analyze(runs, model, converged="eval_accuracy > 0.9", refits=0, prefix=False)


def test_each_is_a_line(shown):
    runs, model, analysis = shown
    assert repr(runs).startswith("RunSet(12 runs, 720 rows, 15 metrics: weight_l1, ")
    assert repr(runs).endswith(", bias_mean, bias_median and 3 more)") or " and " in repr(runs)
    assert repr(model).startswith("Model(3 states of weight_l1, ")
    assert "fitted to 12 runs, 720 rows" in repr(model)
    assert repr(model.decode(runs)) == "Smoothed(12 runs, 720 rows, 3 states)"
    assert repr(model.filter(runs)) == "Filtered(12 runs, 720 rows, 3 states)"
    assert repr(analysis).startswith("Analysis(12 runs, ")
    for one in shown:
        assert len(repr(one)) < 400
        assert "\n" not in repr(one)


def test_notebooks_show_tables_without_markup_of_strangers():
    frame = pd.DataFrame(
        {"run": ["<b>a</b>"] * 9 + ["b"] * 9, "step": [*range(9)] * 2, "<i>loss</i>": np.arange(18) % 5 / 7}
    )
    runs = th.read_logs(frame)
    model = th.fit(runs, states=2, halves=0, seed=0)
    for one in (runs, model):
        page = one._repr_html_()
        assert "<table" in page
        assert "<b>" not in page
        assert "<i>" not in page
        assert "&lt;i&gt;loss" in page


def test_a_set_of_runs_is_asked_like_a_mapping(shown):
    runs = shown[0]
    name = runs.runs[3]
    one = runs[name]
    assert (len(runs), len(one), list(one), list(runs)) == (12, 1, [name], list(runs.runs))
    assert name in runs
    assert "seed" not in runs
    np.testing.assert_array_equal(one.values, runs.values[180:240])
    with pytest.raises(KeyError, match=rf"no run '{name}x'; did you mean '{name}'"):
        runs[f"{name}x"]


def test_posteriors_are_frames_as_the_states_file_has_them(shown):
    runs, model, _ = shown
    smoothed, filtered = model.decode(runs), model.filter(runs)
    frame = smoothed.frame()
    assert list(frame.columns) == ["run", "step", "state", "probability", "p_0", "p_1", "p_2"]
    np.testing.assert_array_equal(frame["state"], smoothed.path)
    np.testing.assert_array_equal(frame[["p_0", "p_1", "p_2"]], smoothed.probs)
    np.testing.assert_array_equal(filtered.frame()["probability"], filtered.probs.max(axis=1))
    assert frame["run"].tolist() == np.repeat(runs.runs, runs.lengths).tolist()


def test_an_analysis_sums_itself_up(shown):
    _, model, analysis = shown
    from trajhmm.dynamics.summary import summarize

    assert analysis.summary() == summarize(analysis, model)
    assert "12 runs" in analysis.summary()
