"""The files that an audit leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trajhmm.dynamics.stability.audit.audit import Audit
from trajhmm.dynamics.stability.audit.claims import Claim
from trajhmm.dynamics.stability.audit.summary import summarize
from trajhmm.errors import AnalysisError
from trajhmm.files import write_csv, write_text
from trajhmm.naming import shown_lines


def write_audit(audit: Audit, folder: str | Path) -> list[Path]:
    """Write the profile, runs, pairs if there is a buffered arm, claims and summary into ``folder``.

    Returns
    -------
    The files written, in that order.

    Raises
    ------
    AnalysisError
        ``folder`` is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise AnalysisError(f"{target}: is a file; expected the name of a folder")
    tables = {"profile.csv": audit.profile, "runs.csv": audit.runs.reset_index()}
    if audit.pairs is not None:
        tables["buffering.csv"] = audit.pairs
    texts: dict[str, str] = {}
    claims = {claim.name: claim_content(claim) for claim in audit.claims}
    texts["claims.json"] = json.dumps(claims, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    texts["summary.txt"] = shown_lines(summarize(audit))
    for name, table in tables.items():
        write_csv(table, target / name)
    for name, text in texts.items():
        write_text(target / name, text)
    return [target / name for name in (*tables, *texts)]


def claim_content(claim: Claim) -> dict[str, Any]:
    """What ``claims.json`` holds of a claim."""
    return {
        "verdict": claim.verdict,
        "effect": claim.effect,
        "ci_low": claim.ci_low,
        "ci_high": claim.ci_high,
        "n": claim.n,
        "sentence": claim.sentence,
        "halves": [{"effect": effect, "verdict": verdict} for effect, verdict in claim.halves],
    }
