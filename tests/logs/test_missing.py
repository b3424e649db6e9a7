"""Row by row the same is missed as in whole runs, however rows are dealt out, and a restart in between."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm.logs.assembly import blanks
from trajhmm.logs.assembly.blanks import _changed, missed_in_succession
from trajhmm.logs.following import missing
from trajhmm.logs.following.missing import Missing

NAMES = ("a", "b", "c", "d", "e")
KINDS = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.integers(1, 12)), min_size=1, max_size=12),
    st.lists(st.integers(0, 100), max_size=6),
    st.integers(0, 10**6),
)
@pytest.mark.once
def test_row_by_row_as_in_whole_runs(stretches, cuts, seed):
    rng = np.random.default_rng(seed)
    present = np.repeat(KINDS[[kind for kind, _ in stretches]], [n for _, n in stretches], axis=0).astype(bool)
    present ^= rng.random(present.shape) < 0.03
    values = np.where(present, rng.integers(0, 3, present.shape) * np.array([1, 1, 1, 0, 1]), np.nan)
    values[(rng.random(present.shape) < 0.05) & present] = np.inf
    expected = missed_in_succession(present, _changed(values))
    known, found = Missing(NAMES[:3]), []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(present)], strict=True):
        # Columns come as the rows of a file hold them, those that nothing stands in may lack.
        rows = slice(begin, end)
        held = [e for e in range(5) if present[rows, e].any() or e < 2]
        names = [NAMES[e] for e in held]
        tentative = known.copy().take(names, values[rows][:, held], present[rows][:, held])
        found.append(known.take(names, values[rows][:, held], present[rows][:, held]))
        np.testing.assert_array_equal(found[-1], tentative)
        known = Missing.of(NAMES[:3], json.loads(json.dumps(known.to_dict())))
    np.testing.assert_array_equal(np.concatenate(found), expected[:, :3])


def missed_live(present, values, rng):
    """What is missed of a run of which rows come by and by, and columns as they begin."""
    n, d = present.shape
    names = [f"m{place}" for place in range(d)]
    known, found, begin = Missing(names[:3]), [], 0
    while begin < n:
        end = min(n, begin + int(rng.integers(1, 9)))
        held = [place for place in range(d) if place < 3 or present[begin:end, place].any()]
        rows = slice(begin, end)
        found.append(known.take([names[place] for place in held], values[rows][:, held], present[rows][:, held]))
        known = Missing.of(names[:3], json.loads(json.dumps(known.to_dict())))
        begin = end
    return np.concatenate(found)


@pytest.mark.parametrize("kinds", [2, 5, 128])
@pytest.mark.once
def test_where_columns_stand_in_hundreds_of_ways_live_judges_as_a_batch(kinds, monkeypatch):
    """A batch judged nothing of the whole run; live never stopped."""
    for module in (blanks, missing):
        monkeypatch.setattr(module, "MOST_KINDS", kinds)
    judged = 0
    for seed in range(2 if kinds == 128 else 20):
        rng = np.random.default_rng(seed)
        n, d = 60, 3 * kinds + 4
        present = np.ones((n, d), dtype=bool)
        present[20:, 0] = False
        for place in range(3, d):
            present[rng.integers(12, n, rng.integers(0, 3)), place] = False
            present[: rng.integers(0, 2) * rng.integers(0, n), place] = False
        values = np.where(present, rng.normal(size=present.shape), np.nan)
        expected = missed_in_succession(present, _changed(values))
        few = blanks.rows_of_few_kinds(present)
        judged += 22 < few < n
        np.testing.assert_array_equal(expected[few:], 0)
        np.testing.assert_array_equal(missed_live(present, values, rng), expected[:, :3])
        some = missed_in_succession(present[:few], _changed(values)[:few])
        np.testing.assert_array_equal(expected[:few], some)
    assert judged or kinds == 2


def test_a_loss_that_turns_blank_before_columns_stand_in_hundreds_of_ways_is_missed_all_the_same():
    present = np.ones((400, 200), dtype=bool)
    present[30:, 0] = False
    present[100 + np.arange(199), 1 + np.arange(199)] = False
    values = np.where(present, np.random.default_rng(0).normal(size=present.shape), np.nan)
    missed = missed_in_succession(present, _changed(values))[:, 0]
    assert missed[30:35].tolist() == [1, 2, 3, 4, 5]
    assert missed[100:220].all()
    assert not missed[240:].any()
