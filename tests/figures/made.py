"""Training maps and trajectories made from the paths that runs take, for the tests of figures."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.regression import regress
from trajhmm.dynamics.detours.visits import convergence_by_visit
from trajhmm.dynamics.maps.training_map import MapEdge, MapState, MetricImportance, TrainingMap
from trajhmm.dynamics.maps.trajectories import Trajectories
from trajhmm.features import PerRunScaler
from trajhmm.hmm import FitStatus, GaussianHMM, Model
from trajhmm.hmm.certificate import Certificate, Halves
from trajhmm.hmm.learning.selection import SelectionPoint
from trajhmm.hmm.parameters import Parameters
from trajhmm.metrics import WEIGHT_METRICS
from trajhmm.warning.evaluation import Comparison, ComparisonRow, judge, report_on
from trajhmm.warning.runs import RunTruth
from trajhmm.warning.timeline import Timeline
from trajhmm.warning.tracking import Alarm, Driver

STEP = 50


def made_map(paths, k, *, detours=(), seed=0, metrics=WEIGHT_METRICS, dwell=(10, 30)):
    """The training map of runs that go through the states listed, staying in each for some rows."""
    rng = np.random.default_rng(seed)
    rows = [np.concatenate([np.full(rng.integers(*dwell), state) for state in path]) for path in paths]
    lengths = np.array([len(row) for row in rows])
    steps = [np.arange(len(row)) * STEP for row in rows]

    def important():
        chosen = rng.permutation(len(metrics))[:3]
        return tuple(MetricImportance(metric=metrics[d], importance=1.0, movement=float(rng.normal())) for d in chosen)

    states = []
    for state in range(k):
        entries = [step[row == state][0] for row, step in zip(rows, steps, strict=True) if (row == state).any()]
        states.append(
            MapState(
                state=state,
                means=np.zeros(len(metrics)),
                deviations=np.ones(len(metrics)),
                runs=len(entries),
                rows=int(sum((row == state).sum() for row in rows)),
                entry_step=float(np.mean(entries)) if entries else None,
                top_metrics=important(),
            )
        )
    moves = sorted({(a, b) for path in paths for a, b in itertools.pairwise(path)})
    edges = []
    for move in moves:
        times = [sum(pair == move for pair in itertools.pairwise(path)) for path in paths]
        edges.append(
            MapEdge(
                source=move[0],
                target=move[1],
                probability=0.1,
                runs=sum(count > 0 for count in times),
                times=sum(times),
                top_metrics=important(),
            )
        )
    return TrainingMap(
        metrics=tuple(metrics),
        states=tuple(states),
        edges=tuple(edges),
        runs=tuple(f"seed_{run:02d}" for run in range(len(paths))),
        lengths=lengths,
        steps=np.concatenate(steps),
        path=np.concatenate(rows),
        detours=detours,
    )


def made_certificate(n_states, *, agreement=(0.8, 0.9), worst=0.9, seeds=(1.0, 1.0), others=()):
    """Halves of a map, one state of which comes back worse; ``others`` are of other numbers of states."""
    recovery = (*[0.95] * (n_states - 1), worst)
    own = Halves(states=n_states, agreement=agreement, recovery=recovery, seeds=seeds)
    return Certificate(states=n_states, halves=tuple(sorted((own, *others), key=lambda one: one.states)))


def unsure(n_states, others=()):
    """A certificate of a map that is not reproducible."""
    return made_certificate(n_states, agreement=(0.5, 0.61), worst=0.31, seeds=(0.8, 0.9), others=others)


def ten_states():
    """Ten states with two forks, loops, skips and a detour: 20 edges."""
    return made_map(
        [[0, 1, 2, 4, 5, 7, 8, 9]] * 14
        + [[0, 1, 3, 4, 5, 7, 8, 9]] * 9
        + [[0, 1, 2, 4, 6, 5, 7, 9]] * 6
        + [[0, 2, 4, 5, 4, 5, 7, 8, 9]] * 4
        + [[0, 1, 3, 6, 3, 4, 7, 8, 9]] * 4
        + [[0, 1, 2, 4, 5, 8, 7, 8, 9]] * 2
        + [[0, 1, 2, 1, 2, 4, 7]],
        10,
        detours=(6,),
    )


def crowded():
    """Ten states and 32 edges, from runs that stroll: far more than a paper should show."""
    rng = np.random.default_rng(3)
    paths = []
    for _ in range(40):
        path = [0]
        while path[-1] < 9 and len(path) < 14:
            following = int(np.clip(path[-1] + rng.choice([1, 1, 1, 1, 1, 2, 2, -1, 3]), 0, 9))
            if following != path[-1]:
                path.append(following)
        paths.append(path)
    return made_map(paths, 10, detours=(4, 7))


def six_states():
    """Six states with a fork, a loop and a detour: what maps of real runs look like."""
    return made_map(
        [[0, 1, 3, 4, 5]] * 20 + [[0, 2, 3, 4, 5]] * 8 + [[0, 1, 2, 3, 5]] * 5 + [[0, 1, 3, 1, 3, 4, 5]] * 3,
        6,
        detours=(2,),
        seed=4,
    )


def looping():
    """Five states that runs leave for the next and come back to: in a column, arrows lie where captions would stand."""
    there = [[0, 1, 2, 3, 4]] * 10
    back = [[0, 1, 2, 3, 2, 3, 4, 3, 4]] * 18 + [[0, 1, 2, 3, 4, 2, 3, 4]] * 8 + [[0, 1, 2, 1, 2, 4]] * 4
    return made_map(there + back, 5)


def made_convergence(training_map, steps):
    """Convergence at the steps given; never where None."""
    return Convergence(
        condition="eval_accuracy > 0.9",
        runs=training_map.runs,
        steps=np.array([0 if step is None else step for step in steps], dtype=np.int64),
        converged=np.array([step is not None for step in steps]),
    )


def made_trajectories(runs, metrics=("weight_l2",)):
    """Trajectories of runs, each a triple of steps, values (rows by metrics, or rows) and states."""
    values = [np.asarray(value, dtype=np.float64).reshape(len(steps), len(metrics)) for steps, value, _ in runs]
    return Trajectories(
        runs=tuple(f"run {run}" for run in range(len(runs))),
        lengths=np.array([len(steps) for steps, _, _ in runs]),
        steps=np.concatenate([steps for steps, _, _ in runs]).astype(np.int64),
        metrics=tuple(metrics),
        values=np.concatenate(values),
        path=np.concatenate([path for _, _, path in runs]).astype(np.int64),
    )


def drawn(figure):
    """The renderer of a figure that was laid out and had its ticks made, as drawing does; pixels nobody looks at."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


