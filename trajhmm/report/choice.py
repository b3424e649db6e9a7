"""Why so many states: the numbers of states that were tried, and the criterion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trajhmm.hmm import Model
from trajhmm.hmm.learning.selection import SelectionPoint
from trajhmm.report.tables import Cell, Column, Row, Table, fixed, whole

WIDTH, HEIGHT = 240.0, 100.0
_TITLES = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "heldout": "Log-likelihood per row of runs left out"}


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One number of states, in the units of the chart."""

    x: float
    y: float
    states: int
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The choice of the number of states: a curve of the criterion, and a table of all."""

    criterion: str
    better: str
    dots: tuple[Dot, ...]
    table: Table


def choice(model: Model) -> Choice | None:
    """What speaks for the number of states; None if only one was tried."""
    if len(model.curve) < 2:
        return None
    known = {
        point.states: float(score) for point in model.curve if (score := getattr(point, model.criterion)) is not None
    }
    low, high = min(known.values()), max(known.values())
    first, last = min(known), max(known)
    dots = tuple(
        Dot(
            x=WIDTH * (0.5 if first == last else (states - first) / (last - first)),
            y=HEIGHT * (0.5 if high == low else (high - score) / (high - low)),
            states=states,
            chosen=states == model.n_states,
        )
        for states, score in known.items()
    )
    titles = ("States", "Log-likelihood", "BIC", "AIC", "ICL", "Left out, per row", "Best reached", "Agreement")
    return Choice(
        criterion=_TITLES[model.criterion],
        better="higher" if model.criterion == "heldout" else "lower",
        dots=dots,
        table=Table(
            name="Numbers of states that were tried",
            columns=(*(Column(title=title) for title in titles), Column(title="Ended", number=False)),
            rows=tuple(Row(cells=_cells(point, chosen=point.states == model.n_states)) for point in model.curve),
        ),
    )


def _cells(point: SelectionPoint, *, chosen: bool) -> tuple[Cell, ...]:
    tried = len(point.restart_log_likelihoods)
    return (
        Cell(text=f"{point.states} (chosen)" if chosen else str(point.states), value=float(point.states)),
        whole(point.log_likelihood),
        whole(point.bic),
        whole(point.aic),
        whole(point.icl),
        fixed(point.heldout, 3),
        Cell(text=f"{point.reached_best} of {tried}", value=point.reached_best / tried if tried else math.nan),
        fixed(point.agreement),
        Cell(text=point.outcome.replace("_", " "), value=point.outcome),
    )
