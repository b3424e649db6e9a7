"""``trajhmm warn`` and ``evaluate`` without a model."""

import json

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def logs(tmp_path):
    """Four runs that learn and two whose loss rises from row 200 on."""
    rng = np.random.default_rng(0)
    t = np.arange(300)
    for i in range(6):
        loss = (2 * np.exp(-t / 60) + 0.3) * np.exp(rng.normal(0, 0.03, 300))
        if i > 3:
            loss[200:] *= np.exp(0.02 * np.arange(100))
        accuracy = 1 - 0.4 * loss
        frame = pd.DataFrame({"step": t, "loss": loss, "grad_norm": rng.lognormal(0, 0.1, 300), "acc": accuracy})
        frame.to_csv(tmp_path / f"seed{i}.csv", index=False)
    return tmp_path


def test_each_run_is_judged_by_its_own_past(trajhmm, logs):
    ended = trajhmm("warn", logs, "--json", "--scores", logs / "scores.parquet")
    assert ended.code == 3
    told = {one["run"]: one for one in map(json.loads, ended.out.splitlines())}
    assert [told[f"seed{i}"]["alarm"] for i in range(6)] == [False] * 4 + [True] * 2
    one = told["seed4"]
    assert (one["situation"], one["threshold"], one["risk"], one["state"]) == ("alone", 1.0, None, None)
    assert 200 < one["at_alarm"]["step"] == one["step"] < 240
    assert one["drivers"][0]["metric"] == "loss"
    assert "judged by its own past; watched: grad_norm, loss" in ended.err
    scores = pd.read_parquet(logs / "scores.parquet")
    assert scores["risk"].isna().all()
    alone = trajhmm("warn", logs / "seed4.csv", "--json")
    assert json.loads(alone.out)["at_alarm"] == one["at_alarm"]  # whatever the others do


def test_a_log_without_a_loss_by_its_name_is_told_of(trajhmm, logs):
    """It is watched all the same, but for a rise that is told of losses alone."""
    odd = ["warn", logs / "seed4.csv", "--rename", "loss=L_tr"]
    ended = trajhmm(*odd)
    assert "no metric is a loss by its name" in ended.err
    assert "--rename OLD=train_loss" in ended.err
    assert "by its name" not in trajhmm("warn", logs / "seed4.csv").err


def test_it_is_evaluated_like_a_model(trajhmm, logs):
    ended = trajhmm("evaluate", logs, "--collapse", "acc < 0.5", "--sustained", "3", "--onset", "step", "--json")
    assert ended.code != 0  # step is no attribute
    ended = trajhmm("evaluate", logs, "--collapse", "acc < 0.5 and best(acc) > 0.7", "--sustained", "3", "--json")
    assert ended.code == 0, ended.err
    whole = json.loads(ended.out)
    assert whole["report"]["recall"]["value"] == 1
    assert whole["report"]["healthy_alarmed"]["value"] == 0
    assert whole["risk"] == []
