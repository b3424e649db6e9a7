"""The command line: one module a verb; each parses, calls and prints."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from trajhmm import __version__
from trajhmm.cli import (
    analyze,
    audit,
    benchmark,
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
from trajhmm.cli.options.paths import careful
from trajhmm.cli.output.terminal import echo, say, say_lines
from trajhmm.errors import TrajHMMError

app = typer.Typer(
    name="trajhmm",
    help="Latent states of neural network training, from its logs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "inspect": inspect.inspect,
    "convert": convert.convert,
    "collect": collect.collect,
    "fit": fit.fit,
    "decode": decode.decode,
    "analyze": analyze.analyze,
    "audit": audit.audit,
    "stability": stability.stability,
    "figure": figure.figure,
    "table": tables.table,
    "warn": warn.warn,
    "evaluate": evaluate.evaluate,
    "benchmark": benchmark.benchmark,
    "report": report.report,
}


def _tell_version(asked: bool) -> None:  # noqa: FBT001 (typer hands over the option so)
    if asked:
        echo(f"trajhmm {__version__}")
        raise typer.Exit


@app.callback()
def trajhmm(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Latent states of neural network training, from its logs."""


for name, verb in VERBS.items():
    app.command(name)(careful(verb))
app.add_typer(simulate.app, name="simulate")

# What a shell makes of a program that Ctrl-C ended, and adds to the number of any signal that did.
_INTERRUPTED, _BY_SIGNAL = 130, 128
# By which schedulers and terminals that close end a program; where there are such.
_ENDINGS = ("SIGTERM", "SIGHUP")
# With this variable set, an error that nobody foresaw shows where it comes from.
_TRACEBACK = "TRAJHMM_TRACEBACK"


def main() -> None:
    """Run the command line; an input that is wrong exits with 1 and at most two lines, a wrong command with 2."""
    _open_standard_streams()
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    for stream in (sys.stdout, sys.stderr):
        # Names of files may be no text, and a terminal may not know all letters: they are shown by their numbers.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _ended_like_ctrl_c() as came:
        try:
            code = app(standalone_mode=False) or 0
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except Exception as error:  # noqa: BLE001 (the last that can tell of it)
            code = _told(error)
    _drop_what_nobody_takes()
    sys.exit(_BY_SIGNAL + came[0] if came and code == _INTERRUPTED else code)


def program() -> None:
    """`main` in a process of its own, which ends with its exit code whatever libraries do when they are torn down.

    A thread of Arrow that lets go of a Python object while the interpreter is torn down aborts the process
    (https://github.com/apache/arrow/issues/45017), so that one in a hundred commands on a busy machine ended with 134.
    """
    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()  # noqa: SLF001 (as `multiprocessing` ends its processes)
    _drop_what_nobody_takes()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextmanager
def _ended_like_ctrl_c() -> Iterator[list[int]]:
    """Other signals that end a program end it as Ctrl-C does: nothing half-written is left, and a watch tells.

    The second time they end it at once. What is ignored, as under ``nohup``, stays so. Yields those that came.
    """
    came: list[int] = []

    def end(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    caught = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    caught = [number for number in caught if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # where no signal can be caught
        caught = []
    for number in caught:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _told(error: Exception) -> int:
    """Say what was wrong; the exit code."""
    # Ctrl-C comes out of compiled modules that are being loaded as their failure.
    if isinstance(error, typer.Abort) or isinstance(error.__cause__, KeyboardInterrupt):
        return _INTERRUPTED
    if hasattr(error, "show"):  # a wrong command, told by click or by the copy of it that typer brings along
        if not getattr(error, "message", None) and (help_of := getattr(getattr(error, "param", None), "help", None)):
            error.message = help_of  # type: ignore[attr-defined]  # what is missing is said, with what it is for
        usage = io.StringIO()
        error.show(usage)
        say_lines(usage.getvalue().removesuffix("\n"))
        return int(getattr(error, "exit_code", 2))
    if os.environ.get(_TRACEBACK) and not isinstance(error, TrajHMMError | OSError | MemoryError):
        raise error
    if not isinstance(error, BrokenPipeError):
        say(f"error: {_in_words(error)}")
    return 1


def _in_words(error: Exception) -> str:
    if isinstance(error, TrajHMMError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "not enough memory; take fewer runs or rows at a time, such as with --where"
    return f"{type(error).__name__}: {error} (not foreseen; with {_TRACEBACK}=1 it says where)"


def _open_standard_streams() -> None:
    """Whoever starts a program may close what it prints to; no file that is opened later may get the number of that."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 (it has the lowest free number)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _drop_what_nobody_takes() -> None:
    """Let go of what is printed but cannot be written, which Python would fail over at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
