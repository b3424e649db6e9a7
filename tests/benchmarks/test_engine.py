"""The engine beside hmmlearn, dynamax and pomegranate, in one process on the same starts; its memory; how cost grows.

``pytest tests/benchmarks/test_engine.py -s --override-ini addopts=`` with ``pip install 'trajhmm[bench,test]'``. Tables
go to the terminal: ratios of medians of rounds taken in turn, so that a busy machine slows all alike.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.learning.fitting import Data, Job
from trajhmm.hmm.learning.hmmlearn_engine import to_hmmlearn
from trajhmm.hmm.learning.mstep import mstep
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.hmm.rows.source import InMemory

RUNS, ROWS, METRICS = 40, 1000, 14
ITERATIONS, RESTARTS = 32, 5
CORES = 2


def planted(runs=RUNS, rows=ROWS, metrics=METRICS, states=6, seed=0):
    """(N, D) values and (R + 1,) offsets: runs that pass through states one after the other."""
    rng = np.random.default_rng(seed)
    means = 1.5 * rng.normal(size=(states, metrics))
    path = np.concatenate([np.minimum(np.cumsum(rng.random(rows) > 1 - 6 / rows), states - 1) for _ in range(runs)])
    return means[path] + rng.normal(size=(runs * rows, metrics)), np.arange(0, runs * rows + 1, rows)


def begin(source, k, covariance_type="diag", restart=1):
    model = GaussianHMM(k, covariance_type=covariance_type)
    return Job(settings=model.settings, data=Data(source=source, weights=np.ones(len(source.lengths)))).start(restart)


def in_turn(calls, rounds):
    """Median seconds of each call, taken in turn after one round to warm up."""
    for call in calls.values():
        call()
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def show(title, header, rows):
    widths = [max(len(str(line[i])) for line in (header, *rows)) for i in range(len(header))]
    print(f"\n{title} ({platform.machine()}, {os.cpu_count()} cores)")
    for line in (header, *rows):
        print("  " + "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)))


def hmmlearn_fit(parameters, values, lengths, *, implementation, iterations):
    model = to_hmmlearn(parameters, n_iter=iterations)
    model.implementation = implementation
    model.monitor_.tol = -np.inf  # it was made with the model's own
    return model.fit(values, lengths)


def test_choosing_the_number_of_states(benchmark):
    values, offsets = planted()
    source, lengths = InMemory.of(values, offsets), np.diff(offsets)
    starts = [begin(source, k, restart=restart).parameters for k in range(1, 9) for restart in range(RESTARTS)]

    def native(start):
        model = GaussianHMM(start.n_states, start=start, n_restarts=1, n_iter=ITERATIONS, tol=-1.0, floor=0.0)
        return model.fit(values, lengths)

    def ours():
        return in_threads(native, starts, n_jobs=CORES)

    def theirs(implementation):
        return [
            hmmlearn_fit(start, values, lengths, implementation=implementation, iterations=ITERATIONS)
            for start in starts
        ]

    fitted = benchmark.pedantic(ours, rounds=1, warmup_rounds=1)
    taken = {"trajhmm": [], "log": [], "scaling": []}
    found = {}
    for name in ("trajhmm", "log", "trajhmm", "scaling", "trajhmm"):  # in turn, so that a busy spell slows all alike
        began = time.perf_counter()
        found[name] = ours() if name == "trajhmm" else theirs(name)
        taken[name].append(time.perf_counter() - began)
    mine = statistics.median(taken["trajhmm"])
    rows = []
    for implementation in ("log", "scaling"):
        worst = max(
            np.abs(np.array(one.monitor_.history)[:shared] / np.array(trace)[:shared] - 1).max()
            for one, two in zip(found[implementation], fitted, strict=True)
            for trace in two.status_.log_likelihoods
            for shared in [min(len(trace), len(one.monitor_.history))]
        )
        seconds = taken[implementation][0]
        rows.append((f"hmmlearn, {implementation}", f"{seconds:.1f}", f"{seconds / mine:.1f}", f"{worst:.0e}"))
        benchmark.extra_info[implementation] = seconds / mine
        assert worst < 1e-8
    show(
        f"K = 1…8, {RESTARTS} starts, {ITERATIONS} iterations, {RUNS} runs x {ROWS} rows x {METRICS} metrics, "
        f"{CORES} threads",
        ("", "seconds", "times ours", "largest relative difference of log-likelihoods"),
        [("trajhmm", f"{mine:.1f}", "1", ""), *rows],
    )


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_one_iteration_beside_the_products_it_cannot_avoid(covariance_type):
    values, offsets = planted()
    chunk = Chunk.of(values, offsets)
    rows = []
    for k in (2, 4, 6, 8, 12):
        parameters = begin(InMemory(chunk=chunk), k, covariance_type).parameters
        posterior = np.random.default_rng(0).dirichlet(np.ones(k), size=len(values))
        squares, packed = values**2, np.repeat(values, 8, axis=1)[:, : METRICS * (METRICS + 1) // 2].copy()
        square, stacked = np.eye(k), np.zeros((METRICS, k * METRICS))

        def iteration(parameters=parameters):
            return mstep(estep(chunk, parameters), parameters)

        def diagonal(parameters=parameters, posterior=posterior, squares=squares):
            values @ parameters.means.T, squares @ parameters.means.T, posterior.T @ values, posterior.T @ squares

        def full(posterior=posterior, packed=packed, stacked=stacked):
            values @ stacked, posterior.T @ values, posterior.T @ packed

        def recursions(posterior=posterior, square=square):
            posterior @ square, posterior @ square, posterior.T @ posterior

        calls = {"iteration": iteration, "products": diagonal if covariance_type == "diag" else full}
        taken = in_turn({**calls, "recursions": recursions}, rounds=21)
        products, both = taken["products"], taken["products"] + taken["recursions"]
        rows.append(
            (
                k,
                f"{1e9 * taken['iteration'] / len(values):.0f}",
                f"{taken['iteration'] / products:.1f}",
                f"{taken['iteration'] / both:.1f}",
            )
        )
    show(
        f"one iteration of EM, {covariance_type}, one thread",
        ("K", "ns a row", "times emissions' and moments' products", "and the recursions' K x K products"),
        rows,
    )


@pytest.mark.filterwarnings("default")  # peers warn of what they import
@pytest.mark.parametrize("k", [4, 8])
def test_one_fit_beside_dynamax_and_pomegranate(k):
    jax = pytest.importorskip("jax")
    dynamax = pytest.importorskip("dynamax.hidden_markov_model")
    torch = pytest.importorskip("torch")
    pomegranate = pytest.importorskip("pomegranate.hmm")
    distributions = pytest.importorskip("pomegranate.distributions")
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(1)
    values, offsets = planted()
    lengths, iterations = np.diff(offsets), 8
    start = begin(InMemory.of(values, offsets), k).parameters
    batch = values.reshape(RUNS, ROWS, METRICS)

    def native():
        return GaussianHMM(k, start=start, n_restarts=1, n_iter=iterations, tol=-1.0, floor=0.0).fit(values, lengths)

    hmm = dynamax.DiagonalGaussianHMM(k, METRICS)
    params, props = hmm.initialize(
        jax.random.PRNGKey(0),
        initial_probs=jax.numpy.array(start.startprob),
        transition_matrix=jax.numpy.array(start.transmat),
        emission_means=jax.numpy.array(start.means),
        emission_scale_diags=jax.numpy.array(np.sqrt(start.covars)),
    )
    emissions = jax.numpy.array(batch)

    def in_dynamax():
        _, likelihoods = hmm.fit_em(params, props, emissions, num_iters=iterations, verbose=False)
        return float(likelihoods[0])

    def in_pomegranate():
        single = {"dtype": torch.float32}  # it mixes precisions and fails if given doubles
        states = [
            distributions.Normal(torch.tensor(m, **single), torch.tensor(v, **single), covariance_type="diag")
            for m, v in zip(start.means, start.covars, strict=True)
        ]
        model = pomegranate.DenseHMM(
            states,
            edges=torch.tensor(start.transmat, **single),
            starts=torch.tensor(start.startprob, **single),
            max_iter=iterations,
            tol=0.0,
        )
        return model.fit(torch.tensor(batch, **single))

    calls = {
        "trajhmm": native,
        "hmmlearn, log": lambda: hmmlearn_fit(start, values, lengths, implementation="log", iterations=iterations),
        "hmmlearn, scaling": lambda: hmmlearn_fit(
            start, values, lengths, implementation="scaling", iterations=iterations
        ),
        "dynamax": in_dynamax,
        "pomegranate (single precision)": in_pomegranate,
    }
    ours = native().status_.log_likelihoods[0][0]
    # dynamax adds the log-density of its prior; so the start is compared, not the climb.
    print(f"\n  log-likelihood of the start: trajhmm {ours:.8g}, dynamax (with its prior) {in_dynamax():.8g}")
    taken = in_turn(calls, rounds=3)
    show(
        f"one fit, K = {k}, {iterations} iterations, {RUNS} runs x {ROWS} rows x {METRICS} metrics, one thread",
        ("", "seconds", "times ours"),
        [(name, f"{s:.3f}", f"{s / taken['trajhmm']:.1f}") for name, s in taken.items()],
    )


MEMORY = """
import sys
import numpy as np
sys.path[:0] = [{folder!r}]
import test_engine
from trajhmm.hmm import GaussianHMM
model = GaussianHMM(8, n_iter=2, n_restarts=1, covariance_type={covariance_type!r})
values, offsets = test_engine.planted(runs=4)
test_engine.fit_one({library!r}, model, values, np.diff(offsets))  # compiles and imports
values = np.load({file!r})
before = test_engine.peak()  # loading makes no copies
test_engine.fit_one({library!r}, model, values, np.full(len(values) // 1000, 1000))
print((test_engine.peak() - before + values.nbytes) / values.nbytes)
"""


def peak():
    """Largest resident memory of this process so far, in bytes (Linux)."""
    # Not getrusage: there a process starts with what its parent held.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def fit_one(library, model, values, lengths):
    if library == "trajhmm":
        model.fit(values, lengths)
        return
    start = begin(InMemory.of(values, np.concatenate(([0], np.cumsum(lengths)))), 8, model.covariance_type).parameters
    hmmlearn_fit(start, values, lengths, implementation=library, iterations=2)


def test_memory_of_a_fit(tmp_path):
    np.save(tmp_path / "values.npy", planted(runs=800)[0])
    rows = []
    for covariance_type in ("diag", "full"):
        for library in ("trajhmm", "log", "scaling"):
            code = MEMORY.format(
                folder=str(Path(__file__).parent),
                file=str(tmp_path / "values.npy"),
                covariance_type=covariance_type,
                library=library,
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            name = library if library == "trajhmm" else f"hmmlearn, {library}"
            rows.append((covariance_type, name, f"{float(done.stdout):.2f}"))
    show("peak memory over the data, the data among it; 800 runs x 1000 rows x 14 metrics", ("", "", "times"), rows)


def test_how_cost_grows():
    sizes = {
        "runs": [10, 20, 40, 80, 160],
        "rows": [250, 500, 1000, 2000, 4000, 8000],
        "metrics": [4, 8, 16, 32, 64],
        "states": [2, 4, 8, 16, 32],
    }
    usual = {"runs": 40, "rows": 1000, "metrics": 14, "states": 6}
    rows, curves = [], {}
    for axis, points in sizes.items():
        for covariance_type in ("diag", "full"):
            taken = []
            for point in points:
                size = {**usual, axis: point}
                values, offsets = planted(runs=size["runs"], rows=size["rows"], metrics=size["metrics"])
                chunk = Chunk.of(values, offsets)
                parameters = begin(InMemory(chunk=chunk), size["states"], covariance_type).parameters
                times = in_turn({"": lambda c=chunk, p=parameters: mstep(estep(c, p), p)}, rounds=7)
                taken.append(1e3 * times[""])
            slope = np.polyfit(np.log(points), np.log(taken), 1)[0]
            rows.append((axis, covariance_type, " ".join(f"{t:.1f}" for t in taken), f"{slope:.2f}"))
            curves[axis, covariance_type] = (points, taken)
    show("milliseconds of one iteration", ("", "", "at " + str(list(sizes.values())), "slope on log-log axes"), rows)
    _draw(curves)


def _draw(curves):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True, layout="constrained")
    for ax, axis in zip(axes, ("runs", "rows", "metrics", "states"), strict=True):
        for covariance_type, marker in (("diag", "o"), ("full", "s")):
            ax.loglog(*curves[axis, covariance_type], marker=marker, label=covariance_type)
        ax.set_xlabel(axis)
    axes[0].set_ylabel("ms an iteration")
    axes[0].legend()
    folder = Path(".benchmarks")
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "growth.png", dpi=150)
    print(f"  drawn in {folder / 'growth.png'}")
