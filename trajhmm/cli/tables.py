"""``trajhmm table``; a further kind is one function and one line in `KINDS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.asked import Asked, Converged, OptionalLogs, collect_seldom, kind_of
from trajhmm.cli.options.common import (
    DetourRule,
    NoCache,
    OptionalModel,
    Reading,
    Refits,
    Rename,
    Rule,
    RunBy,
    Seed,
    Step,
    TableName,
    Where,
    Within,
    cache_of,
)
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import ANY
from trajhmm.cli.output.terminal import say
from trajhmm.cli.output.typeset import Column, Estimate, P, as_csv, as_latex
from trajhmm.errors import TrajHMMError

if TYPE_CHECKING:
    import pandas as pd

    from trajhmm.dynamics import MetricImportance
    from trajhmm.dynamics.detours.again import Refits as RefitsOf


def _states(asked: Asked) -> list[Column]:
    training_map, refits = asked.result.map, _refits(asked)
    states, certificate = training_map.states, training_map.certificate
    own = None if certificate is None else certificate.at(training_map.n_states)
    columns = [
        Column("state", "State", [state.state for state in states]),
        Column("runs", "Runs, ever", [state.runs for state in states]),
        Column("rows", "Rows", [state.rows for state in states]),
        Column("entry_step", "Entered at step", [state.entry_step for state in states]),
        Column("top_metrics", "Metrics that speak most for it (mean)", [_with_means(s.top_metrics) for s in states]),
    ]
    if own is not None:
        columns.append(Column("recovery", "Comes back in halves", [own.recovery[state.state] for state in states]))
    if refits is not None:
        columns.append(
            Column("forks_found", "Forks in refits", [float(refits.forks[s.state] / refits.n) for s in states])
        )
    if asked.converged is not None:
        columns.append(Column("is_detour", "Detour", [state.state in training_map.detours for state in states]))
    return columns


def _edges(asked: Asked) -> list[Column]:
    from trajhmm.dynamics.summary import share_of_runs

    training_map, refits = asked.result.map, _refits(asked)
    edges, n_runs = training_map.edges, len(training_map.runs)
    columns = [
        Column("source", "From", [edge.source for edge in edges]),
        Column("target", "To", [edge.target for edge in edges]),
        Column("runs", "Runs, ever", [edge.runs for edge in edges]),
        Column(
            "share",
            "Share of runs (95%)",
            [Estimate(edge.runs / n_runs, *share_of_runs(edge.runs, n_runs)) for edge in edges],
        ),
        Column("times", "Times", [edge.times for edge in edges]),
        Column("probability", "Probability", [edge.probability for edge in edges]),
        Column("top_metrics", "Top metrics", [_with_arrows(edge.top_metrics) for edge in edges]),
    ]
    if refits is not None:
        found = [float(refits.edges[edge.source, edge.target] / refits.n) for edge in edges]
        columns.append(Column("found", "Found in refits", found))
    return columns


def _refits(asked: Asked) -> RefitsOf | None:
    return None if asked.converged is None else asked.analysis.refits


def _detours(asked: Asked) -> list[Column]:
    evidence = asked.analysis.evidence_by_state
    delays = [None if (d := e.delay) is None else Estimate(d.effect, d.ci_low, d.ci_high) for e in evidence]
    ratios = [None if (h := e.hazard_ratio) is None else Estimate(h.ratio, h.ci_low, h.ci_high) for e in evidence]
    shares = [None if (s := e.survival) is None else Estimate(s.share, *s.interval) for e in evidence]
    columns = [
        Column("state", "State", [e.state for e in evidence]),
        Column("runs_with", "Runs with, before convergence", [e.runs_with for e in evidence]),
        Column("runs_without", "without", [e.runs_without for e in evidence]),
        Column("delay", "Delay in steps (95%)", delays),
        Column(
            "is_lower_bound", "Lower bound", [None if e.delay is None else e.delay.is_lower_bound for e in evidence]
        ),
        Column("p_value", "p", [e.p_value and P(e.p_value) for e in evidence]),
        Column("p_adjusted", "p (Holm)", [e.p_adjusted and P(e.p_adjusted) for e in evidence]),
        Column("hazard_ratio", "Hazard ratio (95%)", ratios),
        Column("coefficient", "Coefficient", [e.coefficient for e in evidence]),
        Column("found", "Found in refits (95%)", shares),
        Column("is_detour", "Detour", [e.state in asked.analysis.map.detours for e in evidence]),
        Column("confounded_by", "Goes with", ["; ".join(a.describe() for a in e.confounded_by) for e in evidence]),
    ]
    return [column for column in columns if column.name not in ("found", "confounded_by") or any(column.cells)]


def _regression(asked: Asked) -> list[Column]:
    regression = asked.analysis.regression
    quantities = {
        "R²": regression.r2,
        "R², run left out": regression.loro_r2,
        "p of the F test": regression.f_p_value and P(regression.f_p_value),
        "p by permutation": regression.permutation_p and P(regression.permutation_p),
        "converged runs": regression.n_runs,
        **{f"coefficient of state {k}": float(value) for k, value in enumerate(regression.coefficients)},
    }
    return [Column("quantity", "Quantity", list(quantities)), Column("value", "Value", list(quantities.values()))]


def _selection(asked: Asked) -> list[Column]:
    points, model = asked.model.curve, asked.model
    columns = [
        Column("states", "K", [point.states for point in points]),
        Column("n_parameters", "Parameters", [point.n_parameters for point in points]),
        Column("log_likelihood", "Log-likelihood", [point.log_likelihood for point in points]),
        Column("bic", "BIC", [point.bic for point in points]),
        Column("aic", "AIC", [point.aic for point in points]),
        Column("icl", "ICL", [point.icl for point in points]),
        Column("heldout", "Held out, per row", [point.heldout for point in points]),
        Column("heldout_se", "its standard error", [point.heldout_se for point in points]),
        Column("outcome", "EM", [point.outcome.replace("_", " ") for point in points]),
        Column("agreement", "Agreement of restarts", [point.agreement for point in points]),
        Column("halves", "Agreement of halves", [point.halves for point in points]),
        Column("recovery", "Worst state", [point.recovery for point in points]),
        Column("chosen", "Chosen", [point.states == model.n_states for point in points]),
    ]
    return [column for column in columns if any(cell is not None for cell in column.cells)]


def _stability(asked: Asked) -> list[Column]:
    from trajhmm.dynamics.stability.audit.profile import QUANTITIES

    profile = asked.finished("profile.csv", "audit")
    return [
        Column("dimension", "Dimension", profile["dimension"].tolist()),
        Column("strength", "Strength", profile["strength"].tolist()),
        Column("n_runs", "Runs", _whole(profile["n_runs"])),
        *(
            Column(one.column, one.title, _estimates(profile, one.column, one.low, one.high))
            for one in QUANTITIES.values()
        ),
    ]


def _lyapunov(asked: Asked) -> list[Column]:
    from trajhmm.dynamics.stability.exponents.tables import LYAPUNOV_COLUMNS

    found = asked.finished("lyapunov.csv", "stability")
    by = [name for name in found.columns if name not in LYAPUNOV_COLUMNS]
    return [
        *(Column(str(name), str(name).replace("_", " "), found[name].tolist()) for name in by),
        Column("quantity", "Distance", found["quantity"].tolist()),
        Column("exponent", "Exponent a step (95%)", _estimates(found, "exponent", "ci_low", "ci_high")),
        Column("n_runs", "Runs", _whole(found["n_runs"])),
        Column("l2_stable", "Stable in L2", _known(found["l2_stable"])),
        Column("probability_stable", "Stable in probability", _known(found["probability_stable"])),
    ]


def _estimates(found: pd.DataFrame, value: str, low: str, high: str) -> list[Estimate | None]:
    rows = found[[value, low, high]].astype(float).itertuples(index=False, name=None)
    return [None if math.isnan(row[0]) else Estimate(*row) for row in rows]


def _whole(numbers: pd.Series) -> list[int | None]:
    return [int(number) if math.isfinite(number) else None for number in numbers]


def _known(cells: pd.Series) -> list[bool | None]:
    return [None if lacks else bool(cell) for cell, lacks in zip(cells, cells.isna(), strict=True)]


KINDS: dict[str, Callable[[Asked], list[Column]]] = {
    "states": _states,
    "edges": _edges,
    "detours": _detours,
    "regression": _regression,
    "selection": _selection,
    "stability": _stability,
    "lyapunov": _lyapunov,
}
# Kinds that show what comes back in refits.
_OF_REFITS = ("states", "edges", "detours")


_OF_MAPS = ("states", "edges", "detours", "regression")
# Options that not all kinds take.
OPTIONS = {
    "model": For((*_OF_MAPS, "selection")),
    "converged": For(_OF_MAPS),
    "rule": For(("states", "detours"), beside="converged"),
    "within": For(_OF_REFITS, beside="converged"),
    "refits": For(_OF_REFITS, beside="converged"),
    "seed": For(_OF_MAPS, beside="converged"),
    **dict.fromkeys(("run_by", "rename", "where", "step", "table", "no_cache"), For(_OF_MAPS)),
}


@options_of_kinds(OPTIONS)
def table(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.", callback=kind_of(KINDS), show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="TABLE", help="A .tex (booktabs) or a .csv to write."), ANY
    ],
    logs: OptionalLogs = None,
    model: OptionalModel = None,
    converged: Converged = None,
    rule: Rule = DetourRule.STRICT,
    within: Within = None,
    refits: Refits = 20,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
    no_cache: NoCache = False,
) -> None:
    """Write one table, for print or in full. All but selection need logs; detours and regression --converged as well.

    Stability takes the folder that 'trajhmm audit' wrote, lyapunov that of 'trajhmm stability'; these need no model.

    Example: trajhmm table detours logs/ --model model.json --converged 'eval_accuracy > 0.9' -o detours.tex
    """
    collect_seldom()
    from trajhmm.files import write_text

    formats = {".tex": as_latex, ".csv": as_csv}
    if output.suffix.lower() not in formats:
        raise TrajHMMError(f"{output}: expected a name that ends in .tex or .csv, found {output.name!r}")
    asked = Asked(
        what=f"table {kind}",
        model_file=model,
        logs=logs or [],
        reading=Reading(run_by=run_by, rename=rename, where=where, step=step, table=table),
        converged=converged,
        rule=rule,
        within=within,
        refits=refits if kind in _OF_REFITS else 0,
        seed=seed,
        cache=cache_of(no_cache=no_cache),
    )
    write_text(output, formats[output.suffix.lower()](KINDS[kind](asked)))
    say(f"{output}: written")


def _with_means(top: Sequence[MetricImportance]) -> str:
    return ", ".join(f"{t.metric} ({t.movement:+.2f})" for t in top).replace("(-", "(−")


def _with_arrows(top: Sequence[MetricImportance]) -> str:
    return ", ".join(f"{t.metric} {'↑' if t.movement > 0 else '↓'}" for t in top)
