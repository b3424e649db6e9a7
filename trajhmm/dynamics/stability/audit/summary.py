"""An audit in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from trajhmm.dynamics.stability.audit.audit import Audit
from trajhmm.dynamics.stability.audit.deviation import Deviations
from trajhmm.dynamics.stability.audit.profile import QUANTITIES, one_fate
from trajhmm.dynamics.stability.intervals import share
from trajhmm.naming import listed, shown

_WIDTH = 100
# Share of cells from which on strength is said to decide.
_DECIDES = 0.75


def summarize(audit: Audit) -> str:
    """What was asked, the profile as a table, what is odd, what strength decides, and the three claims, as text."""
    paragraphs = [
        _asked(audit),
        " ".join(remarks(audit)),
        _strength(audit),
        _latent(audit.deviations),
        *(claim.sentence for claim in audit.claims),
    ]
    told = [textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs if paragraph]
    return "\n\n".join([told[0], _table(audit.profile), *told[1:]]) + "\n"


def _asked(audit: Audit) -> str:
    runs = audit.runs
    healthy, perturbed = runs.loc[audit.design.healthy().index], runs.loc[audit.design.perturbed().index]
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


def remarks(audit: Audit) -> list[str]:
    """What is odd about the runs, and what that does to the rest; none where nothing is."""
    runs, design = audit.runs, audit.design
    healthy = runs.loc[design.healthy().index]
    lost = healthy.index[healthy["collapsed"].astype(bool)]
    beside = runs["final_baseline"].dropna()
    found = [
        _remark(
            "Healthy runs that collapse themselves",
            f"{len(lost)} of {len(healthy)}",
            lost,
            "The map, its threshold, and areas and final performances relative to these runs are no measure of health "
            "then; leave them out with --where, or see whether --collapse says what it should.",
        ),
        _remark(
            "Perturbed runs that log nothing of the collapse after their onset",
            f"{len(design.unseen())}",
            design.unseen().index,
            "They have neither collapsed nor survived, and count nowhere.",
        ),
        _remark(
            f"Runs without {' or '.join(design.columns.pair_by)}",
            f"{len(design.unpaired())} of {len(runs)}",
            design.unpaired().index,
            "Each counts as one of its own, and is matched and paired with none.",
        ),
        _remark(
            f"Runs that never log {audit.performance}",
            f"{len(audit.silent)} of {len(runs)}",
            audit.silent,
            "They have no area, recovery and final performance, and are no match for others.",
        ),
        _remark(
            f"Perturbed runs matched with a final {audit.performance} that is not above 0",
            f"{(beside <= 0).sum()} of {len(beside)}",
            beside.index[beside <= 0],
            "To that there is no ratio, and no final performance relative to it; nor an area, where the match's is not "
            "above 0.",
        ),
    ]
    return [remark for remark in found if remark]


def _remark(what: str, count: str, runs: Sequence[str] | pd.Index, so: str) -> str:
    return f"{what}: {count} ({listed(runs, most=3)}). {so}" if len(runs) else ""


def _table(profile: pd.DataFrame) -> str:
    rows = [["dimension", "strength", "runs", *(quantity.heading for quantity in QUANTITIES.values())]]
    for row in profile.to_dict("records"):
        strength = row["strength"]
        named = shown(strength) if isinstance(strength, str) else f"{strength:g}"
        told = [shown(row["dimension"]), named, str(row["n_runs"])]
        told += [_told(row[one.column], row[one.low], row[one.high], one.form) for one in QUANTITIES.values()]
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
    collapsed = audit.profile["collapsed"]
    for fate, told, others in ((0.0, "No run collapses", "stronger"), (1.0, "All runs collapse", "weaker")):
        if len(collapsed) and collapsed.eq(fate).all():
            return f"{told} at any strength that was tried: {others} ones would tell where training breaks."
    same, cells, chance = one_fate(audit.profile)
    if not cells or same < _DECIDES * cells:
        return ""
    found = share(same, cells)
    if found.low <= chance:
        return ""
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
        "each under the map that it is not in, by the threshold of the others."
    )
