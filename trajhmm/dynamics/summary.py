"""An analysis in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trajhmm.dynamics.analysis import Analysis
from trajhmm.dynamics.detours.again import PrefixPoint, Refits
from trajhmm.dynamics.detours.evidence import FOUND_AGAIN, LEVEL, StateEvidence
from trajhmm.dynamics.maps.training_map import FORK_RUNS, MapEdge, TrainingMap, forks_in, left_again_in
from trajhmm.dynamics.maps.verdict import badge_of, chosen_by, decimals, describe_certificate, span
from trajhmm.features.sequences import DIVERGED
from trajhmm.hmm import Model
from trajhmm.hmm.certificate import AGREEMENT, RECOVERY, SEEDS, Certificate, ResidualSummary
from trajhmm.hmm.inference.outliers import outlier_states
from trajhmm.logs import Note
from trajhmm.shares import exact_interval

_WIDTH = 100
# An autocorrelation of pseudo-residuals from which on rows are said to remember.
_REMEMBERS = 0.3
# So many edges are told; map.json holds all.
_EDGES = 12


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an analysis found, a paragraph each; empty where there is nothing to say.

    Attributes
    ----------
    headline : the finding and how sure it is, to be quoted.
    certificate : how far the map comes back, and whether to believe it.
    fit, map : of the model and of the training map.
    edges : which runs take, and how sure their shares are.
    convergence, regression, prefix, dissimilarity : of the runs.
    detours : which states are, then a paragraph on each.
    """

    headline: str
    certificate: str
    fit: str
    map: str
    edges: str
    convergence: str
    detours: tuple[str, ...]
    regression: str
    prefix: str
    dissimilarity: str


def findings(analysis: Analysis, model: Model) -> Findings:
    """The findings, with their uncertainty and what not to conclude."""
    return Findings(
        headline=describe_finding(analysis, model),
        certificate=describe_standing(model, analysis),
        fit=describe_fit(analysis.map, model, analysis.notes),
        map=describe_map(analysis.map),
        edges=describe_edges(analysis.map, analysis.refits),
        convergence=_convergence_paragraph(analysis),
        detours=tuple(_detour_paragraphs(analysis)),
        regression=_regression_paragraph(analysis, model.scaling),
        prefix=_prefix_paragraph(analysis),
        dissimilarity=_dissimilarity_paragraph(analysis),
    )


def summarize(analysis: Analysis, model: Model) -> str:
    """The findings as paragraphs of text."""
    found = findings(analysis, model)
    paragraphs = [
        found.headline,
        found.certificate,
        found.fit,
        found.map,
        found.edges,
        found.convergence,
        *found.detours,
        found.regression,
        found.prefix,
        found.dissimilarity,
    ]
    return "\n\n".join(textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs if paragraph) + "\n"


def describe_finding(analysis: Analysis, model: Model) -> str:
    """The finding and how sure it is, in two or three sentences that can be quoted by themselves."""
    times, strict = analysis.convergence_times, [e for e in analysis.evidence_by_state if e.is_strict]
    tested = [e for e in analysis.evidence_by_state if e.p_value is not None]
    if not times.converged.any():
        finding = (
            f"No run meets '{times.condition}', so nothing here tells what delays convergence: {times.unmet}. What "
            "remains worth reading are the map and how runs move on it."
        )
    elif strict:
        finding = " ".join(_delays(e) for e in sorted(strict, key=lambda e: -(e.delay.effect if e.delay else 0.0)))
        if analysis.rule == "paper":
            finding = f"{_by_paper(analysis)} Compared where runs part: {finding}"
    else:
        why = (
            f"{len(tested)} of {model.n_states} states could be tested, and none of them delays it for sure"
            f"{_sooner(tested)}"
            if tested
            else "none could be tested, as at none of them four runs part from four others"
        )
        censored = int((~times.converged).sum())
        unseen = f"; {censored} of {len(times.runs)} runs never do and count as censored" if censored else ""
        finding = f"No state is found to delay convergence ('{times.condition}'{unseen}): {why}."
        if analysis.rule == "paper":
            finding = f"{_by_paper(analysis)} Where runs part, {finding[0].lower()}{finding[1:]}"
    sure = _sureness(model)
    # What does not come back is told before what was found on it.
    return f"{sure} {finding}" if badge_of(model.certificate).reproducible is False else f"{finding} {sure}"


