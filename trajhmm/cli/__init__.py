"""The command line: one module a verb; each parses, calls and prints."""

from __future__ import annotations

import io
import sys

import typer

from trajhmm.cli import (
    analyze,
    audit,
    collect,
    convert,
    decode,
    demo,
    evaluate,
    figure,
    fit,
    inspect,
    report,
    simulate,
    stability,
    tables,
    warn,
)
from trajhmm.errors import TrajHMMError

app = typer.Typer(
    name="trajhmm",
    help="Latent states of neural network training, from its logs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("inspect")(inspect.inspect)
app.command("convert")(convert.convert)
app.command("collect")(collect.collect)
app.command("fit")(fit.fit)
app.command("decode")(decode.decode)
app.command("analyze")(analyze.analyze)
app.command("audit")(audit.audit)
app.command("stability")(stability.stability)
app.command("figure")(figure.figure)
app.command("table")(tables.table)
app.command("warn")(warn.warn)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.add_typer(simulate.app, name="simulate")

# What a shell makes of a program that Ctrl-C ended.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; an input that is wrong exits with 1 and at most two lines, a wrong command with 2."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files may be no text, and a terminal may not know all letters: they are shown by their numbers.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TrajHMMError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except ImportError as error:  # how Ctrl-C comes out of compiled modules that are being loaded
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        typer.echo(f"error: {error.filename or 'file'}: {error.strerror or error}", err=True)
        sys.exit(1)
