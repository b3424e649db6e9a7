"""`analyze`: everything that one set of runs says under one model."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trajhmm.dynamics.detours.convergence import Convergence, convergence_of
from trajhmm.dynamics.detours.evidence import RULES, Rule, StateEvidence, detour_table, evidence_table, find_detours
from trajhmm.dynamics.detours.prefix import PrefixPoint, RawRows, loss_name, prefix_curve
from trajhmm.dynamics.detours.refits import Refits, refit_map
from trajhmm.dynamics.detours.regression import Regression, bag_of_states, regress
from trajhmm.dynamics.maps.dissimilarity import Dissimilarity, dissimilarity_of
from trajhmm.dynamics.maps.training_map import TrainingMap, build_map
from trajhmm.dynamics.maps.trajectories import Trajectories
from trajhmm.dynamics.maps.verdict import badge_of
from trajhmm.errors import AnalysisError
from trajhmm.features import Sequences, carried_forward
from trajhmm.hmm import Model, Smoothed
from trajhmm.hmm.certificate import Certificate
from trajhmm.hmm.rows.parallel import Progress
from trajhmm.logs import Note, RunSet

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
    scaled : the runs as the model was fitted to them, shifts left in.
    sequences : the runs as the model sees them.
    smoothed : decoded states.
    map : the training map, no detours marked.
    trajectories : metrics as logged, beside the states.
    loss : (N,) the loss as logged; None if there is none.
    """

    scaled: Sequences
    sequences: Sequences
    smoothed: Smoothed
    map: TrainingMap
    trajectories: Trajectories
    loss: np.ndarray[tuple[int], np.dtype[np.float64]] | None


def decode_runs(runs: RunSet, model: Model) -> Decoded:
    """Decode runs and draw up their training map: what an analysis can say without a condition of convergence.

    Parameters
    ----------
    runs : the logs.
    model : fitted on the same metrics.

    Raises
    ------
    ModelFileError
        The logs lack a metric of the model.
    AnalysisError
        The model was fitted for warning.
    """
    if model.purpose != "map":
        raise AnalysisError(
            f"the model was fitted for {model.purpose}, on departures from healthy runs; a map needs one of "
            "'trajhmm fit' without --for"
        )
    scaled = model.scaled(runs)
    sequences = model.unshifted(scaled)
    smoothed = model.decode(sequences)
    trajectories, loss = _trajectories(runs, sequences, smoothed)
    return Decoded(
        scaled=scaled,
        sequences=sequences,
        smoothed=smoothed,
        map=build_map(model, sequences, model.filter(sequences), smoothed),
        trajectories=trajectories,
        loss=loss,
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
    progress : called with (refits done, refits in all).

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
    decoded = decode_runs(runs, model)
    sequences, smoothed, training_map = decoded.sequences, decoded.smoothed, decoded.map
    convergence = convergence_of(runs, converged, only=sequences.runs)
    bags = bag_of_states(smoothed.path, smoothed.lengths, model.n_states)
    regression = regress(bags, convergence, seed=seed)
    attributes = runs.attributes.loc[list(sequences.runs)]
    levels = None if within is None else _levels(attributes, within)
    evidence = find_detours(
        training_map,
        convergence,
        regression,
        seed=seed,
        within=levels,
        attributes=attributes.drop(columns=[] if within is None else [within]),
    )
    again = refit_map(
        model,
        decoded.scaled,
        training_map,
        convergence,
        refits=refits,
        within=levels,
        seed=seed,
        jobs=jobs,
        progress=progress,
    )
    if again is not None:
        evidence = again.survival_of(evidence)
    detours = tuple(e.state for e in evidence if (e.is_strict if rule == "strict" else e.is_paper))
    trajectories = decoded.trajectories
    raw = trajectories.values[:, [trajectories.metrics.index(metric) for metric in model.metrics]]
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
        prefix=prefix_curve(
            model, decoded.scaled, RawRows(values=raw, loss=decoded.loss), convergence, seed=seed, jobs=jobs
        )
        if prefix
        else (),
        dissimilarity=dissimilarity_of(bags, model.hmm.means_, seed=seed),
        rule=rule,
        within=within,
        notes=(*runs.notes, *sequences.notes),
        model=model,
    )


def _levels(attributes: pd.DataFrame, within: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(R,) a number for each value of an attribute."""
    if within not in attributes.columns:
        known = ", ".join(map(str, attributes.columns)) or "none"
        raise AnalysisError(f"no attribute {within!r} to compare runs within; the runs have: {known}")
    codes: np.ndarray[tuple[int], np.dtype[np.int64]] = attributes[within].astype(str).factorize()[0].astype(np.int64)
    return codes


def _trajectories(
    runs: RunSet, sequences: Sequences, smoothed: Smoothed
) -> tuple[Trajectories, np.ndarray[tuple[int], np.dtype[np.float64]] | None]:
    """Metrics at the rows that were decoded, the last value carried forward, and the loss among them."""
    missing = [metric for metric in sequences.metrics if metric not in runs.metrics]
    carried = np.empty_like(runs.values)
    for _, rows in runs.slices():
        carried[rows] = carried_forward(runs.values[rows], runs.logged[rows])
    values = carried[sequences.rows]
    if missing:
        kept = runs.attributes.loc[list(sequences.runs)]
        constants = [np.repeat(kept[name].to_numpy(dtype=np.float64), sequences.lengths) for name in missing]
        values = np.column_stack([values, *constants])
    metrics = (*runs.metrics, *missing)
    loss = loss_name(metrics)
    trajectories = Trajectories(
        runs=sequences.runs,
        lengths=sequences.lengths,
        steps=sequences.steps,
        metrics=metrics,
        values=values,
        path=smoothed.path,
    )
    return trajectories, None if loss is None else values[:, metrics.index(loss)]