def _sooner(tested: Sequence[StateEvidence]) -> str:
    """Which of the states that were tested go with converging sooner, after Holm's correction; empty if none does."""
    told = []
    for e in tested:
        if e.delay is None or e.delay.ci_high >= 0 or (e.p_adjusted or 0.0) > LEVEL or e.confounded_by:
            continue
        within = f" of those up to {e.delay.horizon:,.0f} steps after the branch" if e.delay.is_restricted else ""
        told.append(
            f"who goes into state {e.state} converges {-e.delay.effect:,.0f} steps{within} sooner than others (95% "
            f"interval {-e.delay.ci_high:,.0f} to {-e.delay.ci_low:,.0f})"
        )
    return f"; {'; '.join(told)}" if told else ""


def _by_paper(analysis: Analysis) -> str:
    """Which states the published rule names, in a sentence or two."""
    states = [e.state for e in analysis.evidence_by_state if e.is_paper]
    if not states:
        return "By the published rule (--rule paper) no state is a detour."
    is_a = "is a detour" if len(states) == 1 else "are detours"
    return (
        f"By the published rule (--rule paper) {_listed(states)} {is_a}: some runs converge without, and time there "
        "goes with late convergence. Over whole runs that is close to a tautology."
    )


def _delays(e: StateEvidence) -> str:
    """That a state is a detour, by how much, and what speaks against it, in a sentence."""
    if e.delay is None:
        return ""
    runs = "go into it" if e.is_excursion else "pass through it"
    least = "at least " if e.delay.is_lower_bound else ""
    text = (
        f"State {e.state} delays convergence: the {e.comparable_with} runs that {runs} converge {least}"
        f"{e.delay.effect:,.0f} steps later than {e.comparable_without} that stood at the same place and did not (95% "
        f"interval {e.delay.ci_low:,.0f} to {e.delay.ci_high:,.0f}, p = {e.p_adjusted:.2g} after Holm's correction"
    )
    if e.delay.is_restricted:
        these = e.comparable_with - e.comparable_converged_with
        others = e.comparable_without - e.comparable_converged_without
        who = " and ".join(f"{n} of the {name}" for n, name in ((these, "former"), (others, "latter")) if n)
        never = "converges, and counts" if these + others == 1 else "converge, and count"
        text += f"; {who} never {never} up to {e.delay.horizon:,.0f} steps after the branch"
    if e.survival is None:
        text += "; not refitted)"
    else:
        text += f"; found again in {e.survival.found} of {e.survival.refits} refits)"
    if e.confounded_by:
        text += f", but visiting goes with {', '.join(a.attribute for a in e.confounded_by)}, which may be the reason"
    return text + "."


def _sureness(model: Model) -> str:
    """How far the map comes back, in a sentence."""
    badge = badge_of(model.certificate)
    numbers = ", ".join(f"{name} {value}" for name, value in badge.numbers)
    k = f"{model.n_states} state{'' if model.n_states == 1 else 's'}"
    if badge.reproducible is None:
        return f"Whether this map of {k} comes back in other runs was not tested: fit it with --halves 5."
    if badge.reproducible:
        return f"The map of {k} comes back in other runs ({numbers}; 1 is the same map, 0 chance)."
    return (
        f"No reproducible map: that of {k} does not come back in other runs ({numbers}; 1 is the same map, 0 chance), "
        "so that what follows describes these runs alone."
    )


def describe_standing(model: Model, analysis: Analysis | None = None) -> str:
    """How far a map comes back: in halves, from other seeds, with a state less or more, and, if known, in refits."""
    told = describe_certificate(model)
    sentences = [f"{told[0].upper()}{told[1:]}.", _neighbours(model)]
    if analysis is not None:
        sentences += _refits_sentences(analysis)
    if model.certificate is not None and model.certificate.residuals is not None:
        sentences.append(describe_residuals(model.certificate.residuals, remembers=_remembers(model)))
    badge = badge_of(model.certificate)
    sentences.append(f"In short: {badge}.")
    if badge.reproducible:
        sentences.append("That says that the map comes back in other runs, not that it explains each row.")
    return " ".join(sentence for sentence in sentences if sentence)


