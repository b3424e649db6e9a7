"""What a hundred thousand odd inputs came to, a line of JSON for each reader.

With ``TRAJHMM_FUZZ_TALLY=FILE`` lines are kept, so that hours of inputs can be tried in parts; ``python
tests/fuzz/tally.py FILE`` adds them up, as ``tests/benchmarks/results/fuzz.jsonl`` holds them.
"""

import json
import os
import platform
import resource
import sys
from collections import defaultdict
from pathlib import Path


def mebibytes():
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def tell(reader, *, inputs, refused, slowest, grown):
    """Say what came of ``inputs`` inputs, of which some took ``slowest`` seconds and ``grown`` MiB at most; keep it."""
    one = {
        "reader": reader,
        "inputs": inputs,
        "refused": refused,
        "slowest_s": round(slowest, 2),
        "grown_mib": round(grown),
        "python": platform.python_version(),
    }
    line = json.dumps(one)
    sys.stdout.write(f"{line}\n")
    if file := os.environ.get("TRAJHMM_FUZZ_TALLY"):
        with Path(file).open("a") as kept:
            kept.write(f"{line}\n")


def table(lines):
    """All that was tried of each reader, as Markdown."""
    readers = defaultdict(list)
    for line in lines:
        one = json.loads(line)
        readers[one["reader"]].append(one)
    rows = ["| | inputs | refused | slowest | memory grown |", "|---|---|---|---|---|"]
    for reader, parts in readers.items():
        inputs, refused = (sum(one[key] for one in parts) for key in ("inputs", "refused"))
        slowest, grown = (max(one[key] for one in parts) for key in ("slowest_s", "grown_mib"))
        rows.append(f"| {reader} | {inputs:,} | {refused / inputs:.0%} | {slowest:.2f} s | {grown} MiB |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(f"{table(Path(sys.argv[1]).read_text().splitlines())}\n")
