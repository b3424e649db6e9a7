"""Audit a policy-gradient agent on cart-pole: four kinds of perturbation, each at four strengths, and log it all.

Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347) with a policy and a value network, both small
perceptrons, on the cart-pole of Barto, Sutton and Anderson (1983) with the constants and limits of gymnasium's
CartPole-v1. All carts balance in parallel as one array, in double precision, and gradients are written out, so that it
needs neither PyTorch nor gymnasium. Run from anywhere::

    python data/audit_rl/generate.py
    python data/audit_rl/generate.py --arm sweep
    python data/audit_rl/generate.py --seeds 1 --steps 50 -o check.parquet

A step is one update of the agent: a rollout and eight steps of Adam.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from audits import amount, audit_runs
from common import Arm, Run, generate
from optimizers import Adam, Momentum, Optimizer, RMSprop
from sweeps import Grid, batch_size_at, configuration, happens, rate_at, sweep_runs
from trajhmm.metrics import RunLogger, update_metrics, weight_metrics

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The cart-pole: metres, kilograms, seconds, newtons, radians.
GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, PUSH, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
ANGLE_LIMIT, PLACE_LIMIT, LONGEST = 12 * 2 * np.pi / 360, 2.4, 500
# The agent.
WIDTH = 32
CARTS, TICKS = 64, 64  # of a rollout
DISCOUNT, TRACE = 0.99, 0.98
REWARD = 1 - DISCOUNT  # for each tick, so that values lie between 0 and 1
BATCHES, BATCH, BUFFERED_BATCH = 8, 512, 64
LEARNING_RATE = 1e-3
CLIP, ENTROPY_BONUS, LARGEST_GRADIENT = 0.2, 0.01, 0.5
SMALLEST_SPREAD = 1e-3  # of advantages: where all go alike, what is left is noise, not to be blown up
RECENT = 64  # episodes that the return is the mean of
# The audit.
STEPS = 450
ONSET, RAMP = (110, 151), 80
STRENGTHS = {
    "optimization": (15, 30, 50, 250),  # learning rate multiplied by 1 + …
    "environment": (0.7, 0.85, 1.05, 1.25),  # wind on the cart, to the right, as a share of its own push
    "parameters": (0.04, 0.07, 0.12, 0.2),  # noise on each parameter, as a share of the root mean square of its array
    "learning_signal": (0.25, 0.5, 0.75, 1.0),  # share of rewards with the wrong sign
}
RUNS = audit_runs(
    STRENGTHS,
    onset=ONSET,
    learning_rate=LEARNING_RATE,
    batch_size=BATCH,
    buffer=f"batch size {BUFFERED_BATCH}",
    buffered_batch_size=BUFFERED_BATCH,
)
# The sweep arm.
HIGH_MOMENTUM = "adam_beta1_0.99"
CORRUPT = -20.0  # what the rewards of one rollout are multiplied by
SPONTANEOUS = [
    ("high_learning_rate", configuration("adam", learning_rate=0.05, warm_up=0, batch_size=512, width=32)),
    ("high_learning_rate", configuration("adam", learning_rate=0.1, warm_up=100, batch_size=512, width=24)),
    ("high_learning_rate", configuration("adam", learning_rate=0.1, warm_up=60, batch_size=512, width=32)),
    ("high_learning_rate", configuration("rmsprop", learning_rate=0.02, warm_up=30, batch_size=256, width=32)),
    ("long_warm_up", configuration("adam", learning_rate=0.15, warm_up=400, batch_size=256, width=32)),
    ("long_warm_up", configuration("adam", learning_rate=0.3, warm_up=600, batch_size=512, width=32)),
    ("long_warm_up", configuration("adamw", learning_rate=0.3, warm_up=600, batch_size=512, width=48)),
    ("long_warm_up", configuration("rmsprop", learning_rate=0.06, warm_up=600, batch_size=256, width=32)),
    ("long_warm_up", configuration("rmsprop", learning_rate=0.06, warm_up=600, batch_size=512, width=24)),
    ("long_warm_up", configuration("sgd", learning_rate=4, warm_up=400, batch_size=256, width=32)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.02, warm_up=0, batch_size=256, width=32)),
    ("high_momentum", configuration(HIGH_MOMENTUM, learning_rate=0.04, warm_up=100, batch_size=512, width=32)),
]
SWEEP = sweep_runs(
    Grid(
        learning_rates={
            "adam": (5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3),
            "adamw": (5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3),
            "rmsprop": (5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3),
            "sgd": (0.05, 0.07, 0.1, 0.14, 0.2),
        },
        warm_ups=(0, 10, 30),
        batch_sizes=(128, 256, 512),
        widths=(24, 32, 48),
        # One run of 9 falls below 40% of its best while it learns.
        numbers=(*range(9), 24, *range(10, 24)),
        largest_batch=BATCH,
    ),
    SPONTANEOUS,
    strengths={
        "optimization": (30, 50, 15),
        "environment": (0.7, 0.85, 1.05),
        "parameters": (0.07, 0.12, 0.2),
        "learning_signal": (0.25, 0.5, 0.75),
    },
    onset=ONSET,
    ramp=RAMP,
    event=(150, 250),
    every=1,
)


def advance(state: F64, right: Bools, wind: float = 0.0) -> F64:
    """Move all carts by one tick, with Euler's method.

    Parameters
    ----------
    state : (4, carts) place and speed of the cart, angle of the pole from upright and its speed.
    right : (carts,) whether the cart is pushed to the right, else to the left.
    wind : what pushes beside that, in newtons.

    Returns
    -------
    (4, carts) the next states, of carts that have fallen too.
    """
    _, x_dot, theta, theta_dot = state
    mass, moment = POLE_MASS + CART_MASS, POLE_MASS * HALF_LENGTH
    cosine, sine = cosine_and_sine(theta)
    pushed = (np.where(right, PUSH, -PUSH) + wind + moment * np.square(theta_dot) * sine) / mass
    theta_dot_dot = (GRAVITY * sine - cosine * pushed) / (
        HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cosine) / mass)
    )
    x_dot_dot = pushed - moment * theta_dot_dot * cosine / mass
    return state + TICK * np.stack([x_dot, x_dot_dot, theta_dot, theta_dot_dot])


def cosine_and_sine(angle: F64) -> tuple[F64, F64]:
    """To the last digit for angles up to 0.4, and the same on every machine: sums, products and quotients alone.

    Libraries differ in the last digit of a cosine. A falling pole doubles that every nine ticks, and many episodes
    later whole runs would differ.
    """
    square = angle * angle
    cosine = sine = np.ones_like(square)
    for n in range(14, 0, -2):
        cosine = 1 - square / (n * (n - 1)) * cosine
        sine = 1 - square / (n * (n + 1)) * sine
    return cosine, angle * sine


def has_fallen(state: F64) -> Bools:
    """(carts,) whether the pole leans too far or the cart has left its track."""
    return (np.abs(state[0]) > PLACE_LIMIT) | (np.abs(state[2]) > ANGLE_LIMIT)


class Carts:
    """Cart-poles in parallel; one that has fallen, or stood for as long as it may, starts anew."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.state = self._starts(CARTS)
        self._elapsed = np.zeros(CARTS, dtype=np.int64)

    def _starts(self, n: int) -> F64:
        return self._rng.uniform(-0.05, 0.05, (n, 4)).T.copy()

    def push(self, right: Bools, wind: float) -> tuple[F64, Bools, Bools, list[int]]:
        """Push all carts once.

        Returns
        -------
        (4, carts) the states that this led to, (carts,) which have fallen, (carts,) whose episode is over, and how long
        those episodes were.
        """
        led_to = advance(self.state, right, wind)
        self._elapsed += 1
        fallen = has_fallen(led_to)
        over = fallen | (self._elapsed >= LONGEST)
        lengths: list[int] = self._elapsed[over].tolist()
        self.state = led_to
        if lengths:
            self.state = led_to.copy()
            self.state[:, over] = self._starts(len(lengths))
            self._elapsed[over] = 0
        return led_to, fallen, over, lengths


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """Two hidden layers of so many tanh units each, ``width`` below."""

    weights: list[F64]  # each (out, in)
    biases: list[F64]

    def layers(self, x: F64) -> list[F64]:
        """The (n, in) input, both (n, width) hidden layers and the (n, out) output."""
        found = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            found.append(np.tanh(found[-1] @ weight.T + bias))
        return [*found, found[-1] @ self.weights[-1].T + self.biases[-1]]

    def differentiate(self, layers: list[F64], slope: F64, gradient: Perceptron) -> None:
        """Write the gradient of a loss into ``gradient``, given its (n, out) ``slope`` with the output."""
        for index in reversed(range(len(self.weights))):
            np.matmul(slope.T, layers[index], out=gradient.weights[index])
            np.sum(slope, axis=0, out=gradient.biases[index])
            if index:
                slope = (slope @ self.weights[index]) * (1 - np.square(layers[index]))


