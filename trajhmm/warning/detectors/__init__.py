"""Detectors behind one interface, by name: what trajhmm warns with, and the baselines to beat."""

from __future__ import annotations

from typing import Any

from trajhmm.errors import FitError
from trajhmm.naming import instead_of
from trajhmm.warning.detectors.chance import NonFiniteCheck, RandomAlarm, StepHazard
from trajhmm.warning.detectors.changepoints import BayesianChangePoints
from trajhmm.warning.detectors.densities import (
    DifferencesMixture,
    FeatureDetector,
    GaussianMixture,
    IsolationForest,
    MahalanobisDistance,
    OwnPastMixture,
    VectorAutoregression,
)
from trajhmm.warning.detectors.drift import Adwin, Cusum, LossGrowth, PageHinkley
from trajhmm.warning.detectors.envelope import Envelope
from trajhmm.warning.detectors.hmm import HMMSurprise
from trajhmm.warning.detectors.interface import Detector, Reference, SeriesDetector
from trajhmm.warning.detectors.peers import ArcTraining, LossLint, RLWatch, TrainScope, TrainSpotter
from trajhmm.warning.detectors.portfolio import OwnPast, ViewPortfolio
from trajhmm.warning.detectors.slowing import SlowingDown
from trajhmm.warning.detectors.spikes import (
    LossSpikeKiller,
    MedianZScore,
    Olmo2SpikeRule,
    OlmoCoreMonitor,
    WandbZScore,
    ZClip,
)
from trajhmm.warning.detectors.standardise import Features, StandardisedMetrics
from trajhmm.warning.detectors.supervised import LogisticWindows

# In the order of tables: what looks at nothing, what needs no reference, what does.
DETECTORS: dict[str, type[Detector]] = {
    kind.name: kind
    for kind in (
        RandomAlarm,
        StepHazard,
        NonFiniteCheck,
        OlmoCoreMonitor,
        Olmo2SpikeRule,
        ZClip,
        LossSpikeKiller,
        WandbZScore,
        MedianZScore,
        Cusum,
        PageHinkley,
        Adwin,
        LossGrowth,
        BayesianChangePoints,
        SlowingDown,
        TrainSpotter,
        LossLint,
        TrainScope,
        RLWatch,
        ArcTraining,
        Envelope,
        MahalanobisDistance,
        VectorAutoregression,
        GaussianMixture,
        DifferencesMixture,
        OwnPastMixture,
        IsolationForest,
        LogisticWindows,
        HMMSurprise,
        OwnPast,
        ViewPortfolio,
    )
}


def make_detector(name: str, **settings: Any) -> Detector:
    """A detector by its name, not fitted.

    Raises
    ------
    FitError
        No detector of that name.
    """
    if name not in DETECTORS:
        raise FitError(f"no detector {name!r}{instead_of(name, DETECTORS)}")
    return DETECTORS[name](**settings)


def baselines() -> dict[str, Detector]:
    """All detectors to beat, with their default settings, by name."""
    return {name: kind() for name, kind in DETECTORS.items() if kind not in (OwnPast, ViewPortfolio)}


__all__ = [
    "DETECTORS",
    "Detector",
    "FeatureDetector",
    "Features",
    "HMMSurprise",
    "Reference",
    "SeriesDetector",
    "StandardisedMetrics",
    "baselines",
    "make_detector",
]
