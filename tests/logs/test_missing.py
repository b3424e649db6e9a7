"""Row by row the same is missed as in whole runs, however rows are dealt out, and a restart in between."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm.logs.assembly.blanks import _changed, missed_in_succession
from trajhmm.logs.following.missing import Missing

NAMES = ("a", "b", "c", "d", "e")
KINDS = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 0], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.integers(1, 12)), min_size=1, max_size=12),
    st.lists(st.integers(0, 100), max_size=6),
    st.integers(0, 10**6),
)
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