def describe_residuals(residuals: ResidualSummary, *, remembers: bool) -> str:
    """What the map did not expect of its rows, in a sentence or two.

    Parameters
    ----------
    residuals : pseudo-residuals of the map.
    remembers : whether the map's rows remember the ones before them already.
    """
    known = [one for one in residuals.metrics if one.autocorrelation.value is not None]
    if not known:
        return ""
    memory = [float(one.autocorrelation.value or 0.0) for one in known]
    beyond = [float(one.beyond.value or 0.0) for one in known]
    highest = known[int(np.argmax(memory))].metric
    told = (
        f"What it does not expect of a row (pseudo-residuals; of a right model independent and normal) has an "
        f"autocorrelation of {_signed(np.median(memory))} in the median metric, {_signed(max(memory))} in {highest}, "
        f"and lies beyond three spreads in {np.mean(beyond):.1%} of values (0.3% expected)."
    )
    if remembers or np.median(memory) < _REMEMBERS:
        return told
    return f"{told} Rows remember the ones before them: likelihoods and BIC are too sure; --emissions ar models it."


def _remembers(model: Model) -> bool:
    return model.parameters.autoregression is not None


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _neighbours(model: Model) -> str:
    if model.certificate is None:
        return ""
    around = [model.certificate.at(k) for k in (model.n_states - 1, model.n_states + 1)]
    parts = [
        f"with {one.states} states halves agree to {decimals(one.mean, AGREEMENT)}, the worst state to "
        f"{decimals(one.worst, RECOVERY)}"
        for one in around
        if one is not None
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}.{_why_no_more(model, model.certificate)}" if text else ""


def _why_no_more(model: Model, certificate: Certificate) -> str:
    """Why the map has no more states, where those were tried and do not come back."""
    k, own = model.n_states, certificate.at(model.n_states)
    larger = [one for one in certificate.halves if one.states > k]
    if model.criterion != "reproducible" or own is None or not own.agree or not larger or any(o.agree for o in larger):
        return ""
    return (
        f" So {k} are taken, the most that come back: halves are to agree to {AGREEMENT:.2f}, the worst state to "
        f"{RECOVERY:.2f}, other seeds to {SEEDS:.2f}."
    )


def _refits_sentences(analysis: Analysis) -> list[str]:
    refits = analysis.refits
    if refits is None:
        return ["No refits: what follows rests on one fit."]
    agreement = refits.agreement
    all_of = (
        f"{refits.n} refits ({refits.resampled} to runs drawn with replacement, {refits.seeds} to all runs from other "
        f"seeds) agree with the map to {agreement.mean():.2f} on average ({agreement.min():.2f} to "
        f"{agreement.max():.2f})."
    )
    once = [e.state for e in analysis.evidence_by_state if e.passes_test or refits.detours[e.state]]
    detours = "; ".join(f"state {state} in {_share(refits, refits.detours[state])}" for state in once)
    forks = "; ".join(
        f"after state {state} in {_share(refits, refits.forks[state])}" for state in forks_of(analysis.map)
    )
    return [
        all_of,
        f"Found to be a detour in refits: {detours}." if once else "No refit finds a detour.",
        f"Forks of the map found again: {forks}." if forks else "",
        *(
            f"With {k} states {f'counterparts of {_listed(list(states))} pass' if states else 'no counterpart passes'} "
            "the test of a detour."
            for k, states in sorted(refits.others.items())
        ),
    ]


def _share(refits: Refits, found: int) -> str:
    low, high = refits.interval(int(found))
    return f"{found} of {refits.n} ({found / refits.n:.0%}, 95% interval {low:.0%} to {high:.0%})"


