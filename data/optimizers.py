"""Optimizers in plain numpy, for the audits that train without PyTorch; each step changes parameters where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]  # single or double precision, which is kept

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam and AdamW, as PyTorch's
SMOOTHING = 0.99  # of RMSprop


class Optimizer(Protocol):
    """What changes parameters, given their gradients."""

    def step(self, parameters: Arrays, gradients: Arrays, rate: float) -> None:
        """Change each of the parameters in place."""

    def forget(self) -> None:
        """Lose all that is remembered of earlier gradients, as a resume without the optimizer's state does."""


class Momentum:
    """Stochastic gradient descent with momentum; weight decay is part of the gradient."""

    def __init__(self, momentum: float, weight_decay: float) -> None:
        self._momentum, self._weight_decay = momentum, weight_decay
        self.forget()

    def step(self, parameters: Arrays, gradients: Arrays, rate: float) -> None:
        """Move along the velocity."""
        for name, p in parameters.items():
            velocity = self._velocity.get(name, np.zeros_like(p))
            velocity = self._momentum * velocity + gradients[name] + self._weight_decay * p
            self._velocity[name] = velocity
            _descend(p, rate * velocity)

    def forget(self) -> None:
        """Stand still."""
        self._velocity: dict[str, NDArray[Any]] = {}


class Adam:
    """Adam (Kingma and Ba 2015); weight decay apart from the gradient makes it AdamW (Loshchilov and Hutter 2019).

    Parameters
    ----------
    first : share of the mean gradient that is kept at each step.
    weight_decay : share of the parameters, times the rate, that is lost at each step.
    """

    def __init__(self, first: float = BETAS[0], weight_decay: float = 0.0) -> None:
        self._first, self._weight_decay = first, weight_decay
        self.forget()

    def step(self, parameters: Arrays, gradients: Arrays, rate: float) -> None:
        """Move by the mean gradient over the root of the mean square, both corrected for their start at 0."""
        self._steps += 1
        first, second = self._first, BETAS[1]
        for name, p in parameters.items():
            mean, square = self._moments.setdefault(name, (np.zeros_like(p), np.zeros_like(p)))
            mean += (1 - first) * (gradients[name] - mean)
            square += (1 - second) * (np.square(gradients[name]) - square)
            scale = np.sqrt(square / (1 - second**self._steps)) + EPSILON
            if self._weight_decay:
                _descend(p, rate * self._weight_decay * p)
            _descend(p, rate / (1 - first**self._steps) * mean / scale)

    def forget(self) -> None:
        """Start anew, correction and all."""
        self._steps = 0
        self._moments: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}


class RMSprop:
    """Gradient over the root of its mean square; as in PyTorch, nothing is corrected for the start at 0.

    Parameters
    ----------
    weight_decay : part of the gradient.
    """

    def __init__(self, weight_decay: float = 0.0) -> None:
        self._weight_decay = weight_decay
        self.forget()

    def step(self, parameters: Arrays, gradients: Arrays, rate: float) -> None:
        """Move by the gradient over the root of its mean square."""
        for name, p in parameters.items():
            gradient = gradients[name] + self._weight_decay * p
            square = self._squares.setdefault(name, np.zeros_like(p))
            square += (1 - SMOOTHING) * (np.square(gradient) - square)
            _descend(p, rate * gradient / (np.sqrt(square) + EPSILON))

    def forget(self) -> None:
        """Start anew."""
        self._squares: dict[str, NDArray[Any]] = {}


def _descend(parameter: NDArray[Any], by: NDArray[Any]) -> None:
    np.subtract(parameter, by, out=parameter)