def shapes_of(width: int) -> list[list[tuple[int, int]]]:
    """Of the weights of the policy and of the value network, each (out, in)."""
    return [[(width, 4), (width, width), (out, width)] for out in (2, 1)]


def parameters_in(width: int) -> int:
    """How many parameters both networks have."""
    return sum(out * (into + 1) for shapes in shapes_of(width) for out, into in shapes)


def networks_in(vector: F64, width: int) -> tuple[Perceptron, Perceptron]:
    """Policy and value network whose parameters are views into one vector of them all."""
    made, start = [], 0
    for shapes in shapes_of(width):
        network = Perceptron(weights=[], biases=[])
        for out, into in shapes:
            middle, end = start + out * into, start + out * into + out
            network.weights.append(vector[start:middle].reshape(out, into))
            network.biases.append(vector[middle:end])
            start = end
        made.append(network)
    return made[0], made[1]


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What all carts went through between two updates, n = TICKS × CARTS ticks; all but the last field (n, …)."""

    states: F64  # (n, 4)
    right: Bools
    log_chance: F64  # of the push that was made
    values: F64
    returns: F64
    advantages: F64
    lengths: list[int]  # of the episodes that ended


def roll_out(
    carts: Carts,
    networks: tuple[Perceptron, Perceptron],
    luck: np.random.Generator,
    flips: np.random.Generator,
    *,
    wind: float,
    flipped: float,
    scale: float = 1.0,
) -> Rollout:
    """Let all carts go on for TICKS ticks.

    Parameters
    ----------
    wind : on the carts, in newtons.
    flipped : share of the rewards that have the wrong sign.
    scale : what the rewards are multiplied by.
    """
    policy, value = networks
    states, led_to = np.empty((2, TICKS, CARTS, 4))
    right, fallen, over = np.empty((3, TICKS, CARTS), dtype=bool)
    preference = np.empty((TICKS, CARTS))  # log odds of a push to the right
    lengths: list[int] = []
    # Log odds above logistic noise: with the probability that they stand for.
    noise = luck.logistic(size=(TICKS, CARTS))
    for t in range(TICKS):
        states[t] = carts.state.T
        output = policy.layers(states[t])[-1]
        preference[t] = output[:, 1] - output[:, 0]
        right[t] = preference[t] > noise[t]
        after, fallen[t], over[t], ended = carts.push(right[t], wind)
        led_to[t] = after.T
        lengths += ended
    values = value.layers(states.reshape(-1, 4))[-1].reshape(TICKS, CARTS)
    # Of the state that a tick led to: that of the next tick, but where an episode or the rollout ends.
    next_values = np.roll(values, -1, axis=0)
    last = over.copy()
    last[-1] = True
    next_values[last] = value.layers(led_to[last])[-1][:, 0]
    rewards = np.full((TICKS, CARTS), REWARD * scale)
    rewards[flips.random((TICKS, CARTS)) < flipped] *= -1
    advantages = estimate(rewards, values, np.where(fallen, 0.0, next_values), over)
    return Rollout(
        states=states.reshape(-1, 4),
        right=right.ravel(),
        log_chance=log_sigmoid(np.where(right, preference, -preference)).ravel(),
        values=values.ravel(),
        returns=(values + advantages).ravel(),
        advantages=advantages.ravel(),
        lengths=lengths,
    )


def estimate(rewards: F64, values: F64, next_values: F64, over: Bools) -> F64:
    """Generalized advantage estimates (Schulman et al. 2016, arXiv 1506.02438); all (TICKS, CARTS)."""
    surprises = rewards + DISCOUNT * next_values - values
    advantages = np.empty_like(surprises)
    later = np.zeros(CARTS)
    for t in reversed(range(TICKS)):
        later = surprises[t] + DISCOUNT * TRACE * np.where(over[t], 0.0, later)
        advantages[t] = later
    return advantages


def log_sigmoid(x: F64) -> F64:
    """Log of the logistic function."""
    return -np.logaddexp(0.0, -x)


class Agent:
    """Policy and value network, and what trains both: Adam, but for some runs of the sweep arm."""

    def __init__(self, rng: np.random.Generator, width: int = WIDTH, optimizer: Optimizer | None = None) -> None:
        self.parameters, self._gradient = np.zeros((2, parameters_in(width)))
        self.networks = networks_in(self.parameters, width)
        self._gradients = networks_in(self._gradient, width)
        self.optimizer = Adam() if optimizer is None else optimizer
        for network in self.networks:
            for weight in network.weights:
                weight[...] = rng.standard_normal(weight.shape) / np.sqrt(weight.shape[1])
        self.networks[0].weights[-1][...] *= 0.01  # both pushes alike at first

    def update(self, rollout: Rollout, order: NDArray[np.int64], batch: int, learning_rate: float) -> dict[str, float]:
        """Take BATCHES steps of the optimizer, each on the next ``batch`` ticks in ``order``.

        Returns
        -------
        Metrics, means over the steps; the norm of the gradient before it is cut.
        """
        centred = rollout.advantages - rollout.advantages.mean()
        advantages = centred / (rollout.advantages.std() + SMALLEST_SPREAD)
        rows = []
        for chosen in np.split(order[: BATCHES * batch], BATCHES):
            losses = self._differentiate(rollout, advantages, chosen)
            norm = np.sqrt(self._gradient @ self._gradient)
            self._gradient *= min(1.0, LARGEST_GRADIENT / norm)
            self.optimizer.step({"all": self.parameters}, {"all": self._gradient}, learning_rate)
            rows.append({"grad_norm": norm, **losses})
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _differentiate(self, rollout: Rollout, advantages: F64, chosen: NDArray[np.int64]) -> dict[str, np.float64]:
        """Write the gradient of the loss over the chosen ticks, and return the parts of that loss."""
        (policy, value), (policy_gradient, value_gradient) = self.networks, self._gradients
        states, advantage, n = rollout.states[chosen], advantages[chosen], len(chosen)
        sign = np.where(rollout.right[chosen], 1.0, -1.0)

        layers = policy.layers(states)
        preference = sign * (layers[-1][:, 1] - layers[-1][:, 0])  # of the push that was made
        log_chance, log_other = log_sigmoid(preference), log_sigmoid(-preference)
        chance, other = np.exp(log_chance), np.exp(log_other)
        log_ratio = log_chance - rollout.log_chance[chosen]
        ratio = np.exp(log_ratio)
        gain, cut = ratio * advantage, np.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage
        # The slopes with the preference: that of the log chance is the other's chance, that of the entropy
        # −preference · chance · other's chance.
        slope = np.where(gain <= cut, -gain, 0.0) * other + ENTROPY_BONUS * preference * chance * other
        slope *= sign / n
        policy.differentiate(layers, np.stack([-slope, slope], axis=1), policy_gradient)

        layers = value.layers(states)
        error = layers[-1] - rollout.returns[chosen, np.newaxis]
        value.differentiate(layers, error / n, value_gradient)
        return {
            "train_loss": -np.minimum(gain, cut).mean(),
            "value_loss": np.square(error).mean(),
            "policy_entropy": -(chance * log_chance + other * log_other).mean(),
            "approx_kl": (np.expm1(log_ratio) - log_ratio).mean(),
        }

    def shake(self, rng: np.random.Generator, share: float) -> None:
        """Add noise to all parameters, as a share of the root mean square of the array that each is in."""
        for network in self.networks:
            for array in (*network.weights, *network.biases):
                array[...] += share * np.sqrt(np.square(array).mean()) * rng.standard_normal(array.shape)


def optimizer_of(run: Run) -> Optimizer:
    """The optimizer of a run; in the matched arm Adam."""
    made: dict[str, Optimizer] = {
        "adam": Adam(),
        "adamw": Adam(weight_decay=0.1),
        "rmsprop": RMSprop(),
        "sgd": Momentum(0.9, 0.0),
        HIGH_MOMENTUM: Adam(first=0.99),
    }
    return made[str(run.attributes.get("optimizer", "adam"))]


def train(runs: Sequence[Run], steps: int, loggers: Sequence[RunLogger]) -> None:
    """Train the agent of one run."""
    (run,), (logger,) = runs, loggers
    # A generator for each purpose, so that a perturbation of one changes no draw of another.
    start, starts, luck, orders, flips, shakes = (
        np.random.default_rng(child) for child in np.random.SeedSequence(run.seed).spawn(6)
    )
    agent = Agent(start, int(run.attributes.get("width", WIDTH)), optimizer_of(run))
    carts = Carts(starts)
    recent: deque[int] = deque(maxlen=RECENT)
    for step in range(1, steps + 1):
        perturbed = {dimension: amount(run, dimension, step, RAMP) for dimension in STRENGTHS}
        wind, flipped = PUSH * perturbed["environment"], perturbed["learning_signal"]
        scale = CORRUPT if happens(run, "corrupt_batch", step) else 1.0
        rollout = roll_out(carts, agent.networks, luck, flips, wind=wind, flipped=flipped, scale=scale)
        recent += rollout.lengths
        before = agent.parameters.copy()
        learning_rate = rate_at(run, step) * (1 + perturbed["optimization"])
        if happens(run, "resume", step):
            agent.optimizer.forget()
        row = agent.update(rollout, orders.permutation(TICKS * CARTS), batch_size_at(run, step), learning_rate)
        if perturbed["parameters"]:
            agent.shake(shakes, perturbed["parameters"])
        row["update_norm"] = update_metrics([before], [agent.parameters])["update_norm"]
        row["explained_variance"] = 1 - np.var(rollout.returns - rollout.values) / np.var(rollout.returns)
        row["episode_return"] = np.mean(recent)
        weights = [weight for network in agent.networks for weight in network.weights]
        biases = [bias for network in agent.networks for bias in network.biases]
        logger.log(step, weight_metrics(weights, biases) | row)


if __name__ == "__main__":
    generate(
        __doc__,
        RUNS,
        train,
        steps=STEPS,
        output=Path(__file__).parent / "runs.parquet",
        arms={"sweep": Arm(runs=SWEEP, steps=STEPS)},
    )