def shown_texts(figure):
    """Every text that a figure shows once it is drawn."""
    drawn(figure)
    texts = list(figure.texts)
    for ax in [one for parent in figure.axes for one in (parent, *parent.child_axes)]:
        texts += ax.texts
        if ax.axison:
            for axis in (ax.xaxis, ax.yaxis):
                texts += [axis.label, axis.get_offset_text()]
                # Ticks beyond the ends of an axis exist but are not drawn.
                texts += [tick.label1 for tick in axis._update_ticks()]
        if ax.get_legend():
            texts += ax.get_legend().get_texts()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def text_boxes(figure):
    """The boxes of all texts shown, in pixels, with what they say."""
    return [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]


def overlapping(boxes, tolerance=0.5):
    """Pairs of texts whose boxes share more than ``tolerance`` pixels in both directions."""
    pairs = []
    for index, (text, box) in enumerate(boxes):
        for other_text, other in boxes[index + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            along = min(box.y1, other.y1) - max(box.y0, other.y0)
            if across > tolerance and along > tolerance:
                pairs.append((text, other_text))
    return pairs


def outside(boxes, figure, tolerance=0.5):
    """Texts that the edge of the figure cuts."""
    edge = figure.bbox
    return [
        text
        for text, box in boxes
        if box.x0 < edge.x0 - tolerance
        or box.x1 > edge.x1 + tolerance
        or box.y0 < edge.y0 - tolerance
        or box.y1 > edge.y1 + tolerance
    ]


def misplaced(figure):
    """Texts of a figure that overlap or are cut off."""
    boxes = text_boxes(figure)
    return overlapping(boxes) + outside(boxes, figure)


def discs(ax):
    """The disc of each state drawn."""
    return {
        int(patch.get_gid().removeprefix("state-")): patch
        for patch in ax.patches
        if isinstance(patch, Circle) and patch.get_gid().startswith("state-")
    }


def arrows(ax):
    """The arrow of each edge drawn, by source and target."""
    found = {}
    for patch in ax.patches:
        gid = patch.get_gid() or ""
        if gid.startswith("edge-"):
            source, target = gid.removeprefix("edge-").split("-")
            found[int(source), int(target)] = patch
    return found


def made_model(n_states, metrics=WEIGHT_METRICS, *, curve=None, criterion="bic", seed=0):
    """A model whose states have means drawn at random; ``curve`` holds K, BIC, held-out score and its error."""
    rng = np.random.default_rng(seed)
    points = [(n_states, 1000.0, None, None)] if curve is None else curve
    return Model(
        metrics=tuple(metrics),
        scaler=PerRunScaler(),
        parameters=Parameters(
            startprob=np.full(n_states, 1 / n_states),
            transmat=np.full((n_states, n_states), 1 / n_states),
            means=rng.normal(size=(n_states, len(metrics))),
            covars=np.ones((n_states, len(metrics))),
            covariance_type="diag",
        ),
        settings=GaussianHMM(n_components=n_states).settings,
        criterion=criterion,
        curve=tuple(
            SelectionPoint(
                states=k, outcome="degenerate" if bic is None else "converged", log_likelihood=bic, n_parameters=None,
                bic=bic, aic=bic, icl=bic, heldout=heldout, heldout_se=error,
                restart_log_likelihoods=(), reached_best=1, agreement=None,
            )
            for k, bic, heldout, error in points
        ),
        status=FitStatus(outcome="converged", chosen=0, outcomes=(), log_likelihoods=(), agreement=()),
        purpose="map",
        seed=0,
        n_runs=40,
        n_rows=1000,
        versions={},
    )  # fmt: skip


def made_halved(n_states=4, *, certificate=None, most=8):
    """A model whose number of states was chosen from 1 to ``most`` by halves; those below K − 1 were not tried."""
    best = 0.95 if certificate is None else 0.55
    others = tuple(
        Halves(states=k, agreement=(best - 0.04 * k,), recovery=(0.9,) * (k - 1) + (best - 0.06 * k,))
        for k in range(n_states - 1, most + 1)
        if k != n_states
    )
    certificate = made_certificate(n_states, others=others) if certificate is None else certificate(n_states, others)
    model = made_model(n_states, curve=[(k, 1e4 / k, None, None) for k in range(1, most + 1)], criterion="reproducible")
    curve = tuple(
        point
        if (tried := certificate.at(point.states)) is None
        else replace(point, halves=tried.mean, recovery=tried.worst)
        for point in model.curve
    )
    return replace(model, curve=curve, certificate=certificate)


def made_regression(n_runs=34, seed=0, scale=6000.0):
    """A regression of convergence on bags of three states that nearly tell it."""
    rng = np.random.default_rng(seed)
    bags = rng.dirichlet([1.0, 2.0, 3.0], size=n_runs)
    steps = np.round(scale * (0.2 + bags[:, 0]) + rng.normal(size=n_runs) * 0.03 * scale).astype(np.int64)
    return regress(
        bags,
        Convergence(
            condition="eval_accuracy > 0.9",
            runs=tuple(f"seed_{run}" for run in range(n_runs)),
            steps=steps,
            converged=np.ones(n_runs, dtype=bool),
        ),
    )


def made_visits(state=2, since="start"):
    """Convergence of eleven runs that visit a state and of nine that do not; some never converge."""
    paths = [[0, 1, 2, 3]] * 11 + [[0, 1, 3]] * 9
    training_map = made_map(paths, 4, dwell=(30, 60))
    rng = np.random.default_rng(1)
    ends = training_map.lengths.cumsum() - 1
    last = training_map.steps[ends]
    converged = np.arange(20) % 5 != 0
    steps = np.where(converged, last - STEP * rng.integers(0, 20, size=20), last)
    convergence = Convergence(condition="eval_accuracy > 0.9", runs=training_map.runs, steps=steps, converged=converged)
    return convergence_by_visit(training_map, convergence, state, since=since)


TIMELINE_STEPS = 10 * np.arange(50)
WATCHED = ("train_loss", "grad_norm", "weight_l2", "bias_mean")


def made_timeline(*, alarm=300):
    """grad_norm, then train_loss, drive the score over its threshold of 5 at step 300."""
    rng = np.random.default_rng(0)
    contributions = np.abs(rng.normal(size=(50, 4))) * 0.1
    contributions[30:, 1], contributions[30:, 0] = 8.0, 3.0
    score = np.where(np.arange(50) >= 30, 12.0, 1.0)
    told = Alarm(
        run="a",
        step=300,
        score=12.0,
        threshold=5.0,
        risk=0.5,
        state=1,
        drivers=(
            Driver(metric="grad_norm", contribution=8.0, view="phase"),
            Driver(metric="train_loss", contribution=3.0, view="phase"),
        ),
    )
    return Timeline(
        run="a",
        metrics=WATCHED,
        steps=TIMELINE_STEPS,
        values=1.0 + rng.random((50, 4)),
        contributions=contributions,
        score=score,
        risk=np.where(np.arange(50) >= 34, np.linspace(0.1, 0.6, 50), np.nan) if alarm else np.full(50, np.nan),
        states=np.repeat([2, 0, 1], [20, 10, 20]),
        n_states=3,
        threshold=5.0,
        alarm=told if alarm else None,
        truth=RunTruth(onset=250, collapse_step=400) if alarm else RunTruth(),
        outcome=("eval_accuracy", np.where(np.arange(50) < 38, 0.9, 0.2)) if alarm else None,
    )


def made_comparison():
    """Two detectors at two budgets; the first finds three of four collapses early, the second one late."""
    steps = np.arange(0, 101)

    def row(detector, budget, alarms):
        outcomes = [
            judge(f"c{i}", steps, RunTruth(onset=20, collapse_step=100), alarm) for i, alarm in enumerate(alarms)
        ] + [judge("h", steps, RunTruth(), None)]
        report = report_on(outcomes, rng=np.random.default_rng(0), resamples=10)
        return ComparisonRow(detector=detector, budget=budget, report=report, outcomes=tuple(outcomes))

    return Comparison(
        rows=(
            row("hmm", 0.05, [40, 40, 60, None]),
            row("hmm", 0.1, [30, 30, 30, 60]),
            row("zclip", None, [None, None, None, None]),
            row("zclip", 0.05, [90, None, None, None]),
            ComparisonRow(detector="logistic", budget=0.05, reason="no labels"),
        )
    )
