"""``trajhmm simulate``: one command a kind of logs."""

from __future__ import annotations

from collections.abc import Callable

import typer

from trajhmm.cli.options.paths import careful
from trajhmm.cli.simulate import descents, states

app = typer.Typer(help="Simulate run logs with known truth.", no_args_is_help=True)
KINDS: dict[str, Callable[..., None]] = {
    "planted": states.planted,
    "drift": states.drift,
    "skips": states.skips,
    "doors": states.doors,
    "excursions": states.excursions,
    "rank-one": descents.rank_one,
    "scalar-net": descents.scalar_net,
    "two-valley": descents.two_valley,
}
for name, kind in KINDS.items():
    app.command(name)(careful(kind))


@app.callback()
def simulate() -> None:
    """Simulate run logs with known truth."""
