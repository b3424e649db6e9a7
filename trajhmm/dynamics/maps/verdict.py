"""What a certificate says of a map, in words: one sentence, and a badge for a page or the face of a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trajhmm.hmm import Model
from trajhmm.hmm.certificate import AGREEMENT, FEWEST_RUNS, RECOVERY, SEEDS, Certificate, Halves
from trajhmm.naming import listed

_CRITERIA = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "heldout": "held-out likelihood"}


@dataclass(frozen=True, kw_only=True)
class Badge:
    """The verdict on a map in a few words, and the numbers behind it.

    Attributes
    ----------
    reproducible : None where that was not tested.
    verdict : ``reproducible``, ``not reproducible`` or ``not tested``.
    numbers : what was measured, and how much of it, from 0 to 1 in two decimals.
    """

    reproducible: bool | None
    verdict: str
    numbers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """``reproducible: halves 0.85, seeds 1.00``."""
        numbers = ", ".join(f"{name} {value}" for name, value in self.numbers)
        return f"{self.verdict}: {numbers}" if numbers else self.verdict


def badge_of(certificate: Certificate | None) -> Badge:
    """The verdict on a map; the state that comes back worst is named where that is why it is not reproducible."""
    own = None if certificate is None else certificate.at(certificate.states)
    if own is None:
        return Badge(reproducible=None, verdict="not tested")
    numbers = [("halves", decimals(own.mean, AGREEMENT))]
    if own.worst < RECOVERY:
        numbers.append(("worst state", decimals(own.worst, RECOVERY)))
    if own.seeds:
        numbers.append(("seeds", decimals(seeds_of(own), SEEDS)))
    verdict = "reproducible" if own.agree else "not reproducible"
    return Badge(reproducible=own.agree, verdict=verdict, numbers=tuple(numbers))


def describe_certificate(model: Model) -> str:
    """Whether the map of a model is reproducible, in a sentence without a capital and a full stop."""
    certificate = model.certificate
    own = None if certificate is None else certificate.at(certificate.states)
    if certificate is None or own is None:
        return f"not tested whether the map comes back: {_why_not_tested(model)}"
    if own.agree:
        outliers = f" ({_outlying(own.outliers)}, single rows far off)" if own.outliers else ""
        return f"{own.states} states come back{outliers}: {', '.join(_measured(own))}{_given_way(certificate)}"
    tried = [halves.states for halves in certificate.halves]
    if len(tried) > 1 and not any(halves.agree for halves in certificate.halves):
        found = f"none of {span(tried)} states comes back; K = {own.states} agrees best"
    else:
        found = f"{own.states} states do not come back"
    return f"no reproducible map: {found}: {', '.join(_measured(own))}; read it as a description of these runs"


def chosen_by(model: Model) -> str:
    """What chose the number of states, by the name that people know; where halves could not, that is BIC."""
    if model.criterion != "reproducible":
        return _CRITERIA[model.criterion]
    if model.certificate is None:
        return "BIC, as no halves were compared"
    if not model.certificate.halves:
        return "what could be fitted, as no half of the runs could"
    return "what comes back in halves of the runs" if model.certificate.reproducible else "agreement of halves"


def span(tried: Sequence[int]) -> str:
    """Numbers of states in order: ``2 to 8``; with gaps, ``2, 4, 8``."""
    if len(tried) > 1 and tried[-1] - tried[0] == len(tried) - 1:
        return f"{tried[0]} to {tried[-1]}"
    return listed(tried, most=len(tried))


def seeds_of(halves: Halves) -> float:
    """Mean agreement of the map with fits from other seeds."""
    return sum(halves.seeds) / len(halves.seeds)


def decimals(value: float, mark: float) -> str:
    """Two decimals, which do not reach a mark that the value falls short of."""
    rounded = round(value, 2)
    return f"{rounded - 0.01 if rounded >= mark > value else rounded:.2f}"


def _measured(halves: Halves) -> Iterator[str]:
    def against(value: float, mark: float) -> str:
        return "" if value >= mark else f"; {mark:.2f} needed"

    splits = len(halves.agreement)
    yield (
        f"halves of the runs agree to {decimals(halves.mean, AGREEMENT)} (adjusted Rand index, {splits} "
        f"split{'' if splits == 1 else 's'}{against(halves.mean, AGREEMENT)})"
    )
    worst = against(halves.worst, RECOVERY)
    yield f"the state that comes back worst to {decimals(halves.worst, RECOVERY)} (Jaccard index{worst})"
    if halves.seeds:
        mean = seeds_of(halves)
        seeds = against(mean, SEEDS).removeprefix("; ")
        yield f"other seeds to {decimals(mean, SEEDS)}" + (f" ({seeds})" if seeds else "")


def _given_way(certificate: Certificate) -> str:
    larger = certificate.given_way
    if larger is None:
        return ""
    return f"; {larger.states} come back as well, {_outlying(larger.outliers)}, single rows far off, and are not taken"


def _outlying(states: int | None) -> str:
    return "one of them an outlier state" if states == 1 else f"{states} of them outlier states"


def _why_not_tested(model: Model) -> str:
    if model.n_runs < FEWEST_RUNS:
        return f"too few runs to halve ({model.n_runs}; at least {FEWEST_RUNS} needed)"
    if model.certificate is None:
        return "the model was fitted without halves"
    return "one state is the same map always" if model.n_states == 1 else "no fit of a half came to an end"
