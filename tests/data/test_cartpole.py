"""The cart-pole of the reinforcement learning audit is gymnasium's, and its agent's gradient is that of its loss."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

GENERATOR = Path(__file__).parents[2] / "data" / "audit_rl" / "generate.py"


@pytest.fixture
def audit(monkeypatch):
    """The generator as a module."""
    monkeypatch.syspath_prepend(GENERATOR.parents[1])
    spec = importlib.util.spec_from_file_location("audit_rl_generate", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gymnasium_cart():
    gymnasium = pytest.importorskip("gymnasium")
    environment = gymnasium.make("CartPole-v1")
    yield environment
    environment.close()


@pytest.mark.parametrize("keep_upright", [False, True], ids=["random", "upright"])
@pytest.mark.parametrize("seed", range(5))
def test_same_states_for_the_same_pushes(audit, gymnasium_cart, seed, keep_upright):
    gymnasium_cart.reset(seed=seed)
    inner, rng = gymnasium_cart.unwrapped, np.random.default_rng(seed)
    whole = np.array(inner.state)[:, np.newaxis]  # ours through the whole episode
    over, length = False, 0
    while not over:
        _, _, theta, theta_dot = inner.state
        right = np.array([theta + theta_dot > 0 if keep_upright else rng.random() < 0.5])
        tick = audit.advance(np.array(inner.state)[:, np.newaxis], right)  # ours from theirs
        whole = audit.advance(whole, right)
        _, _, they_fell, out_of_time, _ = gymnasium_cart.step(int(right[0]))
        over, length = they_fell or out_of_time, length + 1
        np.testing.assert_allclose(tick[:, 0], inner.state, rtol=1e-14, atol=1e-15)  # rounding
        # The same pushes do not hold a pole that stands elsewhere: a difference grows by e^0.08 a tick.
        np.testing.assert_allclose(whole[:, 0], inner.state, rtol=0, atol=1e-13 * np.exp(0.08 * length))
        assert audit.has_fallen(whole)[0] == they_fell
    assert length >= (100 if keep_upright else 9)


def test_cosine_and_sine_are_numpys_but_for_the_last_digit(audit):
    angle = np.linspace(-0.4, 0.4, 10_001)
    cosine, sine = audit.cosine_and_sine(angle)
    np.testing.assert_allclose(cosine, np.cos(angle), rtol=4.5e-16)
    np.testing.assert_allclose(sine, np.sin(angle), rtol=4.5e-16)


def test_limits_and_starts_are_gymnasiums(audit, gymnasium_cart):
    inner = gymnasium_cart.unwrapped
    assert gymnasium_cart.spec.max_episode_steps == audit.LONGEST
    assert (inner.x_threshold, inner.theta_threshold_radians) == (audit.PLACE_LIMIT, audit.ANGLE_LIMIT)
    starts = audit.Carts(np.random.default_rng(0)).state
    assert np.abs(starts).max() <= 0.05 < np.abs(starts).max() * 1.05


def test_an_episode_ends_with_a_fall_or_after_500_ticks(audit):
    carts = audit.Carts(np.random.default_rng(0))
    upright_lengths = []
    for _ in range(1100):
        led_to, fallen, over, lengths = carts.push(carts.state[2] + carts.state[3] > 0, 0.0)
        assert over.sum() == len(lengths)
        assert not (fallen & ~over).any()
        assert not audit.has_fallen(carts.state).any()
        np.testing.assert_array_equal(carts.state[:, ~over], led_to[:, ~over])
        upright_lengths += lengths
    assert max(upright_lengths) == 500


def test_wind_is_a_force_on_the_cart(audit):
    state = np.random.default_rng(0).uniform(-0.1, 0.1, (4, 7))
    right = np.arange(7) % 2 == 0
    against = audit.advance(state, ~right, np.where(right, 2 * audit.PUSH, -2 * audit.PUSH))
    np.testing.assert_allclose(audit.advance(state, right), against, rtol=1e-12)


def test_gradient_is_that_of_the_loss(audit):
    rng = np.random.default_rng(0)
    agent, carts = audit.Agent(rng), audit.Carts(rng)
    agent.parameters += 0.1 * rng.standard_normal(len(agent.parameters))
    rollout = audit.roll_out(carts, agent.networks, rng, rng, wind=1.0, flipped=0.2)
    agent.parameters += 0.03 * rng.standard_normal(len(agent.parameters))
    advantages = rollout.advantages / rollout.advantages.std()
    chosen = rng.permutation(len(advantages))[:300]

    def loss():
        parts = agent._differentiate(rollout, advantages, chosen)
        return parts["train_loss"] - audit.ENTROPY_BONUS * parts["policy_entropy"] + parts["value_loss"] / 2

    loss()
    gradient = agent._gradient.copy()
    for index in rng.choice(len(agent.parameters), 100, replace=False):
        here, beside = agent.parameters[index], []
        for move in (-1e-6, 1e-6):
            agent.parameters[index] = here + move
            beside.append(loss())
        agent.parameters[index] = here
        # Central differences of a smooth loss of size 1: 1e-12 from curvature, 1e-10 from rounding.
        assert gradient[index] == pytest.approx((beside[1] - beside[0]) / 2e-6, abs=1e-8)


def test_perturbed_run_is_its_baseline_up_to_the_onset(audit):
    """And more steps only add rows."""

    class Rows(list):
        def log(self, step, row):
            self.append({"step": step, **row})

    def rows_of(dimension, steps):
        rows = Rows()
        attributes = {
            "dimension": dimension,
            "strength": 0.5,
            "onset": -1 if dimension == "none" else 3,
            "condition": dimension,
            "learning_rate": audit.LEARNING_RATE,
            "batch_size": 64,
        }
        audit.train([audit.Run(name="run", seed=0, attributes=attributes)], steps, [rows])
        return rows

    baseline = rows_of("none", 6)
    assert rows_of("none", 4) == baseline[:4]
    for dimension in audit.STRENGTHS:
        perturbed = rows_of(dimension, 6)
        assert perturbed[:3] == baseline[:3]
        assert perturbed[5] != baseline[5]
