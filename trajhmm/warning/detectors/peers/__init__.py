"""Monitors of other people, from PyPI, each at its own defaults: ``pip install 'trajhmm[peers]'``.

Each adapter is a file: which metrics the package reads, under what names, and how its documentation says to drive it.
Its alerts are the score, by how grave it finds them, and its own rule is the published threshold. A package that is not
installed, or in another version, is a `FitError`, which a comparison shows as the reason for an empty row.

All five can be driven from logs. What of them cannot is left out: trainscope's records of layers and arc's Lyapunov
exponents and weight health, which need a model; trainspotter's and losslint's findings about the learning rate,
throughput and held-out loss, of which none is grave enough to stop a run; rlwatch's rules for single rewards. arc is
under the AGPL, trajhmm and the others under permissive licences.
"""

from trajhmm.warning.detectors.peers.arc import ArcTraining
from trajhmm.warning.detectors.peers.losslint import LossLint
from trajhmm.warning.detectors.peers.peer import Peer
from trajhmm.warning.detectors.peers.rlwatch import RLWatch
from trajhmm.warning.detectors.peers.trainscope import TrainScope
from trajhmm.warning.detectors.peers.trainspotter import TrainSpotter

__all__ = ["ArcTraining", "LossLint", "Peer", "RLWatch", "TrainScope", "TrainSpotter"]
