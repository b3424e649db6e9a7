"""Why so many states: the numbers of states that were tried, and the criterion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trajhmm.dynamics.maps.verdict import chosen_by
from trajhmm.hmm import Model
from trajhmm.hmm.certificate import AGREEMENT, RECOVERY
from trajhmm.hmm.results import SelectionPoint
from trajhmm.report.tables import Cell, Column, Row, Table, fixed, whole

WIDTH, HEIGHT = 240.0, 100.0
_TITLES = {
    "reproducible": "Agreement of halves of the runs",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "heldout": "Log-likelihood per row of runs left out",
}


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One number of states, in the units of the chart."""

    x: float
    y: float
    states: int
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The choice of the number of states.

    Attributes
    ----------
    words : what chose it.
    criterion : title of the curve.
    dots : the curve of the criterion, over the numbers of states for which there is one.
    worst : of agreement of halves, the state that comes back worst.
    marks : what these have to reach, in units of the chart, and in words.
    table : all that is known of each number.
    """

    words: str
    criterion: str
    dots: tuple[Dot, ...]
    worst: tuple[Dot, ...]
    marks: tuple[tuple[float, str], ...]
    table: Table


def choice(model: Model) -> Choice | None:
    """What speaks for the number of states; None if only one was tried."""
    if len(model.curve) < 2:
        return None
    halved = model.criterion == "reproducible" and any(point.halves is not None for point in model.curve)
    criterion = "bic" if model.criterion == "reproducible" and not halved else model.criterion
    known = _known(model, "halves" if halved else criterion)
    worst = _known(model, "recovery") if halved else {}
    low, high = (0.0, 1.0) if halved else (min(known.values()), max(known.values()))
    titles = ("States", "Log-likelihood", "BIC", "AIC", "ICL", "Left out, per row", "Halves agree", "Worst state")
    better = "" if halved else f" ({'higher' if criterion == 'heldout' else 'lower'} is better)"
    return Choice(
        words=f"chosen by {chosen_by(model)}{better}",
        criterion=_TITLES[criterion],
        dots=_dots(known, (low, high), model.n_states),
        worst=_dots(worst, (low, high), model.n_states, among=known),
        marks=tuple((HEIGHT * (1.0 - mark), f"{mark:g}") for mark in (AGREEMENT, RECOVERY)) if halved else (),
        table=Table(
            name="Numbers of states that were tried",
            columns=(
                *(Column(title=title) for title in (*titles, "Best reached", "Agreement")),
                Column(title="Ended", number=False),
            ),
            rows=tuple(Row(cells=_cells(point, chosen=point.states == model.n_states)) for point in model.curve),
        ),
    )


def _known(model: Model, field: str) -> dict[int, float]:
    return {point.states: float(score) for point in model.curve if (score := getattr(point, field)) is not None}


def _dots(
    known: dict[int, float], scale: tuple[float, float], chosen: int, *, among: dict[int, float] | None = None
) -> tuple[Dot, ...]:
    if not known:
        return ()
    low, high = scale
    first, last = min(among or known), max(among or known)
    return tuple(
        Dot(
            x=WIDTH * (0.5 if first == last else (states - first) / (last - first)),
            y=HEIGHT * (0.5 if high == low else (high - score) / (high - low)),
            states=states,
            chosen=states == chosen,
        )
        for states, score in known.items()
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
        fixed(point.halves),
        fixed(point.recovery),
        Cell(text=f"{point.reached_best} of {tried}", value=point.reached_best / tried if tried else math.nan),
        fixed(point.agreement),
        Cell(text=point.outcome.replace("_", " "), value=point.outcome),
    )