def describe_fit(training_map: TrainingMap, model: Model, notes: Iterable[Note]) -> str:
    """How the model was fitted, how that ended, and what was cut from the runs."""
    tried = [point.states for point in model.curve]
    chosen = f"chosen by {chosen_by(model)}, from {span(tried)}" if len(tried) > 1 else "as asked for"
    status = {
        "converged": "EM converged",
        "max_iterations": "EM ran out of iterations before it converged",
        "degenerate": "EM degenerated",
    }[model.status.outcome]
    text = (
        f"{len(training_map.runs)} runs, {len(training_map.path):,} rows, {len(model.metrics)} metrics. "
        f"{model.n_states} states ({chosen}), {model.settings.covariance_type} covariance, scaling {model.scaling}; "
        f"{status}."
    )
    if model.parameters.scale_variance is not None:
        text += " No map came back without, so each run has a scale of its own, learnt with the states."
    if len(tried) > 1 and model.n_states == max(tried):
        if model.criterion == "reproducible" and model.certificate is not None:
            text += " That is the most that was tried; more states may come back as well (--states)."
        else:
            text += (
                " That is the most that was tried: rows of one run depend on each other, so that criterion asks for"
                " ever more states; read the states as a description, not as a count of what exists."
            )
    cut = sum(note.kind == "cut" and note.text.startswith(DIVERGED) for note in notes)
    if cut:
        text += f" {cut} {'run' if cut == 1 else 'runs'} diverged and {'was' if cut == 1 else 'were'} cut there."
    return text


def describe_map(training_map: TrainingMap) -> str:
    """Which states only some runs ever visit, and where the map forks."""
    everyone = len(training_map.runs)
    optional = [state for state in training_map.states if 0 < state.runs < everyone]
    if optional:
        counts = ", ".join(f"{state.runs} of {everyone} visit state {state.state}" for state in optional)
        text = f"Runs, ever: {counts}; all visit the others."
    else:
        text = "Runs, ever: all visit the same states."
    if empty := [state.state for state in training_map.states if not state.runs]:
        text = text.replace("the others.", "the rest.") + f" No run visits {_listed(empty)}."
    path, lengths, n = training_map.settled(), training_map.lengths, training_map.n_states
    again = np.flatnonzero(left_again_in(path, lengths, n)).tolist()
    if forks := forks_of(training_map):
        text += (
            f" The map forks after {_listed(forks)}: at least {FORK_RUNS} runs go one way and never the other, and as"
            " many the other way."
        )
    elif again:
        text += (
            f" The map does not fork: more than one arrow leaves {_listed(again)}, but the same runs take them, one "
            "after the other."
        )
    return text + _about_outliers(training_map)


def _about_outliers(training_map: TrainingMap) -> str:
    """A sentence on states that are single rows far off; empty if there are none."""
    outliers = sorted(outlier_states(training_map.path, training_map.lengths, training_map.n_states))
    strays = (
        " Rows far off that have no state of their own lie in others: a row or two elsewhere, between longer stays in"
        " one state, is no leaving where forks and delays are looked for."
        if training_map.has_strays
        else ""
    )
    if not outliers:
        return strays
    is_no, they = (
        ("is an outlier state, no place", "it") if len(outliers) == 1 else ("are outlier states, no places", "them")
    )
    return (
        f" {_listed(outliers).capitalize()} {is_no} that training passes through: runs are in {they} for a row or two"
        " and then mostly back where they were, as noise with heavy tails has it. What delays is looked for as if they"
        f" had never been away.{strays}"
    )


def forks_of(training_map: TrainingMap) -> list[int]:
    """States at which runs part; see `trajhmm.dynamics.maps.training_map.forks_in`."""
    found: list[int] = np.flatnonzero(
        forks_in(training_map.settled(), training_map.lengths, training_map.n_states)
    ).tolist()
    return found


def describe_edges(training_map: TrainingMap, refits: Refits | None) -> str:
    """How many runs ever take each edge, the share with its interval, and how many refits have the edge."""
    if not training_map.edges:
        return ""
    by_runs = sorted(training_map.edges, key=lambda edge: -edge.runs)
    told = "; ".join(_told(edge, len(training_map.runs), refits) for edge in by_runs[:_EDGES])
    heading = "Edges, runs ever (95% interval of the share of runs" + (")" if refits is None else "; refits with it)")
    more = len(by_runs) - _EDGES
    return f"{heading}: {told}" + (f"; {more} more in map.json." if more > 0 else ".")


