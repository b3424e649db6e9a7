"""`Settings`: how logs are to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The parameters of `trajhmm.read_logs` that say what columns mean and which rows are kept."""

    run_by: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    step: str | None = None
    table: str | None = None

    @classmethod
    def of(
        cls,
        *,
        run_by: str | Sequence[str],
        rename: Mapping[str, str] | None,
        where: str | None,
        step: str | None,
        table: str | None = None,
    ) -> Settings:
        """Settings from what users write."""
        keys = (run_by,) if isinstance(run_by, str) else tuple(run_by)
        return cls(run_by=keys, rename=dict(rename or {}), where=where, step=step, table=table)
