"""How far a map comes back: its badge, the sentences, and what is known of each state, edge and number of states."""

from __future__ import annotations

from dataclasses import dataclass

from trajhmm.dynamics import Analysis, TrainingMap
from trajhmm.dynamics.detours.again import Refits
from trajhmm.dynamics.maps.verdict import badge_of, seeds_of
from trajhmm.dynamics.summary import describe_standing, share_of_runs
from trajhmm.hmm import Model
from trajhmm.hmm.certificate import Certificate, Halves, ResidualSummary
from trajhmm.report.tables import Bar, Cell, Column, Row, Table, fixed, state, whole, words, yes

_TONES = {True: "good", False: "bad", None: "unknown"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The badge, how it looks (``good``, ``bad`` or ``unknown``), what it rests on, and tables, where there are any."""

    badge: str
    tone: str
    sentence: str
    states: Table
    edges: Table | None
    tried: Table | None
    residuals: Table | None


def standing(training_map: TrainingMap, model: Model, analysis: Analysis | None) -> Standing:
    """Lay out how far a map comes back.

    Parameters
    ----------
    training_map, model : the map and what it was made with.
    analysis : of the same runs, which may hold refits; None without a condition of convergence.
    """
    badge = badge_of(model.certificate)
    refits = None if analysis is None else analysis.refits
    return Standing(
        badge=str(badge),
        tone=_TONES[badge.reproducible],
        sentence=describe_standing(model, analysis),
        states=_states(training_map, model.certificate, refits),
        edges=_edges(training_map, refits) if training_map.edges else None,
        tried=_tried(model.certificate) if model.certificate is not None and model.certificate.halves else None,
        residuals=_residuals(model.certificate.residuals)
        if model.certificate is not None and model.certificate.residuals is not None
        else None,
    )


def _states(training_map: TrainingMap, certificate: Certificate | None, refits: Refits | None) -> Table:
    own = None if certificate is None else certificate.at(training_map.n_states)
    of_refits = () if refits is None else ("Forks in refits", "Detour in refits")
    rows = []
    for one in training_map.states:
        recovery = None if own is None else own.recovery[one.state]
        cells = [state(one.state), _of(one.runs, len(training_map.runs)), fixed(recovery)]
        if refits is not None:
            cells += [_found(refits, int(found[one.state])) for found in (refits.forks, refits.detours)]
        rows.append(Row(cells=tuple(cells)))
    return Table(
        name="How far each state comes back",
        columns=tuple(Column(title=title) for title in ("State", "Runs, ever", "Comes back in halves", *of_refits)),
        rows=tuple(rows),
    )


def _edges(training_map: TrainingMap, refits: Refits | None) -> Table:
    n_runs = len(training_map.runs)
    rows = []
    for edge in training_map.edges:
        low, high = share_of_runs(edge.runs, n_runs)
        cells = [
            state(edge.source),
            state(edge.target),
            _of(edge.runs, n_runs),
            Cell(text=f"{low:.0%} to {high:.0%}", value=low),
            Cell(bar=Bar.on_scale((low, high), (0.0, 1.0), mark=edge.runs / n_runs)),
            whole(edge.times),
        ]
        if refits is not None:
            cells.append(_found(refits, int(refits.edges[edge.source, edge.target])))
        rows.append(Row(cells=tuple(cells)))
    return Table(
        name="Edges, and how sure their shares are",
        columns=(
            Column(title="From"),
            Column(title="To"),
            Column(title="Runs, ever"),
            Column(title="95% interval"),
            Column(title="Drawn", number=False, plain=True),
            Column(title="Times"),
            *(() if refits is None else (Column(title="In refits"),)),
        ),
        rows=tuple(rows),
    )


def _tried(certificate: Certificate) -> Table:
    outliers = any(halves.outliers for halves in certificate.halves)
    titles = ("States", "Splits", "Halves agree", "Worst state", "Seeds agree", *(("Outlier states",) * outliers))
    return Table(
        name="Numbers of states that were tried in halves",
        columns=(*(Column(title=title) for title in titles), Column(title="Comes back", number=False)),
        rows=tuple(Row(cells=_tried_cells(halves, certificate, outliers=outliers)) for halves in certificate.halves),
    )


def _tried_cells(halves: Halves, certificate: Certificate, *, outliers: bool) -> tuple[Cell, ...]:
    text = f"{halves.states} (the map)" if halves.states == certificate.states else str(halves.states)
    return (
        Cell(text=text, value=float(halves.states)),
        whole(len(halves.agreement)),
        fixed(halves.mean),
        fixed(halves.worst),
        fixed(seeds_of(halves) if halves.seeds else None),
        *((whole(halves.outliers),) if outliers else ()),
        yes(halves.agree),
    )


def _residuals(residuals: ResidualSummary) -> Table:
    titles = ("Mean", "Spread", "Autocorrelation", "95% interval", "Beyond three spreads")
    rows = []
    for one in residuals.metrics:
        beyond, memory = one.beyond.value, one.autocorrelation
        between = memory.ci_low is not None and memory.ci_high is not None
        interval = f"{fixed(memory.ci_low).text} to {fixed(memory.ci_high).text}" if between else ""
        cells = (
            words(one.metric),
            fixed(one.mean.value),
            fixed(one.sd.value),
            fixed(memory.value),
            Cell(text=interval, value=memory.ci_low) if interval else fixed(None),
            fixed(None) if beyond is None else Cell(text=f"{beyond:.1%}", value=beyond),
        )
        rows.append(Row(cells=cells))
    return Table(
        name="What the map does not expect of a row",
        columns=(Column(title="Metric", number=False), *(Column(title=title) for title in titles)),
        rows=tuple(rows),
    )


def _of(some: int, all_: int) -> Cell:
    return Cell(text=f"{some} of {all_}", value=float(some))


def _found(refits: Refits, found: int) -> Cell:
    """How many refits, and the interval of their share."""
    low, high = refits.interval(found)
    return Cell(text=f"{found} of {refits.n} ({low:.0%} to {high:.0%})", value=found / refits.n)
