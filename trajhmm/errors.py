"""The exceptions and the warning that this package raises on purpose.

Every message says what was expected, what was found, where, and what to do about it, in at most two lines.
"""

from trajhmm.naming import abridged

# Letters of a message: a stranger's names may be longer.
_MOST = 1200


class TrajHMMError(Exception):
    """Base of all errors that a user can mend; the command line prints it and exits with 1."""

    def __str__(self) -> str:
        """The message; of one that is very long what it begins and ends with, which say where and what to do."""
        return abridged(super().__str__(), _MOST)


class LogError(TrajHMMError):
    """A training log cannot be read or does not make sense."""


class ConditionError(TrajHMMError):
    """A condition such as ``eval_accuracy > 0.9`` does not parse."""


class FitError(TrajHMMError):
    """A model cannot be fitted to these runs."""


class ModelFileError(TrajHMMError):
    """A model file is torn, edited, too new, or made for other metrics."""


class ArrayError(TrajHMMError, ValueError):
    """An array is of another shape or type than what it is given to; a ValueError, as numpy has it."""


class AnalysisError(TrajHMMError):
    """A question that these runs cannot answer."""


class CheckpointError(TrajHMMError):
    """A checkpoint cannot be read, is refused, or does not say which step of which run it is."""


class TrajHMMWarning(UserWarning):
    """Something was repaired or fell short; the result stands and says so too."""