def _told(edge: MapEdge, n_runs: int, refits: Refits | None) -> str:
    low, high = share_of_runs(edge.runs, n_runs)
    again = "" if refits is None else f"; {refits.edges[edge.source, edge.target]} of {refits.n}"
    return f"{edge.source}→{edge.target} {edge.runs} of {n_runs} ({low:.0%} to {high:.0%}{again})"


def share_of_runs(runs: int, n_runs: int) -> tuple[float, float]:
    """95% Clopper–Pearson interval of a share of runs."""
    return exact_interval(runs, n_runs)


def _convergence_paragraph(analysis: Analysis) -> str:
    times = analysis.convergence_times
    converged = times.steps[times.converged]
    if not len(converged):
        return f"None of {len(times.runs)} runs meets '{times.condition}': {times.unmet}."
    text = f"{len(converged)} of {len(times.runs)} runs meet '{times.condition}'"
    text += f", at steps {converged.min():,} to {converged.max():,} (median {np.median(converged):,.0f})"
    censored = len(times.runs) - len(converged)
    if censored:
        do = "does not and counts" if censored == 1 else "do not and count"
        text += f"; {censored} {do} as censored at the last step"
    return text + "."


def _detour_paragraphs(analysis: Analysis) -> list[str]:
    evidence = analysis.evidence_by_state
    tested = sum(e.p_value is not None for e in evidence)
    strict = [e for e in evidence if e.is_strict]
    lost = [e for e in evidence if e.passes_test and not e.is_strict]
    paper = [e.state for e in evidence if e.is_paper]
    if not analysis.convergence_times.converged.any():
        found = "No state can be tested as a detour: no run converges."
    elif not tested:
        found = (
            "No state can be tested as a detour: before convergence none is passed through by four runs and skipped by "
            "four others that stood at the same place."
        )
    elif not strict:
        found = f"No detour by the strict rule; {tested} of {len(evidence)} states could be tested."
    else:
        found = (
            f"Detours by the strict rule: {_listed([e.state for e in strict])}; "
            f"{tested} of {len(evidence)} states could be tested."
        )
    if lost:
        passes, is_found = ("passes", "is") if len(lost) == 1 else ("pass", "are")
        found += (
            f" {_listed([e.state for e in lost]).capitalize()} {passes} the test on this fit, but {is_found} found "
            f"again in fewer than {FOUND_AGAIN:.0%} of the refits."
        )
    if analysis.within is not None:
        found += f" Runs were compared only where they have the same {analysis.within}"
        if analysis.alone:
            whose = "is the only one of its" if analysis.alone == 1 else "are the only ones of their"
            found += f": {analysis.alone} of {len(analysis.smoothed.runs)} {whose} value, and compared with none"
        found += "."
    named = _listed(paper) if paper else "none"
    by_paper = (
        f" The published rule, by which time in a state goes with late convergence (--rule paper), names {named}."
    )
    return [found + by_paper, *(describe_detour(e) for e in (*strict, *lost))]


def describe_detour(e: StateEvidence) -> str:
    """What is known of a state that passes the branch test, in sentences; empty if it was not tested."""
    if e.delay is None:
        return ""
    delay = e.delay
    title = f"State {e.state} is a detour" if e.is_strict else f"State {e.state}, on this fit"
    if e.is_excursion:
        with_it, without = "runs that go into it", "runs that had been as long in the state they left, from then on"
    else:
        with_it, without = "runs that pass through it", "runs that leave the same state for another"
    if delay.is_restricted:
        bound = "The delay is a lower bound: counted" if delay.is_lower_bound else "The delay is counted"
        text = (
            f"{title}: of the {with_it}, {e.comparable_converged_with} of {e.comparable_with} converge by step "
            f"{e.watched_until:,}, against {e.comparable_converged_without} of {e.comparable_without} {without}. "
            f"{bound} up to {delay.horizon:,.0f} steps after the branch, when the last run converges, "
            f"{delay.effect:,.0f} steps"
        )
    else:
        text = (
            f"{title}: {with_it} ({e.comparable_with}) converge {delay.effect:,.0f} steps later after the branch than "
            f"{without} ({e.comparable_without})"
        )
    text += (
        f", 95% interval {delay.ci_low:,.0f} to {delay.ci_high:,.0f}, p = {e.p_value:.2g}, {e.p_adjusted:.2g} after "
        "Holm's correction."
    )
    text += f" Before convergence {e.runs_with} runs visit it and {e.runs_without} do not; ever, {e.runs_ever} do."
    if e.confounded_by:
        names = "; ".join(association.describe() for association in e.confounded_by)
        text += (
            f" Confounded: among these runs, visiting goes with {names}. The delay may be that of the attribute: "
            f"compare within it, --within {e.confounded_by[0].attribute}."
        )
    if e.survival:
        low, high = e.survival.interval
        text += (
            f" Found again in {e.survival.found} of {e.survival.refits} refits (resampled runs, other seeds; "
            f"{e.survival.share:.0%}, 95% interval {low:.0%} to {high:.0%})."
        )
        if e.survival.share < 0.5:
            text += " That is fewer than half: do not build on it."
    else:
        text += " Not refitted: this rests on one fit."
    return text


