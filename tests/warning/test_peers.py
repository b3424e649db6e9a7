"""Adapters of other people's monitors against those monitors driven as their documentation says, on the same rows."""

import importlib.metadata
import tomllib
from pathlib import Path

import numpy as np
import pytest

from trajhmm.errors import FitError, LogError
from trajhmm.warning.detectors import DETECTORS, Reference, make_detector
from trajhmm.warning.detectors.peers import Peer
from trajhmm.warning.evaluation import compare

from .made import METRICS, made_run, made_trials, series_of, training

PEERS = [name for name, kind in DETECTORS.items() if issubclass(kind, Peer)]
ROWS, ONSET = 160, 100


@pytest.fixture
def installed(request):
    """The adapter of the package that a test asks for by name, or a skip."""
    detector = make_detector(request.param)
    try:
        return detector.fit(Reference(healthy=(made_run([1.0]),)))
    except FitError as error:
        pytest.skip(str(error))


def needs(name):
    return pytest.mark.parametrize("installed", [name], indirect=True)


def doomed(seed):
    """A run whose loss, gradient and weights take off at the onset, and of which the first two jumped once before."""
    values = training(np.random.default_rng(seed), ROWS, drift=5.0, onset=ONSET)
    values[60 + seed] += [12.0, 4.0, 0.0]
    return made_run(values, steps=10 * np.arange(ROWS))


def first(flags):
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None


def alarms(detector, run):
    return detector.scores(run) > detector.published_threshold


def as_csv(run, n):
    rows = [f"{step},{','.join(map(repr, row))}" for step, row in zip(run.steps, run.values.tolist(), strict=True)]
    return "\n".join([",".join(("step", *METRICS)), *rows[:n], ""])


@pytest.mark.parametrize("jump", [0.0, 0.12, 4.0])
@needs("trainspotter")
def test_trainspotter_stops_where_its_watch_of_the_file_does(installed, jump, tmp_path, capsys):
    """With all of its detectors, the whole file read again at each row; no spike, one that is a warning, an error."""
    from trainspotter.cli import main

    t = np.arange(ROWS)
    loss = 2 * np.exp(-t / 20) + 0.5 + 0.02 * np.maximum(t - ONSET, 0) + jump * (t == 90)
    loss += np.random.default_rng(0).uniform(-0.02, 0.02, ROWS)  # bounded: no spike by chance
    run = made_run(np.column_stack([loss, loss, loss]), steps=10 * t)
    path = tmp_path / "log.csv"
    for n in range(1, ROWS + 1):
        path.write_text(as_csv(run, n))
        if main(["watch", str(path), "--once", "--fail-on", "error"]):
            break
    assert first(alarms(installed, run)) == n - 1
    assert n - 1 == 90 if jump == 4.0 else ONSET < n - 1 < ROWS - 1
    assert not jump or first(installed.scores(run)) == 90


@pytest.mark.parametrize("seed", range(3))
@needs("losslint")
def test_losslint_alarms_where_its_check_of_the_file_fails(installed, seed, tmp_path, capsys):
    from losslint.cli import main

    run = doomed(seed)
    path = tmp_path / "log.csv"
    failed = []
    for n in range(2, ROWS + 1):
        path.write_text(as_csv(run, n))
        failed.append(main(["check", str(path)]) == 1)
    np.testing.assert_array_equal(alarms(installed, run)[1:], failed)
    assert ONSET < first(failed) < ROWS
    assert installed.scores(run)[60 + seed] == 2.0  # the jump, a warning


@pytest.mark.parametrize("seed", range(3))
@needs("trainscope")
def test_trainscope_reports_the_spikes_of_a_loop_it_is_attached_to(installed, seed, tmp_path):
    import torch
    from trainscope import TrainScope, TrainScopeConfig

    losses = series_of(np.random.default_rng(seed))
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = TrainScope(model, optimizer, config=TrainScopeConfig(run_dir=str(tmp_path))).attach()
    found = np.zeros(len(losses))
    for t, loss in enumerate(losses.tolist()):
        model(torch.ones(2)).sum().backward()
        spike = scope.step(loss, batch_index=t)
        found[t] = spike["spike_score"] if spike else 0.0
    scope.detach()
    np.testing.assert_allclose(installed.scores(made_run(losses)), np.abs(found))
    assert found.min() < 0 < found.max()  # it reports a fall as well


@pytest.mark.parametrize("seed", range(3))
@needs("rlwatch")
def test_rlwatch_sends_its_first_alert_when_its_monitor_does(installed, seed, tmp_path, capsys):
    from rlwatch import RLWatch, RLWatchConfig

    config = RLWatchConfig()
    config.storage.log_dir = str(tmp_path)
    monitor = RLWatch(config)
    monitor.start()
    rng = np.random.default_rng(seed)
    run = made_run(
        np.column_stack([doomed(seed).values[:, :2], np.maximum(2.5 - 0.02 * np.arange(ROWS), 0.2), rng.random(ROWS)]),
        metrics=("train_loss", "grad_norm", "policy_entropy", "approx_kl"),
    )
    if seed == 2:  # nothing but the entropy, which goes below 1 at row 76 and warns 25 rows later
        run = made_run(run.values[:, 2:3], metrics=("policy_entropy",))
    calls = {"train_loss": "loss", "policy_entropy": "entropy", "approx_kl": "kl_divergence", "grad_norm": "grad_norm"}
    sent = [
        max((1 + (alert.severity == "critical") for alert in monitor.log_step(t, **row)), default=0)
        for t, row in enumerate(
            dict(zip((calls[metric] for metric in run.metrics), values, strict=True)) for values in run.values.tolist()
        )
    ]
    monitor.stop()
    scores = installed.scores(run)
    assert first(sent) == first(scores > 0)
    assert scores[first(sent)] == sent[first(sent)] == (1.0 if seed == 2 else 2.0)
    assert first(sent) == (100 if seed == 2 else 60 + seed)


