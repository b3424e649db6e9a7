"""The benchmark: every detector on the sets of ``data/``, by one protocol."""

from trajhmm.warning.benchmark.run import Entry, Result, run_benchmark
from trajhmm.warning.benchmark.sets import SETS, BenchmarkSet

__all__ = ["SETS", "BenchmarkSet", "Entry", "Result", "run_benchmark"]
