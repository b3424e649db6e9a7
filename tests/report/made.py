"""Runs with awkward names and known troubles, and what a page says, read back from its HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd

from trajhmm.dynamics import Trajectories
from trajhmm.logs import RunSet
from trajhmm.simulate import planted

EVIL = "<script>alert(1)</script>"
CONVERGED = "eval_accuracy > 0.9"


def planted_logs(n_runs=24, n_rows=100, seed=1):
    """Planted runs, the first of which has a name that is markup, the second a gap."""
    frame = planted(n_runs=n_runs, n_rows=n_rows, seed=seed).logs.frame()
    frame["run"] = frame["run"].replace("seed_00", EVIL)
    gap = (frame["run"] == "seed_01") & frame["step"].between(300, 340)
    return RunSet.from_frame(frame[~gap])


def watched_logs(n, *, seed=0, drifting=0, rows=80):
    """Healthy runs, and some that drift off from the middle on; the last of these ends in a NaN."""
    rng = np.random.default_rng(seed)
    parts = []
    for index in range(n + drifting):
        values = np.column_stack([2 * np.exp(-np.arange(rows) / 30), 5 + 0.01 * np.arange(rows)])
        values += rng.normal(0, 0.05, 2) + rng.normal(0, 0.02, (rows, 2))
        name = f"healthy {index}"
        if index >= n:
            name = EVIL if index == n else f"drifting {index}"
            values[rows // 2 :] += 0.1 * np.arange(rows - rows // 2)[:, np.newaxis]
        if drifting > 1 and index == n + drifting - 1:
            values[-1, 0] = np.nan
        frame = pd.DataFrame(values, columns=["train_loss", "weight_l2"])
        frame.insert(0, "run", name)
        frame.insert(1, "step", 10 * np.arange(rows))
        parts.append(frame)
    return RunSet.from_frame(pd.concat(parts))


def made_trajectories(runs, metrics):
    """Trajectories of runs, each a triple of steps, values and states."""
    return Trajectories(
        runs=tuple(f"run {run}" for run in range(len(runs))),
        lengths=np.array([len(steps) for steps, _, _ in runs]),
        steps=np.concatenate([steps for steps, _, _ in runs]).astype(np.int64),
        metrics=tuple(metrics),
        values=np.concatenate([np.asarray(v, dtype=float).reshape(len(s), len(metrics)) for s, v, _ in runs]),
        path=np.concatenate([path for _, _, path in runs]).astype(np.int64),
    )


class _Page(HTMLParser):
    """Tables by their captions, and all text outside styles and scripts."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.texts, self.tags = {}, [], []
        self._open, self._row, self._rows = [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in {"style", "script", "caption"}:
            self._open.append(tag)
        elif tag == "tr":
            self._row = []
        elif tag in {"td", "th"}:
            self._row.append(["", dict(attrs).get("data-value")])

    def handle_endtag(self, tag):
        if self._open and tag == self._open[-1]:
            self._open.pop()
        elif tag == "tr":
            self._rows.append(self._row)
            self._row = None

    def handle_data(self, data):
        if self._open and self._open[-1] == "caption":
            self._rows = self.tables.setdefault(data, [])
        elif not self._open:
            self.texts.append(data)
            if self._row:
                self._row[-1][0] += data.strip()


class Page:
    """What a page says."""

    def __init__(self, html):
        parsed = _Page(html)
        self.html, self.tables, self.tags = html, parsed.tables, parsed.tags
        self.words = " ".join(" ".join(parsed.texts).split())

    def column(self, table, title):
        """Texts of a column, by its title."""
        rows = self.tables[table]
        place = [text for text, _ in rows[0]].index(title)
        return [row[place][0] for row in rows[1:]]

    def values(self, table, title):
        """What a column is sorted by, as numbers; NaN where nothing is known."""
        rows = self.tables[table]
        place = [text for text, _ in rows[0]].index(title)
        return [np.nan if row[place][1] is None else float(row[place][1]) for row in rows[1:]]
