"""``trajhmm warn``."""

from trajhmm.cli.warn.verb import warn

__all__ = ["warn"]
