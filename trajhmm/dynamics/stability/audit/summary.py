"""An audit in plain words."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.audit import Audit
from trajhmm.dynamics.stability.audit.deviation import Deviations
from trajhmm.dynamics.stability.audit.pairing import PERTURBED
from trajhmm.dynamics.stability.audit.profile import QUANTITIES, one_fate
from trajhmm.dynamics.stability.intervals import share

_WIDTH = 100
_FORMS = {
    "collapsed": "{:.0%}",
    "recovery_steps": "{:.0f}",
    "area_ratio": "{:.2f}",
    "deviation": "{:.2f}",
    "lead_share": "{:.0%}",
}
# Share of cells from which on strength is said to decide.
_DECIDES = 0.75


def summarize(audit: Audit) -> str:
    """What was asked, the profile as a table, what strength decides, and the three claims, as text."""
    paragraphs = [
        _asked(audit),
        _strength(audit),
        _latent(audit.deviations),
        *(claim.sentence for claim in audit.claims),
    ]
    told = [textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs if paragraph]
    return "\n\n".join([told[0], _table(audit.profile), *told[1:]]) + "\n"


def _asked(audit: Audit) -> str:
    runs = audit.runs
    healthy, perturbed = runs[runs["role"] != PERTURBED], audit.runs.loc[audit.design.perturbed().index]
    buffered = len(audit.design.perturbed(buffered=True))
    more = f", {buffered} more with a buffer" if buffered else ""
    lost = f"{int(healthy['collapsed'].sum())} of {len(healthy)} healthy runs collapse by '{audit.collapse}'"
    sentences = [f"{len(perturbed)} plain runs were perturbed{more}; {lost}."]
    unmatched = int(perturbed["baseline"].isna().sum())
    if unmatched:
        sentences.append(
            f"{unmatched} have no baseline of the same {' '.join(audit.design.columns.pair_by)}, and are compared "
            "with the mean of all."
        )
    sentences.append(
        f"A run has recovered once {audit.performance} is back within {audit.mads:g} MAD of its level before the onset "
        "(at least 1% of the level each) for five rows, having left it; one that never left counts with 0 steps, one "
        "that is not back at the end of the log is censored there, and inf stands where fewer than half are back. Area "
        "is that under performance after the onset, relative to the matched baseline; deviation how far the states are "
        "from those of healthy runs (total variation), less what these are from each other; lead the share of "
        "collapses that it comes ahead of. Intervals are 95%, over runs or seeds."
    )
    return " ".join(sentences)


def _table(profile: pd.DataFrame) -> str:
    rows = [["dimension", "strength", "runs", "collapsed", "recovery, steps", "area", "deviation", "lead"]]
    for row in profile.to_dict("records"):
        strength = row["strength"]
        told = [str(row["dimension"]), strength if isinstance(strength, str) else f"{strength:g}", str(row["n_runs"])]
        for name, form in _FORMS.items():
            prefix = QUANTITIES[name]
            told.append(_told(row[name], row[f"{prefix}_low"], row[f"{prefix}_high"], form))
        rows.append(told)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _told(value: float, low: float, high: float, form: str) -> str:
    if np.isnan(value):
        return "–"
    middle, least, most = (form.format(number) for number in (value, low, high))
    return middle if np.isnan(low) else f"{middle} ({least} to {most})"


def _strength(audit: Audit) -> str:
    same, cells = one_fate(audit.profile)
    if not cells or same < _DECIDES * cells:
        return ""
    found = share(same, cells)
    return (
        f"Strength nearly decides the outcome: in {same} of {cells} cells ({found.low:.0%} to {found.high:.0%}) all "
        "runs share one fate. Whoever knows the strength nearly knows the end, so that runs say little about what else "
        "makes training collapse; strengths between the last survived and the first fatal would say more."
    )


def _latent(deviations: Deviations | str) -> str:
    if isinstance(deviations, str):
        return f"No latent path: {deviations}."
    found = share(deviations.passed, len(deviations.healthy))
    return (
        f"The latent path is that of maps of {deviations.states} states over {len(deviations.metrics)} metrics, one of "
        "either half of the baselines, filtered, and followed in runs of other seeds; one more state holds rows unlike "
        f"any healthy one. It deviates where the mean of {deviations.window} rows is above {deviations.threshold:.3f}: "
        f"{deviations.passed} of {len(deviations.healthy)} healthy runs ({found.low:.0%} to {found.high:.0%}) ever do, "
        "each under the map that it is not in."
    )
