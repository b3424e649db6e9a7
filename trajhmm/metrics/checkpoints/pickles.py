"""What the pickle of a PyTorch file asks for, told before it is read: no code is run of it, but it may ask for much."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import IO, Any

from trajhmm.errors import CheckpointError

# Objects of any size out of a few bytes; that they are allowed to be made in PyTorch's eyes does not make them weights.
_LARGE = ("builtins bytearray", "__builtin__ bytearray", "torch._utils _rebuild_device_tensor")
# Tuples within tuples; as keys of a dictionary so many more would overflow the stack of the interpreter.
_DEEPEST = 100
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


def check_pickle(stream: IO[bytes], path: Path) -> None:
    """Look through one pickle, without making anything of it.

    Parameters
    ----------
    stream : stands at its beginning, and behind it afterwards.
    path : file, for messages.

    Raises
    ------
    CheckpointError
        It would make objects of any size, or nests tuples without end.
    ValueError, IndexError
        It is torn.
    """
    stack: list[int] = []  # how deep tuples are nested in each object
    marks: list[int] = []
    memo: dict[Any, int] = {}
    for operation, argument, _ in pickletools.genops(stream):
        name = operation.name
        if name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE" or name in _TUPLES:
            start = marks.pop() if name == "TUPLE" else len(stack) - _TUPLES[name]
            depth = 1 + max(stack[start:], default=0)
            del stack[start:]
            stack.append(depth)
            if depth > _DEEPEST:
                raise CheckpointError(
                    f"{path}: refused, as it nests tuples more than {_DEEPEST} deep; save a state dict"
                )
        elif name in _PUTS:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GETS:
            stack.append(memo.get(argument, 0))
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            if name == "GLOBAL" and str(argument).startswith(_LARGE):
                what = str(argument).replace(" ", ".")
                raise CheckpointError(f"{path}: refused, as it makes objects of any size ({what}); save a state dict")
            _pass(operation, stack, marks)


def _pass(operation: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> None:
    """Take from the stack what an operation takes, and put on it what it makes."""
    before = operation.stack_before
    if pickletools.markobject in before:
        del stack[marks.pop() :]
        before = before[: before.index(pickletools.markobject)]
    if before:
        del stack[-len(before) :]
    stack.extend([0] * len(operation.stack_after))
