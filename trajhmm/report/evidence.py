"""What an analysis found, as tables: states weighed as detours, convergence, regression."""

from __future__ import annotations

from dataclasses import dataclass

from trajhmm.dynamics import Analysis
from trajhmm.dynamics.detours.delays import Delay
from trajhmm.dynamics.detours.evidence import StateEvidence
from trajhmm.dynamics.summary import Findings, findings
from trajhmm.hmm import Model
from trajhmm.report.drawings import visits
from trajhmm.report.tables import (
    MISSING,
    Bar,
    Cell,
    Column,
    Row,
    Table,
    fixed,
    number,
    share,
    state,
    whole,
    words,
    yes,
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Sentences, and the numbers behind them."""

    sentences: Findings
    rule: str
    confounded: bool
    detours: Table
    convergence: Table
    regression: Table
    prefix: Table | None


def evidence(analysis: Analysis, model: Model) -> Evidence:
    """Lay out what an analysis found."""
    return Evidence(
        sentences=findings(analysis, model),
        rule=analysis.rule,
        confounded=_confounded(analysis),
        detours=_detours(analysis),
        convergence=_convergence(analysis),
        regression=_regression(analysis),
        prefix=_prefix(analysis) if analysis.prefix else None,
    )


def _detours(analysis: Analysis) -> Table:
    found = analysis.evidence_by_state
    delays = [e.delay for e in found if e.delay is not None]
    scale = (
        min([0.0, *(delay.ci_low for delay in delays)]),
        max([0.0, *(delay.ci_high for delay in delays)]),
    )
    titles = ("With, before convergence", "Without", "Compared", "Delay", "95% interval")
    return Table(
        name="States weighed as detours",
        columns=(
            Column(title="State"),
            Column(title="Detour", number=False),
            *(Column(title=title) for title in titles),
            Column(title="Drawn", number=False, plain=True),
            *(Column(title=title) for title in ("p", "p, Holm", "Coefficient", "Refits")),
            Column(title="Published rule", number=False),
            *((Column(title="Goes with", number=False),) if _confounded(analysis) else ()),
        ),
        rows=tuple(Row(cells=_weighed(e, analysis, scale)) for e in found),
    )


def _weighed(e: StateEvidence, analysis: Analysis, scale: tuple[float, float]) -> tuple[Cell, ...]:
    interval, drawn = Cell(text=MISSING), Cell(text=MISSING)
    if e.delay is not None:
        low, high = whole(e.delay.ci_low), whole(e.delay.ci_high)
        interval = Cell(text=f"{low.text} to {high.text}", value=low.value)
        drawn = Cell(bar=Bar.on_scale((e.delay.ci_low, e.delay.ci_high), scale, mark=e.delay.effect))
    survival = e.survival
    return (
        state(e.state),
        yes(e.state in analysis.map.detours),
        whole(e.runs_with),
        whole(e.runs_without),
        Cell(text=f"{e.comparable_with} with {e.comparable_without}", value=float(e.comparable_with)),
        _delay(e.delay),
        interval,
        drawn,
        number(e.p_value),
        number(e.p_adjusted),
        number(e.coefficient),
        Cell(text=MISSING)
        if survival is None
        else Cell(text=f"{survival.found} of {survival.refits}", value=survival.share),
        yes(e.is_paper),
        *((_goes_with(e),) if _confounded(analysis) else ()),
    )


def _confounded(analysis: Analysis) -> bool:
    return any(e.confounded_by for e in analysis.evidence_by_state)


def _goes_with(e: StateEvidence) -> Cell:
    """Attributes that visiting depends on."""
    found = "; ".join(association.describe() for association in e.confounded_by)
    return words(found) if found else Cell(text=MISSING)


def _delay(delay: Delay | None) -> Cell:
    """In steps; what is only known to be no less, as some runs never converge, says so."""
    effect = whole(None if delay is None else delay.effect)
    if delay is not None and delay.is_lower_bound:
        return Cell(text=f"at least {effect.text}", value=effect.value)
    return effect


def _convergence(analysis: Analysis) -> Table:
    times, offsets = analysis.convergence_times, analysis.smoothed.lengths.cumsum()
    rows = []
    for run, (name, step, converged, bag) in enumerate(
        zip(times.runs, times.steps.tolist(), times.converged.tolist(), analysis.bags.tolist(), strict=True)
    ):
        path = analysis.map.path[offsets[run] - analysis.smoothed.lengths[run] : offsets[run]]
        cells = (words(name), whole(step), yes(converged), *map(share, bag))
        rows.append(Row(cells=cells, visits=visits(path)))
    return Table(
        name="Convergence, and the share of rows in each state",
        columns=(
            Column(title="Run", number=False),
            Column(title="Step"),
            Column(title="Converged", number=False),
            *(Column(title=f"In {k}") for k in range(analysis.map.n_states)),
        ),
        rows=tuple(rows),
    )


def _regression(analysis: Analysis) -> Table:
    r = analysis.regression
    lines: tuple[tuple[str, Cell, Cell], ...] = (
        ("Runs", whole(r.n_runs), whole(r.paper.n_runs)),
        ("R²", fixed(r.r2, 3), fixed(r.paper.r2, 3)),
        ("R², leave one run out", fixed(r.loro_r2, 3), Cell(text=MISSING)),
        ("p, F test", number(r.f_p_value), number(r.paper.f_p_value)),
        ("p, permutations", number(r.permutation_p), Cell(text=MISSING)),
    )
    return Table(
        name="Regression of convergence on the share of rows in each state",
        columns=(
            Column(title="Quantity", number=False),
            Column(title="Converged runs"),
            Column(title="All runs, as published"),
        ),
        rows=tuple(Row(cells=(words(name), ours, paper)) for name, ours, paper in lines),
    )


def _prefix(analysis: Analysis) -> Table:
    titles = ("Rows seen", "Step", "Runs to go", "R² from states", "R² from step", "R² from loss")
    return Table(
        name="What the first rows say of the time still to convergence",
        columns=tuple(Column(title=title) for title in titles),
        rows=tuple(
            Row(
                cells=(
                    whole(point.rows),
                    whole(point.step),
                    whole(point.n_runs),
                    fixed(point.r2_states),
                    fixed(point.r2_step),
                    fixed(point.r2_loss),
                )
            )
            for point in analysis.prefix
        ),
    )
