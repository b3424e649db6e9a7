"""`analyze`: everything that one set of runs says under one model."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trajhmm.cache import NO_CACHE, Cache
from trajhmm.dynamics.detours.again import PrefixPoint, RawRows, Refits, loss_name
from trajhmm.dynamics.detours.convergence import Convergence, convergence_of
from trajhmm.dynamics.detours.evidence import RULES, Rule, StateEvidence, detour_table, evidence_table, find_detours
from trajhmm.dynamics.detours.regression import Regression, bag_of_states, regress
from trajhmm.dynamics.maps.dissimilarity import Dissimilarity, dissimilarity_of
from trajhmm.dynamics.maps.training_map import TrainingMap, build_map
from trajhmm.dynamics.maps.trajectories import Trajectories
from trajhmm.dynamics.maps.verdict import badge_of
from trajhmm.errors import AnalysisError
from trajhmm.features import Sequences, carried_forward
from trajhmm.features.sequences import DIVERGED
from trajhmm.hmm import Model, Smoothed
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.logs import Note, RunSet
from trajhmm.naming import instead_of

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_REFITS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What runs do under a model: a table each.

    Attributes
    ----------
    map : the training map, detours marked.
    smoothed : decoded states.
    trajectories : metrics as logged, beside the states.
    bags : (R, K) share of each run's rows in each state.
    convergence_times : when each run converged.
    regression : of convergence on the bag of states.
    evidence_by_state : what speaks for each state being a detour.
    refits : how often detours, forks and edges come back in other fits; None if that was not asked for.
    certificate : how far the map comes back with other runs and seeds, as known since the fit; None if it is not.
    prefix : what the first rows say of the time still needed; empty if too few runs converge, or not asked for.
    dissimilarity : of the runs' bags of states.
    rule : by which ``is_detour`` was decided.
    within : attribute of the runs within whose values they were compared; None if they all were.
    alone : how many runs are the only one of their value, and compared with none.
    notes : rows cut, runs left out.
    model : under which all this is.
    """

    map: TrainingMap
    smoothed: Smoothed
    trajectories: Trajectories
    bags: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    convergence_times: Convergence
    regression: Regression
    evidence_by_state: tuple[StateEvidence, ...]
    refits: Refits | None
    certificate: Certificate | None
    prefix: tuple[PrefixPoint, ...]
    dissimilarity: Dissimilarity
    rule: Rule
    within: str | None
    alone: int
    notes: tuple[Note, ...]
    model: Model

    def __repr__(self) -> str:
        times, detours = self.convergence_times, self.map.detours
        found = f"detours: {', '.join(map(str, detours))}" if detours else "no detour"
        return (
            f"Analysis({len(times.runs)} runs, {int(times.converged.sum())} converged; {self.model.n_states} states, "
            f"{badge_of(self.certificate)}; {found})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the finding, and what speaks for each state."""
        return f"<p>{html.escape(repr(self))}</p>{self.detours.to_html(index=False, border=0)}"

    def summary(self) -> str:
        """The findings in plain words, with their uncertainty, as in ``summary.txt``."""
        from trajhmm.dynamics.summary import summarize

        return summarize(self, self.model)

    @property
    def telling_states(self) -> tuple[int, ...]:
        """The detours; without any, the state with the least p-value; none if no state can be tested."""
        if self.map.detours:
            return self.map.detours
        tested = [(e.p_value, e.state) for e in self.evidence_by_state if e.p_value is not None]
        return (min(tested)[1],) if tested else ()

    @property
    def detours(self) -> pd.DataFrame:
        """One row a state, as in ``detours.csv``; effects in steps."""
        return detour_table(self.evidence_by_state, self.rule)

    @property
    def evidence(self) -> pd.DataFrame:
        """One row a state, as in ``evidence.csv``: what else is known of it."""
        return evidence_table(self.evidence_by_state)

    @property
    def convergence(self) -> pd.DataFrame:
        """One row a run, as in ``convergence.csv``: step of convergence, or last step where it was censored."""
        import pandas as pd

        times = self.convergence_times
        return pd.DataFrame({"run": list(times.runs), "step": times.steps, "converged": times.converged})


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Runs decoded under a model.

    Attributes
    ----------
    smoothed : decoded states.
    map : the training map, no detours marked.
    trajectories : metrics as logged, beside the states.
    loss : (N,) the loss as logged; None if there is none.
    notes : rows cut, runs left out.
    """

    smoothed: Smoothed
    map: TrainingMap
    trajectories: Trajectories
    loss: np.ndarray[tuple[int], np.dtype[np.float64]] | None
    notes: tuple[Note, ...]

    @property
    def diverged(self) -> frozenset[str]:
        """Runs that are decoded up to where they diverged."""
        return frozenset(note.run for note in self.notes if note.run is not None and note.text.startswith(DIVERGED))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Decoding:
    """What decoding gives, beside the logs: ``rows`` are those of the logs that were decoded."""

    smoothed: Smoothed
    map: TrainingMap
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    notes: tuple[Note, ...]


class _Rows:
    """The runs as the model sees them, worked out when something asks."""

    def __init__(self, runs: RunSet, model: Model) -> None:
        self.runs, self.model = runs, model

    @cached_property
    def scaled(self) -> Sequences:
        """As the model was fitted to them, shifts left in."""
        return self.model.scaled(self.runs)

    def decode(self) -> _Decoding:
        """Their states, and the map of them; the certificate is the model's, and stays with it."""
        sequences = self.model.unshifted(self.scaled)
        smoothed = self.model.decode(sequences)
        training_map = build_map(self.model, sequences, self.model.filter(sequences), smoothed)
        return _Decoding(
            smoothed=smoothed,
            map=replace(training_map, certificate=None),
            rows=sequences.rows,
            notes=sequences.notes,
        )


def decode_runs(runs: RunSet, model: Model, *, cache: Cache = NO_CACHE) -> Decoded:
    """Decode runs and draw up their training map: what an analysis can say without a condition of convergence.

    Parameters
    ----------
    runs : the logs.
    model : fitted on the same metrics.
    cache : where what was decoded before may be found again.

    Raises
    ------
    ModelFileError
        The logs lack a metric of the model.
    AnalysisError
        The model was fitted for warning.
    """
    return _decoded(_Rows(runs, model), _about(cache, runs, model))


def _about(cache: Cache, runs: RunSet, model: Model) -> Cache:
    return cache if cache.store is None else cache.about(runs=runs.fingerprint, model=model.fingerprint)


def _decoded(rows: _Rows, cache: Cache) -> Decoded:
    runs, model = rows.runs, rows.model
    if model.purpose != "map":
        raise AnalysisError(
            f"the model was fitted for {model.purpose}, on departures from healthy runs; a map needs one of "
            "'trajhmm fit' without --for"
        )
    decoding = cache.keep("decoding", _Decoding, rows.decode)
    trajectories, loss = _trajectories(runs, model.metrics, decoding)
    return Decoded(
        smoothed=decoding.smoothed,
        map=replace(decoding.map, certificate=model.certificate),
        trajectories=trajectories,
        loss=loss,
        notes=decoding.notes,
    )


def analyze(
    runs: RunSet,
    model: Model,
    *,
    converged: str,
    rule: Rule = "strict",
    within: str | None = None,
    refits: int = DEFAULT_REFITS,
    prefix: bool = True,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
    cache: Cache = NO_CACHE,
) -> Analysis:
    """Decode runs and ask which states delay convergence.

    Parameters
    ----------
    runs : the logs.
    model : fitted on the same metrics.
    converged : condition on any column, such as ``eval_accuracy > 0.9``.
    rule : ``strict``, or ``paper`` for the rule of Hu et al. (2023); see `trajhmm.dynamics.detours.find_detours`.
    within : name of an attribute of the runs; only runs that have the same value of it are compared.
    refits : of the model, three in four to resampled runs and one in four from another seed, to see how often a detour,
        a fork and an edge are found again; 0 for none, and then a detour has to stand on one fit.
    prefix : whether to ask what the first rows say of the time still needed.
    seed : of permutations, bootstraps and refits.
    jobs : threads; the result does not depend on it.
    progress : called with (refits done, refits in all), then with (fits without some of the runs done, in all).
    cache : where what was worked out before may be found again, see `trajhmm.cache`; the result does not depend on it.

    Raises
    ------
    ModelFileError
        The logs lack a metric of the model.
    AnalysisError
        The condition names an unknown column, ``within`` an unknown attribute, or the rule is unknown.
    ConditionError
        The condition does not parse.
    """
    if rule not in RULES:
        raise AnalysisError(f"rule {rule!r}: expected one of {', '.join(RULES)}")
    convergence_of(runs, converged, only=())  # a mistyped condition is told before the work begins
    rows, cache = _Rows(runs, model), _about(cache, runs, model)
    decoded = _decoded(rows, cache)
    smoothed, training_map, trajectories = decoded.smoothed, decoded.map, decoded.trajectories
    convergence = convergence_of(runs, converged, only=smoothed.runs)
    attributes = runs.attributes.loc[list(smoothed.runs)]
    levels = None if within is None else _levels(attributes, within, runs.metrics)
    bags = bag_of_states(smoothed.path, smoothed.lengths, model.n_states)
    settings = {"converged": converged, "seed": seed}
    regression = cache.keep("regression", Regression, lambda: regress(bags, convergence, seed=seed), **settings)

    def weigh() -> tuple[StateEvidence, ...]:
        others = attributes.drop(columns=[] if within is None else [within])
        return find_detours(training_map, convergence, regression, seed=seed, within=levels, attributes=others)

    def refit() -> Refits | None:
        from trajhmm.dynamics.detours.refits import refit_map

        return refit_map(
            model,
            rows.scaled,
            training_map,
            convergence,
            refits=refits,
            within=levels,
            seed=seed,
            jobs=jobs,
            progress=progress,
        )

    def look_ahead() -> tuple[PrefixPoint, ...]:
        from trajhmm.dynamics.detours.prefix import prefix_curve

        raw = trajectories.values[:, [trajectories.metrics.index(metric) for metric in model.metrics]]
        beside = RawRows(values=raw, loss=decoded.loss)
        return prefix_curve(model, rows.scaled, beside, convergence, seed=seed, jobs=jobs, progress=progress)

    evidence = cache.keep("evidence", tuple[StateEvidence, ...], weigh, within=within, **settings)
    again = None
    if refits > 0:
        again = cache.keep("refits", Refits | None, refit, within=within, refits=refits, **settings)
    if again is not None:
        evidence = again.survival_of(evidence)
    detours = tuple(e.state for e in evidence if (e.is_strict if rule == "strict" else e.is_paper))
    return Analysis(
        map=replace(training_map, detours=detours),
        smoothed=smoothed,
        trajectories=trajectories,
        bags=bags,
        convergence_times=convergence,
        regression=regression,
        evidence_by_state=evidence,
        refits=again,
        certificate=model.certificate,
        prefix=cache.keep("prefix", tuple[PrefixPoint, ...], look_ahead, **settings) if prefix else (),
        dissimilarity=cache.keep(
            "dissimilarity",
            Dissimilarity,
            lambda: dissimilarity_of(bags, model.parameters.means, seed=seed),
            seed=seed,
        ),
        rule=rule,
        within=within,
        alone=0 if levels is None else int((np.bincount(levels) == 1).sum()),
        notes=(*runs.notes, *decoded.notes),
        model=model,
    )


def _levels(
    attributes: pd.DataFrame, within: str, metrics: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(R,) a number for each value of an attribute."""
    if within not in attributes.columns:
        if within in metrics:
            raise AnalysisError(
                f"{within!r} changes within runs, and runs are compared within what tells them apart from their first "
                f"row on{instead_of(within, attributes.columns)}"
            )
        raise AnalysisError(f"no attribute {within!r} to compare runs within{instead_of(within, attributes.columns)}")
    codes: np.ndarray[tuple[int], np.dtype[np.int64]] = attributes[within].astype(str).factorize()[0].astype(np.int64)
    return codes


def _trajectories(
    runs: RunSet, wanted: tuple[str, ...], decoding: _Decoding
) -> tuple[Trajectories, np.ndarray[tuple[int], np.dtype[np.float64]] | None]:
    """Metrics at the rows that were decoded, the last value carried forward, and the loss among them."""
    smoothed = decoding.smoothed
    missing = [metric for metric in wanted if metric not in runs.metrics]
    carried = np.empty_like(runs.values)
    for _, rows in runs.slices():
        carried[rows] = carried_forward(runs.values[rows], runs.logged[rows])
    values = carried[decoding.rows]
    if missing:
        kept = runs.attributes.loc[list(smoothed.runs)]
        constants = [np.repeat(kept[name].to_numpy(dtype=np.float64), smoothed.lengths) for name in missing]
        values = np.column_stack([values, *constants])
    metrics = (*runs.metrics, *missing)
    loss = loss_name(metrics)
    trajectories = Trajectories(
        runs=smoothed.runs,
        lengths=smoothed.lengths,
        steps=smoothed.steps,
        metrics=metrics,
        values=values,
        path=smoothed.path,
    )
    return trajectories, None if loss is None else values[:, metrics.index(loss)]