def _regression_paragraph(analysis: Analysis, scaling: str) -> str:
    regression = analysis.regression
    if regression.r2 is None or regression.loro_r2 is None:
        reason = regression.why_not or "nothing to regress"
        return f"No regression of convergence on the states: {reason}."
    text = (
        f"Convergence step on the share of rows in each state, {regression.n_runs} converged runs: R² = "
        f"{regression.r2:.3f}, leave-one-run-out {regression.loro_r2:.3f}"
    )
    if regression.f_p_value is not None:
        text += f", F test p = {regression.f_p_value:.2g}"
    text += f", permutation p = {regression.permutation_p:.2g}."
    if scaling != "per-run":
        return text + (
            " Mind the tautology: over a whole run, time spent in the states before convergence is the convergence"
            " time. A high R² here says little about cause."
        )
    return text + (
        " Mind the tautology: over a whole run, time spent in the states before convergence is the convergence time,"
        " and scaling by the whole run tells even the first rows how the run ends: early forks may only sort runs by"
        " outcome. A high R² here says little about cause."
    )


def _prefix_paragraph(analysis: Analysis) -> str:
    if not analysis.prefix:
        return ""
    middle = analysis.prefix[len(analysis.prefix) // 2]
    text = (
        "What the first rows say of the future (held out by run: fit, scale and regression): after "
        f"{middle.rows} rows (step {middle.step:,.0f}, {middle.n_runs} runs to go) the time still to convergence is "
        f"predicted with R² = {middle.r2_states:.2f} from the states"
    )
    if middle.r2_loss is None:
        return text + "."
    ahead = sum(_is_ahead(point) for point in analysis.prefix)
    better = "no better" if 2 * ahead <= len(analysis.prefix) else "better"
    return text + (
        f", {middle.r2_step:.2f} from the step alone and {middle.r2_loss:.2f} from the loss alone; the states beat "
        f"both, and a guess of the mean, at {ahead} of {len(analysis.prefix)} points, so they tell it {better}."
    )


def _is_ahead(point: PrefixPoint) -> bool:
    """Whether the states say more than loss, step and nothing, R² = 0, in the two decimals that are printed."""
    if point.r2_loss is None:
        return False
    return round(point.r2_states, 2) > max(round(point.r2_loss, 2), round(point.r2_step, 2), 0.0)


def _dissimilarity_paragraph(analysis: Analysis) -> str:
    distance = analysis.dissimilarity.total_variation
    if distance.mean is None:
        return ""
    if distance.ci_low is None or distance.ci_high is None:
        interval = "too few runs for an interval"
    else:
        interval = f"95% interval {distance.ci_low:.0%} to {distance.ci_high:.0%}"
    what = "mean total variation of the bags of states"
    return f"Two runs differ in {distance.mean:.0%} of their time ({what}, {interval})."


def _listed(states: list[int]) -> str:
    names = [str(state) for state in states]
    head = "state" if len(names) == 1 else "states"
    return f"{head} {names[0]}" if len(names) == 1 else f"{head} {', '.join(names[:-1])} and {names[-1]}"
