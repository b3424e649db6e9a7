"""A product that LLVM does not vectorise by itself: a short row vector times a square matrix."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Doubles that the widest registers hold.
_LANES = 8


@intrinsic(prefer_literal=True)
def _row_times(_: Any, row: Any, matrix: Any, out: Any, size: Any) -> Any:
    """``out[:] = row @ matrix`` for contiguous float64 arrays (size,), (size, size), (size,), size a literal.

    The loops one would write instead are unrolled before they could be vectorised, and then kept in memory for fear
    that the arrays overlap: half the speed at 8 states. Each product is added in order, as in these loops.
    """
    if not isinstance(size, types.IntegerLiteral):
        return None
    n = size.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, first, end = (
            context.make_array(kind)(context, builder, argument).data
            for kind, argument in zip(signature.args[:3], arguments[:3], strict=True)
        )
        for begin in range(0, n, _LANES):
            _columns(builder, start, first, end, n, begin, min(_LANES, n - begin))
        return context.get_dummy_value()

    return types.void(row, matrix, out, size), generate


def _columns(builder: Any, row: Any, matrix: Any, out: Any, n: int, begin: int, width: int) -> None:
    """Write ``out[begin : begin + width]``, held in one register until then; the others are pointers to doubles."""

    def place(pointer: Any, index: int) -> Any:
        return builder.gep(pointer, [ir.Constant(ir.IntType(64), index)])

    lanes = ir.VectorType(ir.DoubleType(), width)
    unset, everywhere = ir.Constant(lanes, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    total = ir.Constant(lanes, [0.0] * width)
    for i in range(n):
        single = builder.insert_element(unset, builder.load(place(row, i)), ir.Constant(ir.IntType(32), 0))
        spread = builder.shuffle_vector(single, unset, everywhere)
        line = builder.bitcast(place(matrix, i * n + begin), lanes.as_pointer())
        total = builder.fadd(total, builder.fmul(spread, builder.load(line, align=8)))
    builder.store(total, builder.bitcast(place(out, begin), lanes.as_pointer()), align=8)


# What the compiler sees and what Python sees have other signatures.
row_times: Any = _row_times