def trained(rate, told, steps=200):
    """A tiny regression whose rate is raised at step 120, under arc's controller: its log, and whether that failed.

    The controller is told the loss, or not.
    """
    import torch
    from arc import HealthStatus

    generator = torch.Generator().manual_seed(0)
    model, optimizer, controller = controlled(generator)
    rows = []
    for step in range(steps):
        if step == 120:
            optimizer.param_groups[0]["lr"] = rate
        inputs = torch.randn(32, 4, generator=generator)
        loss = ((model(inputs) - inputs.sum(dim=1, keepdim=True)) ** 2).mean() + 0.5
        optimizer.zero_grad()
        loss.backward()
        rows.append([loss.item(), norm([p.grad for p in model.parameters()]), norm(list(model.parameters()))])
        if controller.step(loss if told else None).status is HealthStatus.FAILURE:
            break
        optimizer.step()
    controller.close()
    return np.array(rows), len(rows) < steps


def controlled(generator):
    """A model, its optimizer and arc's controller, with the rules that logs allow."""
    import torch
    from arc import Controller, ControllerConfig

    model = torch.nn.Linear(4, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    settings = ControllerConfig(enable_lyapunov=False, enable_weight_health=False, verbose=False)
    return model, optimizer, Controller(model, optimizer, config=settings)


def norm(tensors):
    return sum((tensor.detach() ** 2).sum().item() for tensor in tensors) ** 0.5


@pytest.mark.parametrize(
    ("rate", "told", "fails"), [(0.002, True, False), (0.95, True, True), (3.0, True, True), (3.0, False, True)]
)
@needs("arc_training")
def test_arc_fails_where_its_controller_of_the_real_model_does(installed, rate, told, fails):
    rows, failed = trained(rate, told)
    assert failed == fails
    run = made_run(rows) if told else made_run(rows[:, 1:], metrics=METRICS[1:])
    assert first(installed.scores(run)) == (len(rows) - 1 if fails else None)


@needs("arc_training")
def test_arc_fails_where_its_controller_of_a_model_that_grows_does(installed):
    """Nothing but the weights tells: the controller looks at them every tenth step, and trusts 26 of them."""
    import torch
    from arc import HealthStatus

    model, _, controller = controlled(torch.Generator().manual_seed(0))
    norms, failed = [], False
    while not failed and len(norms) < 500:
        model.weight.data += 0.001 * len(norms)
        norms.append(norm(list(model.parameters())))
        failed = controller.step(None).status is HealthStatus.FAILURE
    controller.close()
    assert first(installed.scores(made_run(norms, metrics=("weight_l2",)))) == len(norms) - 1
    assert failed


@needs("arc_training")
def test_arc_leaves_the_generator_of_everyone_as_it_was(installed):
    """Where failures do not end, it shakes the weights, and puts the generator back to where it was at the start."""
    import torch

    rows, _ = trained(3.0, told=True)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    scores = installed.scores(made_run(np.vstack([rows, np.tile(1e3 * rows[-1], (60, 1))])))
    assert scores.sum() > 10
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", PEERS)
def test_a_package_that_is_missing_or_another_version_is_said(name, monkeypatch):
    detector = make_detector(name)
    healthy = made_run([1.0, 2.0])

    def missing(distribution):
        raise importlib.metadata.PackageNotFoundError(distribution)

    for version, found in ((missing, "none"), (lambda _: "99.0", "99.0")):
        monkeypatch.setattr(importlib.metadata, "version", version)
        expected = rf"{name} is run by {detector.distribution} {detector.version}, found {found}: .*'trajhmm\[peers\]'"
        for use in (lambda: detector.fit(Reference(healthy=(healthy,))), lambda: detector.scores(healthy)):
            with pytest.raises(FitError, match=expected):
                use()


def test_a_comparison_shows_which_package_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0")
    trials = made_trials(n_healthy=12, n_seeds=2, rows=20)
    (row,) = compare(trials, {"losslint": make_detector("losslint")}, budgets=(0.5,), folds=3, resamples=5).rows
    assert row.report is None
    assert "pip install 'trajhmm[peers]'" in row.reason


def test_the_extra_holds_the_versions_adapted():
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    pinned = {f"{kind.distribution}=={kind.version}" for kind in DETECTORS.values() if issubclass(kind, Peer)}
    assert set(pyproject["project"]["optional-dependencies"]["peers"]) == pinned
    assert len(pinned) == 5


@pytest.mark.parametrize("name", PEERS)
def test_metrics_that_a_package_does_not_read_are_named(name, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: DETECTORS[name].version)
    with pytest.raises(LogError, match=f"{name} reads .*train_loss.*; run run has only bias_mean"):
        make_detector(name).scores(made_run([1.0, 2.0], metrics=("bias_mean",)))


@needs("trainscope")
def test_a_package_sees_logged_rows_only_and_the_first_name_that_a_run_has(installed):
    run = doomed(0)
    dense = installed.scores(made_run(run.values[:, 0], metrics=("loss",)))
    logged = np.zeros((2 * ROWS, 2), dtype=bool)
    logged[::2, 0] = logged[:, 1] = True
    values = np.column_stack([np.repeat(run.values[:, 0], 2), np.ones(2 * ROWS)])
    sparse = installed.scores(made_run(values, metrics=("train_loss", "loss"), logged=logged))
    np.testing.assert_array_equal(sparse[::2], dense)
    assert not sparse[1::2].any()
    assert dense.any()
