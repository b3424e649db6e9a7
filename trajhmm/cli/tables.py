"""``trajhmm table``; a further kind is one function and one line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.asked import Asked, Converged, OptionalLogs, kind_of
from trajhmm.cli.options import DetourRule, ModelFile, Reading, Rename, Rule, RunBy, Seed, Step, Where
from trajhmm.cli.terminal import say
from trajhmm.cli.typeset import Column, Estimate, P, as_csv, as_latex
from trajhmm.errors import TrajHMMError

if TYPE_CHECKING:
    from trajhmm.dynamics import MetricImportance


def _states(asked: Asked) -> list[Column]:
    training_map = asked.result.map
    states = training_map.states
    columns = [
        Column("state", "State", [state.state for state in states]),
        Column("runs", "Runs", [state.runs for state in states]),
        Column("rows", "Rows", [state.rows for state in states]),
        Column("entry_step", "Entered at step", [state.entry_step for state in states]),
        Column("top_metrics", "Metrics that speak most for it (mean)", [_with_means(s.top_metrics) for s in states]),
    ]
    if asked.converged is not None:
        columns.append(Column("is_detour", "Detour", [state.state in training_map.detours for state in states]))
    return columns


def _edges(asked: Asked) -> list[Column]:
    edges = asked.result.map.edges
    return [
        Column("source", "From", [edge.source for edge in edges]),
        Column("target", "To", [edge.target for edge in edges]),
        Column("runs", "Runs", [edge.runs for edge in edges]),
        Column("times", "Times", [edge.times for edge in edges]),
        Column("probability", "Probability", [edge.probability for edge in edges]),
        Column("top_metrics", "Top metrics", [_with_arrows(edge.top_metrics) for edge in edges]),
    ]


def _detours(asked: Asked) -> list[Column]:
    evidence = asked.analysis.evidence_by_state
    delays = [None if (d := e.delay) is None else Estimate(d.effect, d.ci_low, d.ci_high) for e in evidence]
    ratios = [None if (h := e.hazard_ratio) is None else Estimate(h.ratio, h.ci_low, h.ci_high) for e in evidence]
    return [
        Column("state", "State", [e.state for e in evidence]),
        Column("runs_with", "Runs with", [e.runs_with for e in evidence]),
        Column("runs_without", "without", [e.runs_without for e in evidence]),
        Column("delay", "Delay in steps (95%)", delays),
        Column("p_value", "p", [e.p_value and P(e.p_value) for e in evidence]),
        Column("p_adjusted", "p (Holm)", [e.p_adjusted and P(e.p_adjusted) for e in evidence]),
        Column("hazard_ratio", "Hazard ratio (95%)", ratios),
        Column("coefficient", "Coefficient", [e.coefficient for e in evidence]),
        Column("is_detour", "Detour", [e.state in asked.analysis.map.detours for e in evidence]),
    ]


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
        Column("chosen", "Chosen", [point.states == model.n_states for point in points]),
    ]
    return [column for column in columns if any(cell is not None for cell in column.cells)]


KINDS: dict[str, Callable[[Asked], list[Column]]] = {
    "states": _states,
    "edges": _edges,
    "detours": _detours,
    "regression": _regression,
    "selection": _selection,
}


def table(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.", callback=kind_of(KINDS), show_default=False)
    ],
    model: ModelFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="TABLE", help="A .tex (booktabs) or a .csv to write.")
    ],
    logs: OptionalLogs = None,
    converged: Converged = None,
    rule: Rule = DetourRule.STRICT,
    seed: Seed = 0,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
) -> None:
    """Write one table, for print or in full. All but selection need logs; detours and regression --converged as well.

    Example: trajhmm table detours logs/ --model model.json --converged 'eval_accuracy > 0.9' -o detours.tex
    """
    from trajhmm.files import write_text

    formats = {".tex": as_latex, ".csv": as_csv}
    if output.suffix.lower() not in formats:
        raise TrajHMMError(f"{output}: expected a name that ends in .tex or .csv, found {output.name!r}")
    asked = Asked(
        what=f"table {kind}",
        model_file=model,
        logs=logs or [],
        reading=Reading(run_by=run_by, rename=rename, where=where, step=step),
        converged=converged,
        rule=rule,
        seed=seed,
    )
    write_text(output, formats[output.suffix.lower()](KINDS[kind](asked)))
    say(f"{output}: written")


def _with_means(top: Sequence[MetricImportance]) -> str:
    return ", ".join(f"{t.metric} ({t.movement:+.2f})" for t in top).replace("(-", "(−")


def _with_arrows(top: Sequence[MetricImportance]) -> str:
    return ", ".join(f"{t.metric} {'↑' if t.movement > 0 else '↓'}" for t in top)
