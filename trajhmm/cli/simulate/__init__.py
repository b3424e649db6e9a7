"""``trajhmm simulate``: one command a kind of logs."""

from __future__ import annotations

import typer

from trajhmm.cli.simulate import descents, states

app = typer.Typer(help="Simulate run logs with known truth.", no_args_is_help=True)
app.command("planted")(states.planted)
app.command("drift")(states.drift)
app.command("skips")(states.skips)
app.command("doors")(states.doors)
app.command("excursions")(states.excursions)
app.command("rank-one")(descents.rank_one)
app.command("scalar-net")(descents.scalar_net)
app.command("two-valley")(descents.two_valley)


@app.callback()
def simulate() -> None:
    """Simulate run logs with known truth."""
