"""Which columns only tell the time."""

from __future__ import annotations

import re

_CLOCK = re.compile(r"(^|[/_.])(epoch|global_step|step|steps|time|timestamp|runtime|wall_time|elapsed|duration)s?$")


def is_clock(column: str) -> bool:
    """Whether a column's name says that it holds a time, a step or an epoch."""
    return _CLOCK.search(column.lower()) is not None
